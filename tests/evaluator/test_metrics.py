"""The metrics at the level where TFMA calls them: preprocessor, combiner, derived values."""

import itertools
import pickle
import weakref

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator

from components.evaluator import metrics
from components.evaluator.blocks import BlockMoments


def computations(*configured, heads=("human",), models=("",)):
    """What TFMA runs for some metrics, after it has dropped duplicates."""
    asked = [m.computations(model_names=list(models), output_names=list(heads)) for m in configured]
    return evaluator._filter_and_separate_computations(list(itertools.chain(*asked)))


def evaluate(found, examples, by_model=False):
    """Runs the computations over extracts of single examples as TFMA does.

    Returns values by the name of head (or model) and key.
    """
    results = {}
    for computation in found.non_derived_computations:
        (preprocessor,), combiner = computation.preprocessors, computation.combiner
        accumulators = [combiner.create_accumulator()]
        for extracts in examples:
            inputs = list(preprocessor.process(extracts))
            accumulators.append(combiner.add_inputs(combiner.create_accumulator(), inputs))
        results.update(combiner.extract_output(combiner.merge_accumulators(accumulators)))
    for computation in found.derived_computations:
        results.update(computation.result(results))
    return {
        (key.model_name if by_model else key.output_name, key.name): value
        for key, value in results.items()
        if key.name[0] != "_"
    }


def extracts(prediction, label, organism=b"human"):
    return {
        tfma.PREDICTIONS_KEY: prediction,
        tfma.LABELS_KEY: raw_bytes(label) if isinstance(label, np.ndarray) else label,
        tfma.FEATURES_KEY: {
            "organism": np.array([organism], dtype=object),
            "chrom": np.array([b"chr1"], dtype=object),
            "start": np.array([0]),
        },
        tfma.SLICE_KEY_TYPES_KEY: ((),),
    }


def raw_bytes(target):
    return np.array([target.astype("<f2").tobytes()], dtype=object)


def test_both_metrics_share_one_pass_and_only_moments_reach_the_combiner():
    found = computations(metrics.PearsonR(), metrics.R2(), metrics.PearsonR(transform="log1p"))
    assert len(found.non_derived_computations) == 2  # plain and log1p
    rng = np.random.default_rng(0)
    example = extracts(rng.random((896, 50), np.float32), rng.random((896, 50), np.float32))
    (output,) = evaluator._PreprocessorDoFn(found.non_derived_computations).process(example)
    for inputs in output["_combiner_inputs"]:
        assert [type(one) for one in inputs] == [BlockMoments]
    # five float64 a track and pass, and some overhead; the arrays are 358 kB
    assert len(pickle.dumps(output)) < 2 * 5 * 8 * 50 + 2000


def test_arrays_of_past_batches_do_not_pile_up():
    found = computations(metrics.PearsonR())
    (preprocessor,) = found.non_derived_computations[0].preprocessors
    preprocessor.setup()
    batch = {"predictions": np.ones((4, 3), np.float32)}
    batch["itself"] = batch
    gone = weakref.ref(batch["predictions"])
    del batch
    assert gone() is not None
    list(preprocessor.process(extracts(*np.ones((2, 4, 3)))))
    assert gone() is None


def test_two_heads_of_different_width_and_raw_labels():
    rng = np.random.default_rng(5)
    human_y, human_p = rng.gamma(2, 2, (6, 4, 3)).astype(np.float16), rng.gamma(2, 2, (6, 4, 3))
    mouse_y, mouse_p = rng.gamma(2, 2, (5, 4, 2)).astype(np.float16), rng.gamma(2, 2, (5, 4, 2))
    human_y[:, -1] = 0
    mouse_y[:, -1, -1] = 0
    # The model answers with both heads for every example; the label belongs to one of them.
    examples = [extracts({"human": p, "mouse": mouse_p[0]}, y) for y, p in zip(human_y, human_p, strict=True)]
    examples += [
        extracts({"human": human_p[0], "mouse": p}, {"human": raw_bytes(y), "mouse": raw_bytes(y)}, b"mouse")
        for y, p in zip(mouse_y, mouse_p, strict=True)
    ]
    values = {}
    for head, organism in (("human", "human"), ("mouse", "mouse")):
        found = computations(metrics.PearsonR(organism=organism), metrics.R2(organism=organism), heads=(head,))
        values.update(evaluate(found, examples))
    for head, y, p in (("human", human_y, human_p), ("mouse", mouse_y, mouse_p)):
        y, p = y.reshape(-1, y.shape[-1]).astype(float), p.reshape(-1, p.shape[-1])
        pearson = [np.corrcoef(y[:, t], p[:, t])[0, 1] for t in range(y.shape[1])]
        r2 = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
        np.testing.assert_allclose(values[head, "pearson_r_per_track"], pearson, atol=1e-6)
        np.testing.assert_allclose(values[head, "pearson_r"], np.mean(pearson), atol=1e-6)
        np.testing.assert_allclose(values[head, "r2"], r2.mean(), atol=1e-6)


def test_undefined_tracks_leave_the_mean_and_are_counted():
    rng = np.random.default_rng(7)
    label, prediction = rng.random((4, 3)), rng.random((4, 3))
    label[:, 0] = 0.1
    names = ["a", "b", "c"]
    metric = metrics.PearsonR(track_names=names, assays=["CHIP", "CHIP", "CAGE"], keyed_tracks=["b"])
    values = evaluate(computations(metric), [extracts(prediction, label)])
    values = {name: value for (_, name), value in values.items()}
    of_contig = {name: value for name, value in values.items() if name.endswith("/contig:chr1")}
    values = {name: value for name, value in values.items() if name not in of_contig}
    assert {name + "/contig:chr1" for name in values} == of_contig.keys()
    a, b, c = values.pop("pearson_r_per_track")
    assert np.isnan(a)
    assert values == {
        "pearson_r": np.mean([b, c]),
        "pearson_r_undefined_tracks": 1,
        "pearson_r/assay:CHIP": b,
        "pearson_r_undefined_tracks/assay:CHIP": 1,
        "pearson_r/assay:CAGE": c,
        "pearson_r_undefined_tracks/assay:CAGE": 0,
        "pearson_r/b": b,
    }


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_diverged_track_is_not_averaged_away(wrong):
    rng = np.random.default_rng(7)
    label, prediction = rng.random((4, 3)), rng.random((4, 3))
    prediction[2, 1] = wrong
    of_tracks = {"track_names": ["a", "b", "c"], "assays": ["CHIP", "CAGE", "CHIP"]}
    found = computations(metrics.PearsonR(**of_tracks), metrics.R2(**of_tracks))
    values = evaluate(found, [extracts(prediction, label)])
    for name in ("pearson_r", "r2"):
        assert np.isnan(values["human", name])
        assert np.isnan(values["human", f"{name}/assay:CAGE"])
        assert np.isfinite(values["human", f"{name}/assay:CHIP"])


def test_the_change_pairs_both_models_on_the_same_windows():
    rng = np.random.default_rng(3)
    label = rng.gamma(2, 2, (5, 4, 3)).astype(np.float16)
    good, weaker = label + rng.normal(0, 1, label.shape), label + rng.normal(0, 2, label.shape)
    models = (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY)
    examples = [
        extracts(dict(zip(models, pair, strict=True)), dict.fromkeys(models, raw_bytes(y)))
        for y, *pair in zip(label, weaker, good, strict=True)
    ]
    for start, example in enumerate(examples):
        example[tfma.FEATURES_KEY]["start"] = np.array([start])
    configured = (metrics.PearsonR(in_blocks=True), metrics.PairedChange("pearson_r"))
    found = computations(*configured, models=models)
    assert len(found.non_derived_computations) == 2  # one for each model
    values = evaluate(found, examples, by_model=True)
    change, low, high = (values[tfma.CANDIDATE_KEY, f"pearson_r_change{end}"] for end in ("", "_low", "_high"))
    means = [values[model, "pearson_r"] for model in models]
    np.testing.assert_allclose(change, means[0] - means[1], rtol=0, atol=1e-12)
    assert low < change < high
    # Nobody judges the baseline.
    assert (tfma.BASELINE_KEY, "pearson_r_change") not in values


def test_without_a_baseline_nothing_is_known_of_the_change():
    example = extracts(*np.random.default_rng(0).random((2, 4, 3)))
    values = evaluate(computations(metrics.PairedChange("r2")), [example])
    found = [values["human", f"r2_change{end}"] for end in ("", "_low", "_high")]
    np.testing.assert_array_equal(found, [np.nan, -np.inf, np.inf])


def test_a_slice_without_an_example_of_the_organism_is_undefined():
    example = extracts(np.ones((4, 3)), np.ones((4, 3)), organism=b"mouse")
    values = evaluate(computations(metrics.R2(organism="human", track_names=["a", "b", "c"])), [example])
    assert np.isnan(values["human", "r2"])
    assert values["human", "r2_undefined_tracks"] == 3


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (np.ones((4, 3)), np.ones((4, 2)), r"head 'human'.* 8 float16 values.*\(4, 3\)"),
        (np.ones(12), np.ones((4, 3)), r"head 'human'.*\(12,\)"),
        ({"mouse": np.ones((4, 3))}, np.ones((4, 3)), r"'human' is not among \['mouse'\]"),
        (np.ones((4, 3)), None, "no label"),
    ],
)
def test_shapes_that_do_not_fit_name_the_head(prediction, label, message):
    with pytest.raises(ValueError, match=message):
        evaluate(computations(metrics.PearsonR()), [extracts(prediction, label)])


def test_options_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="log2"):
        metrics.PearsonR(transform="log2")
    with pytest.raises(ValueError, match=r"\['a'\]"):
        metrics.R2(track_names=["a", "b", "a"], keyed_tracks=["a", "b"])
    with pytest.raises(ValueError, match=r"\['d'\]"):
        metrics.R2(track_names=["a", "b"], keyed_tracks=["d"])
    with pytest.raises(ValueError, match="1 assays for 2 tracks"):
        metrics.R2(track_names=["a", "b"], assays=["CHIP"])
    with pytest.raises(ValueError, match="'mse'"):
        metrics.PairedChange("mse")
    with pytest.raises(ValueError, match="has 3 tracks, pearson_r got 2"):
        evaluate(computations(metrics.PearsonR(track_names=["a", "b"])), [extracts(*[np.ones((4, 3))] * 2)])
