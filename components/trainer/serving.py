"""The served model: four endpoints in one SavedModel, and its trainable twin beside them."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.input_data import crop_flanks
from components.trainer.training import TRAINABLE_MODEL
from components.transform.decoding import decode_sequences
from enformer_keras import Enformer


def make_decoder(transform_layer: tf.Module, transform_output: tft.TFTransformOutput) -> Callable:
    """Makes the step from serialized examples to what Transform gives.

    Args:
        transform_layer: `transform_output.transform_features_layer()`; who exports the step tracks the layer.
        transform_output: what Transform wrote.

    Returns:
        A function from strings [batch] to the dict of `preprocessing_fn`.
    """
    specification = transform_output.raw_feature_spec()

    def decode_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return transform_layer(tf.io.parse_example(examples, specification))

    return decode_examples


def export_model(model: Enformer, transform_output: tft.TFTransformOutput, folder: str) -> None:
    """Writes the SavedModel with its endpoints, and `assets.extra/model.keras`.

    Endpoints, each also a signature:
        `serving_default(examples: string[B])` -> {head: float32 [B, target_length, tracks]}, from serialized
            `tf.train.Example`s.
        `transform_features(examples: string[B])` -> `sequence` and `target` as Transform gives them.
        `predict_sequences(sequences: string[B])` -> as serving_default, from DNA of exactly the window's
            length; another length or letter is an InvalidArgumentError.
        `predict_on_batch(one_hot: float32 [B, sequence_length, 4])` -> as serving_default.

    Args:
        model: the trained model.
        transform_output: what Transform wrote.
        folder: where to; must not exist or be empty.
    """
    length = model.sequence_length
    archive = keras.export.ExportArchive()
    archive.track(model)
    transform_layer = transform_output.transform_features_layer()
    archive.track(transform_layer)
    decode_examples = make_decoder(transform_layer, transform_output)

    def predict_on_batch(one_hot: tf.Tensor) -> dict[str, tf.Tensor]:
        return model(one_hot, training=False)

    def predict_sequences(sequences: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_on_batch(decode_sequences(sequences, length))

    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_on_batch(crop_flanks(decode_examples(examples)["sequence"], length))

    strings = {
        "serving_default": (serving_default, "examples"),
        "transform_features": (decode_examples, "examples"),
        "predict_sequences": (predict_sequences, "sequences"),
    }
    for name, (endpoint, argument) in strings.items():
        archive.add_endpoint(name, endpoint, [tf.TensorSpec([None], tf.string, name=argument)])
    archive.add_endpoint(
        "predict_on_batch", predict_on_batch, [tf.TensorSpec([None, length, 4], tf.float32, name="one_hot")]
    )
    archive.write_out(folder, verbose=False)

    trainable = Path(folder) / TRAINABLE_MODEL
    trainable.parent.mkdir()
    model.save(trainable)
