"""The served model: its endpoints in one SavedModel, and beside them what goes with it in `assets.extra/`."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.examples.account import Account
from components.examples.records import Place, read_record
from components.trainer.input_data import crop_flanks
from components.trainer.training import MODEL_CARD, TRAINABLE_MODEL
from components.transform.decoding import decode_sequences
from enformer_keras import BIN_SIZE, Enformer, average_predictions

# Beside the trainable twin: what the infra check asks the served model for.
PREDICTIONS = TRAINABLE_MODEL.with_name("predictions.npz")
# Validation windows of each organism whose predictions go with the model.
NUM_WINDOWS = 2


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What `assets.extra/model.json` says of a model.

    Attributes:
        window_length: bp that the model reads.
        target_length: bins that it predicts, from the window's centre.
        bin_size: bp of a bin.
        organisms: head -> `assembly` (genome build), `contig_lengths` (contig -> bp), `sequence_sha256`
            (`Genome.sha256`), each null where the dataset does not say; and `tracks`, in the order of the
            head's outputs: `index`, `identifier`, `description`, `genome` and `strand_pair` (index of the track
            that this one becomes on the other strand) of the dataset's track table, and how values were made:
            `scale`, `sum_stat`, `clip_soft` and `clip`, null where nobody knows or nothing was done.
        code: `version` of this package, and `fingerprint` of the sources that decided the training.
        data_fingerprint: of the dataset's files.
        lineage: `started_from` (`scratch`: fresh weights; else whose it began with), `seed`, and `step`, the
            last one that the weights have seen, an update for each head.
        averaging: `shifts` (bp) and `strands`: what `serving_averaged` averages over.
    """

    window_length: int
    target_length: int
    bin_size: int
    organisms: Mapping[str, Mapping[str, Any]]
    code: Mapping[str, str]
    data_fingerprint: str
    lineage: Mapping[str, Any]
    averaging: Mapping[str, Any]

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], accounts: Mapping[str, Account], started_from: str, step: int
    ) -> "ModelCard":
        """Puts the card together.

        Args:
            config: the Trainer's `custom_config`, with `model`, `training`, `averaging`, `code_version`,
                `code_fingerprint` and `data_fingerprint`.
            accounts: of the examples, by organism.
            started_from: see `warm_start.start_from`.
            step: the step whose weights the model has.

        Returns:
            The card.
        """
        return cls(
            window_length=config["model"]["sequence_length"],
            target_length=config["model"]["target_length"],
            bin_size=BIN_SIZE,
            organisms={
                head: {
                    "assembly": accounts[head].assembly,
                    "contig_lengths": accounts[head].contig_lengths,
                    "sequence_sha256": accounts[head].sequence_sha256,
                    "tracks": [dataclasses.asdict(track) for track in accounts[head].tracks],
                }
                for head in config["model"]["heads"]
            },
            code={"version": config["code_version"], "fingerprint": config["code_fingerprint"]},
            data_fingerprint=config["data_fingerprint"],
            lineage={"started_from": started_from, "seed": config["training"]["seed"], "step": step},
            averaging=config["averaging"],
        )


def make_decoder(transform_layer: tf.Module, transform_output: tft.TFTransformOutput) -> Callable[..., Any]:
    """Makes the step from serialized examples to what Transform gives.

    Args:
        transform_layer: `transform_output.transform_features_layer()`.
        transform_output: what Transform wrote.

    Returns:
        A function from strings [batch] to the dict of `preprocessing_fn`.
    """
    specification = transform_output.raw_feature_spec()

    def decode_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return transform_layer(tf.io.parse_example(examples, specification))

    return decode_examples


def make_endpoints(model: Enformer, transform_output: tft.TFTransformOutput) -> dict[str, Callable[..., Any]]:
    """Makes the functions that the SavedModel has as attributes and as signatures.

    `serving_default(examples: string[B])` -> {head: float32 [B, target_length, tracks]}, from serialized
        `tf.train.Example`s.
    `transform_features(examples: string[B])` -> `sequence` and `target` as Transform gives them: one-hot
        with flanks, and float16 bytes.
    `predict_sequences(sequences: string[B])` -> as serving_default, from DNA of exactly the window's length;
        another length or letter is an InvalidArgumentError.
    `predict_on_batch(one_hot: float32 [B, sequence_length, 4])` -> as serving_default.
    `predict_tracks_<head>(sequences: string[B], tracks: int32[K])`, one for each head ->
        {head: float32 [B, target_length, K]}: these tracks alone, in this order, and no other is computed. An
        index outside the head's tracks is an InvalidArgumentError.

    Args:
        model: the trained model.
        transform_output: what Transform wrote.

    Returns:
        Endpoint -> `tf.function` with its input signature.
    """
    length = model.sequence_length
    heads = {head: model.get_layer(f"head_{head}") for head in model.heads}
    examples = tf.TensorSpec([None], tf.string, name="examples")
    sequences = tf.TensorSpec([None], tf.string, name="sequences")
    one_hot = tf.TensorSpec([None, length, 4], tf.float32, name="one_hot")
    tracks = tf.TensorSpec([None], tf.int32, name="tracks")
    decode_examples = make_decoder(transform_output.transform_features_layer(), transform_output)
    # A function, which all that call it share: the SavedModel holds the trunk once.
    embed = _endpoint(functools.partial(model.trunk, training=False), one_hot)

    def predict_embeddings(embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        return {head: layer(embeddings) for head, layer in heads.items()}

    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_embeddings(embed(crop_flanks(decode_examples(examples)["sequence"], length)))

    def predict_sequences(sequences: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_embeddings(embed(decode_sequences(sequences, length)))

    def predict_on_batch(one_hot: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_embeddings(embed(one_hot))

    def predict_tracks(head: str, sequences: tf.Tensor, tracks: tf.Tensor) -> dict[str, tf.Tensor]:
        # Before the trunk, which costs, and the gather, which gives zeros for a wrong index on a GPU.
        with tf.control_dependencies([_assert_tracks(tracks, model.heads[head])]):
            embeddings = embed(decode_sequences(sequences, length))
            return {head: _track_columns(heads[head], embeddings, tracks)}

    return {
        "serving_default": _endpoint(serving_default, examples),
        "transform_features": _endpoint(decode_examples, examples),
        "predict_sequences": _endpoint(predict_sequences, sequences),
        "predict_on_batch": _endpoint(predict_on_batch, one_hot),
        **{
            f"predict_tracks_{head}": _endpoint(functools.partial(predict_tracks, head), sequences, tracks)
            for head in heads
        },
    }


def average_endpoint(endpoints: Mapping[str, Callable[..., Any]], card: ModelCard) -> Callable[..., Any]:
    """Makes `serving_averaged(examples: string[B])`: as serving_default, averaged over shifts and strands.

    It calls other endpoints, so the SavedModel holds the model no second time.

    Args:
        endpoints: `make_endpoints`.
        card: says over what, and which tracks are strand pairs.

    Returns:
        A `tf.function` with its input signature.
    """
    strand_pairs = {
        head: [track["strand_pair"] for track in data["tracks"]] for head, data in card.organisms.items()
    }

    def serving_averaged(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        before: list[tf.Tensor] = []

        def predict_in_turn(one_hot: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies(before):  # else TensorFlow may hold all variants in memory at a time
                predicted = endpoints["predict_on_batch"](tf.identity(one_hot))
            before[:] = predicted.values()
            return predicted

        return average_predictions(
            predict_in_turn,
            endpoints["transform_features"](examples)["sequence"],
            strand_pairs=strand_pairs,
            window_length=card.window_length,
            **card.averaging,
        )

    return _endpoint(serving_averaged, tf.TensorSpec([None], tf.string, name="examples"))


def accept_twice_the_window(predict_on_batch: Callable[..., Any], length: int) -> Callable[..., Any]:
    """Makes `predict_on_batch` take what the published model takes, whose input is twice what it reads.

    Args:
        predict_on_batch: from one-hot float32 [B, length, 4].
        length: bp that the model reads.

    Returns:
        A `tf.function` from one-hot float32 [B, length, 4] or [B, 2 * length, 4], of which the central `length`
        bp are read; any other length is an InvalidArgumentError.
    """

    def predict_centre(one_hot: tf.Tensor) -> dict[str, tf.Tensor]:
        given = tf.shape(one_hot)[1]
        right_length = tf.debugging.Assert(
            tf.logical_or(tf.equal(given, length), tf.equal(given, 2 * length)),
            [f"the model reads {length} bp, or the centre of {2 * length} bp; this many were given:", given],
        )
        with tf.control_dependencies([right_length]):
            start = (given - length) // 2
        return predict_on_batch(tf.ensure_shape(one_hot[:, start : start + length], [None, length, 4]))

    return _endpoint(predict_centre, tf.TensorSpec([None, None, 4], tf.float32, name="one_hot"))


def export_model(
    model: Enformer,
    transform_output: tft.TFTransformOutput,
    folder: str,
    card: ModelCard,
    examples: Sequence[Place],
) -> None:
    """Writes the SavedModel, and into its `assets.extra/` what goes with it.

    The SavedModel has the endpoints of `make_endpoints`, `serving_averaged` (`average_endpoint`), and
    `model.predict_on_batch` as the published model on TensorFlow Hub has it (`accept_twice_the_window`).
    Gradients pass through all that take one-hot input.

    `assets.extra/` holds `model.keras`, the trainable twin; `model.json`, the card; and `predictions.npz`, some
    windows (`sequences`, strings [NUM_WINDOWS]) with what the trainable model predicts for them
    (`head_<name>`, float32 [NUM_WINDOWS, target_length, tracks]), for whoever checks the served model.

    Args:
        model: the trained model.
        transform_output: what Transform wrote.
        folder: where to; must not exist or be empty.
        card: what to tell the user.
        examples: where those lie whose windows are predicted.
    """
    endpoints = make_endpoints(model, transform_output)
    endpoints["serving_averaged"] = average_endpoint(endpoints, card)
    served = tf.Module()
    # All that the endpoints hold: Transform has no analyzers, and so no tables.
    served.weights = list(model.variables)
    served.model = tf.Module()
    served.model.predict_on_batch = accept_twice_the_window(
        endpoints["predict_on_batch"], model.sequence_length
    )
    for name, endpoint in endpoints.items():
        setattr(served, name, endpoint)
    tf.saved_model.save(served, folder, signatures=endpoints)

    trainable, card_file, predictions = (
        Path(folder) / one for one in (TRAINABLE_MODEL, MODEL_CARD, PREDICTIONS)
    )
    trainable.parent.mkdir()
    model.save(trainable)
    card_file.write_text(json.dumps(dataclasses.asdict(card), indent=2) + "\n")
    sequences = _read_windows(examples, transform_output, model.sequence_length)
    predicted = model(decode_sequences(sequences, model.sequence_length), training=False)
    np.savez(
        predictions,
        sequences=sequences.numpy().astype(bytes),
        **{f"head_{head}": values.numpy() for head, values in predicted.items()},
    )


def _endpoint(function: Callable[..., Any], *specifications: tf.TensorSpec) -> Callable[..., Any]:
    return tf.function(function, input_signature=specifications, autograph=False)


def _assert_tracks(tracks: tf.Tensor, count: int) -> tf.Operation:
    return tf.debugging.Assert(
        tf.reduce_all(tf.logical_and(tracks >= 0, tracks < count)),
        [f"tracks must be from 0 to {count - 1}; these were given:", tracks],
        summarize=16,
    )


def _track_columns(layer: keras.layers.Dense, embeddings: tf.Tensor, tracks: tf.Tensor) -> tf.Tensor:
    """What a head gives for some of its tracks, [batch, target_length, K]."""
    kernel, bias = (tf.gather(weight, tracks, axis=-1) for weight in (layer.kernel, layer.bias))
    return layer.activation(tf.cast(embeddings, kernel.dtype) @ kernel + bias)


def _read_windows(examples: Sequence[Place], transform_output: tft.TFTransformOutput, length: int) -> tf.Tensor:
    """The windows of examples without their flanks: strings [len(examples)]."""
    specification = {"sequence": transform_output.raw_feature_spec()["sequence"]}
    flanked = tf.io.parse_example([read_record(place) for place in examples], specification)["sequence"]
    return tf.strings.substr(
        flanked, (tf.strings.length(flanked) - length) // 2, tf.fill(tf.shape(flanked), length)
    )
