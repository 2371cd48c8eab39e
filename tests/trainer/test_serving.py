"""The served model against the trainable one, endpoint by endpoint."""

import itertools
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.serving import MODEL_CARD, PREDICTIONS, make_endpoints
from components.trainer.training import TRAINABLE_MODEL
from enformer_keras import one_hot_encode
from tests.trainer import tiny_served
from tests.trainer.tiny_served import FLANK, HEADS, TARGET_LENGTH, WINDOW


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = tiny_served.make_model()
    return model, tiny_served.write_served(tmp_path_factory.mktemp("serving"), model)


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported[1]))


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("ACGTN"), WINDOW)) for _ in range(2)]


@pytest.fixture(scope="module")
def predicted(exported, sequences):
    return exported[0].predict(one_hot_encode(sequences), verbose=0)


def assert_close(answer, expected):
    assert answer.keys() == expected.keys()
    for head, values in expected.items():
        np.testing.assert_allclose(answer[head], values, rtol=0, atol=1e-5)


def test_endpoints_are_signatures_with_named_arguments(served):
    arguments = {
        name: sorted(signature.structured_input_signature[1]) for name, signature in served.signatures.items()
    }
    assert arguments == {
        "serving_default": ["examples"],
        "serving_averaged": ["examples"],
        "transform_features": ["examples"],
        "predict_sequences": ["sequences"],
        "predict_on_batch": ["one_hot"],
        "predict_tracks_ecoli": ["sequences", "tracks"],
        "predict_tracks_yeast": ["sequences", "tracks"],
    }


def test_endpoints_predict_what_the_trainable_model_predicts(exported, served, sequences, predicted):
    assert_close(served.predict_sequences(tf.constant(sequences)), predicted)
    assert_close(served.predict_on_batch(one_hot_encode(sequences)), predicted)
    records = tiny_served.write_examples(exported[1].parent / "again.gz")
    flanked = [tf.train.Example.FromString(record).features.feature["sequence"] for record in records]
    windows = [one.bytes_list.value[0][FLANK:-FLANK] for one in flanked]
    expected = exported[0].predict(one_hot_encode(windows), verbose=0)
    assert_close(served.serving_default(tf.constant(records)), expected)


def test_averaged_answers_are_means_over_shifts_and_strands(exported, served):
    model, folder = exported
    records = tiny_served.write_examples(folder.parent / "averaged.gz")
    sequences = [
        tf.train.Example.FromString(record).features.feature["sequence"].bytes_list.value[0]
        for record in records
    ]
    variants = {head: [] for head in HEADS}
    for shift in (-2, 0, 3):
        windows = one_hot_encode([sequence[FLANK + shift : FLANK + shift + WINDOW] for sequence in sequences])
        forward = model.predict(windows, verbose=0)
        reverse = model.predict(windows[:, ::-1, ::-1], verbose=0)
        for head, pairs in (("ecoli", [0, 2, 1]), ("yeast", [0, 1])):
            variants[head] += [forward[head], reverse[head][:, ::-1][..., pairs]]
    means = {head: np.mean(values, axis=0) for head, values in variants.items()}
    assert_close(served.serving_averaged(tf.constant(records)), means)
    # One variant alone is another answer.
    assert not np.allclose(means["ecoli"], variants["ecoli"][0], atol=1e-3)


def test_variants_follow_each_other_and_share_one_function(served):
    operations = served.serving_averaged.concrete_functions[0].graph.get_operations()
    calls = [node for node in operations if "f" in node.node_def.attr]
    predictions = [node for node in calls if "predict_on_batch" in node.get_attr("f").name]
    assert len(predictions) == 6
    assert len({node.get_attr("f").name for node in predictions}) == 1
    for before, after in itertools.pairwise(predictions):
        (one_hot,) = [tensor.op for tensor in after.inputs if tensor.dtype == tf.float32]
        assert before in one_hot.control_inputs


@pytest.mark.parametrize("tracks", [[1], [2, 0, 2], []])
def test_a_subset_of_the_tracks(served, sequences, predicted, tracks):
    answer = served.predict_tracks_ecoli(tf.constant(sequences), tf.constant(tracks, tf.int32))
    assert_close(answer, {"ecoli": predicted["ecoli"][..., tracks]})


@pytest.mark.parametrize(("tracks", "wrong"), [([0, 3], 3), ([-1], -1)])
def test_tracks_that_are_not_there(served, sequences, tracks, wrong):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"from 0 to 2; these were given.*{wrong}"):
        served.predict_tracks_ecoli(tf.constant(sequences), tf.constant(tracks))


def test_only_the_tracks_that_are_asked_for_are_computed(exported):
    model, folder = exported
    endpoints = make_endpoints(model, tft.TFTransformOutput(str(folder.parent / "transform")))

    def widths(endpoint):
        """Last dimension of all tensors [batch, target_length, ...] after the trunk."""
        graph = endpoints[endpoint].get_concrete_function().graph
        shapes = [output.shape for node in graph.get_operations() for output in node.outputs]
        return {shape[-1] for shape in shapes if shape.rank == 3 and shape[1] == TARGET_LENGTH}

    embeddings = 2 * model.channels
    assert widths("predict_sequences") == {embeddings, HEADS["ecoli"], HEADS["yeast"]}
    assert widths("predict_tracks_ecoli") == {embeddings, None}


def test_what_users_of_the_published_model_call(exported, served, sequences, predicted):
    model = served.model  # `hub.load(path).model`: hub.load returns what tf.saved_model.load returns
    window = one_hot_encode(sequences)
    assert_close(model.predict_on_batch(window), predicted)
    twice = np.pad(window, [(0, 0), (WINDOW // 2, WINDOW // 2), (0, 0)], constant_values=0.25)
    assert_close(model.predict_on_batch(twice), predicted)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"reads 256 bp, or the centre of 512 bp.*300"):
        model.predict_on_batch(twice[:, :300])


def test_contribution_scores_are_those_of_the_trainable_model(exported, served, sequences):
    window = one_hot_encode(sequences)
    flank = WINDOW // 2
    twice = np.pad(window, [(0, 0), (flank, flank), (0, 0)])

    @tf.function
    def gradient(predict, one_hot):
        with tf.GradientTape() as tape:
            tape.watch(one_hot)
            signal = tf.reduce_sum(predict(one_hot)["ecoli"][:, 0, 1])
        return tape.gradient(signal, one_hot)

    expected = gradient(exported[0], tf.constant(window)).numpy()
    scale = np.abs(expected).max()
    assert scale > 0
    served_gradient = gradient(served.model.predict_on_batch, tf.constant(twice)).numpy()
    np.testing.assert_allclose(served_gradient[:, flank:-flank], expected, rtol=0, atol=1e-5 * scale)
    assert not served_gradient[:, :flank].any()
    assert not served_gradient[:, -flank:].any()
    np.testing.assert_allclose(
        gradient(served.predict_on_batch, tf.constant(window)), expected, rtol=0, atol=1e-5 * scale
    )


def test_what_goes_with_the_model(exported):
    _, folder = exported
    card = json.loads((folder / MODEL_CARD).read_text())
    assert card == {
        "window_length": 256,
        "target_length": 2,
        "bin_size": 128,
        "organisms": {
            head: {
                "assembly": assembly,
                "contig_lengths": {"chr": 4000} if assembly else None,
                "sequence_sha256": "5e9" if assembly else None,
                "tracks": [
                    {
                        "index": i,
                        "identifier": f"t{i}",
                        "description": "",
                        "genome": head,
                        "strand_pair": j,
                        "scale": 2.0,
                        "sum_stat": "mean",
                        "clip_soft": None,
                        "clip": 32.0,
                    }
                    for i, j in enumerate(pairs)
                ],
            }
            for head, assembly, pairs in (("ecoli", "ASM584v2", [0, 2, 1]), ("yeast", None, [0, 1]))
        },
        "code": {"version": "0.1.0", "fingerprint": "c0de"},
        "data_fingerprint": "da7a",
        "lineage": {"started_from": "runs/before", "seed": 7, "step": 20},
        "averaging": {"shifts": [-2, 0, 3], "strands": True},
    }
    with np.load(folder / PREDICTIONS) as known:
        trainable = keras.saving.load_model(folder / TRAINABLE_MODEL)
        expected = trainable.predict(one_hot_encode(list(known["sequences"])), verbose=0)
        assert_close({head: known[f"head_{head}"] for head in HEADS}, expected)


def test_weights_are_stored_once(exported):
    model, folder = exported
    stored = sum(file.stat().st_size for file in pathlib.Path(folder, "variables").glob("*.data-*"))
    size = sum(
        int(np.prod(weight.shape)) * weight.dtype.size for weight in map(tf.convert_to_tensor, model.weights)
    )
    assert size <= stored < 1.2 * size


def test_half_precision_serves_float32(tmp_path, sequences):
    model = tiny_served.make_model("mixed_bfloat16")
    served = tf.saved_model.load(str(tiny_served.write_served(tmp_path, model)))
    expected = {
        head: values.numpy() for head, values in model(one_hot_encode(sequences), training=False).items()
    }
    answer = served.predict_tracks_yeast(tf.constant(sequences), tf.constant([1, 0]))["yeast"]
    assert answer.dtype == tf.float32
    np.testing.assert_allclose(answer, expected["yeast"][..., ::-1], rtol=0.05)
