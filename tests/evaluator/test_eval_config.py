"""The configuration run by TFMA on a real SavedModel: numpy's figures, and blessings by the limits."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions

from components.evaluator.eval_config import make_eval_config
from components.evaluator.figures import load_figures
from tests.evaluator import tiny_model

HEAD = tiny_model.HEAD


def analyse(folder, config, examples, candidate, baseline=None):
    """Evaluates as TFX's Evaluator does; returns (metrics by slice, whether the limits are met)."""
    models = [
        tfma.default_eval_shared_model(
            f"{model}/{tiny_model.SERVING}", model_name=name, eval_config=config, rubber_stamp=not baseline
        )
        for name, model in ((tfma.CANDIDATE_KEY, candidate), (tfma.BASELINE_KEY, baseline))
        if model
    ]
    tfma.run_model_analysis(
        eval_shared_model=models if baseline else models[0],
        eval_config=config,
        data_location=f"{examples}/Split-test/*.gz",
        output_path=str(folder),
        pipeline_options=PipelineOptions(["--runner=FnApiRunner"]),
    )
    return load_figures(folder), tfma.load_validation_result(str(folder)).validation_ok


def numpy_figures(examples, model):
    """The same figures by slice, from the model's own answers and numpy alone."""
    records = [
        record.numpy()
        for file in sorted(pathlib.Path(examples).glob("Split-test/*"))
        for record in tf.data.TFRecordDataset(str(file), "GZIP")
    ]
    parsed = [tf.train.Example.FromString(record).features.feature for record in records]
    chroms = np.array([features["chrom"].bytes_list.value[0].decode() for features in parsed])
    shape = (-1, tiny_model.TARGET_LENGTH, len(tiny_model.TRACKS))
    raw = b"".join(features["target"].bytes_list.value[0] for features in parsed)
    targets = np.frombuffer(raw, "<f2").reshape(shape).astype(np.float64)
    serve = tf.saved_model.load(f"{model}/{tiny_model.SERVING}").signatures["serving_default"]
    predictions = serve(tf.constant(records))[HEAD].numpy().astype(np.float64)
    figures = {}
    for keys, rows in [((), chroms != ""), (("chr1",), chroms == "chr1"), (("chr2",), chroms == "chr2")]:
        for prefix, transform in (("", np.asarray), ("log1p_", np.log1p)):
            y = transform(targets[rows]).reshape(-1, shape[-1])
            p = transform(predictions[rows]).reshape(-1, shape[-1])
            pearson = np.array([np.corrcoef(y[:, t], p[:, t])[0, 1] for t in range(shape[-1])])
            r2 = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
            for name, per_track in ((f"{prefix}pearson_r", pearson), (f"{prefix}r2", r2)):
                figures.setdefault(keys, {}).update(
                    {
                        name: per_track.mean(),
                        f"{name}_undefined_tracks": 0,
                        f"{name}_per_track": per_track,
                        **{f"{name}/{t}": v for t, v in zip(tiny_model.TRACKS, per_track, strict=True)},
                    }
                )
    return figures


@pytest.mark.parametrize(
    ("decoded_by", "slack"),
    [(("transform_features",), 1e-5), ((), -1e-5)],
    ids=["decoded by the model, met", "decoded by the metric, missed"],
)
def test_figures_equal_numpys_and_limits_hold_overall_only(tmp_path, examples, models, decoded_by, slack):
    truth = numpy_figures(examples, models["good"])
    thresholds = {name: truth[()][name] - 1e-5 for name in ("pearson_r", "log1p_r2")}
    thresholds["pearson_r/chip_1"] = truth[()]["pearson_r/chip_1"] - slack
    # One of the chromosomes misses them even where the whole does not, and that must not matter.
    assert any(truth[chrom,][name] < least for chrom in ("chr1", "chr2") for name, least in thresholds.items())
    config = make_eval_config(
        HEAD, tiny_model.TRACKS, thresholds, max_drop=0.05, preprocessing_functions=decoded_by
    )
    figures, blessed = analyse(tmp_path, config, examples, models["good"])
    assert figures.keys() == truth.keys()
    for keys, expected in truth.items():
        assert figures[keys].keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(figures[keys][name], value, rtol=0, atol=1e-6, err_msg=f"{keys} {name}")
    assert blessed is (slack > 0)


@pytest.mark.parametrize(
    ("candidate", "thresholds", "max_undefined_tracks", "blessed"),
    [
        ("nan", {"pearson_r": -1.0}, 2, False),
        ("constant", {"pearson_r": 0.1}, 0, False),
        ("constant", {"pearson_r": 0.1}, 1, True),
    ],
)
def test_what_misses_its_limits_is_not_blessed(
    tmp_path, examples, models, candidate, thresholds, max_undefined_tracks, blessed
):
    config = make_eval_config(
        HEAD, tiny_model.TRACKS, thresholds, 0.05, max_undefined_tracks=max_undefined_tracks, slice_by=()
    )
    assert analyse(tmp_path, config, examples, models[candidate])[1] is blessed


@pytest.mark.parametrize("slack", [-1e-3, 1e-3])
def test_a_candidate_may_fall_behind_the_last_blessed_model_by_max_drop(tmp_path, examples, models, slack):
    metric = "log1p_pearson_r"
    drop = numpy_figures(examples, models["good"])[()][metric]
    drop -= numpy_figures(examples, models["weaker"])[()][metric]
    assert drop > 0.01
    config = make_eval_config(
        HEAD, tiny_model.TRACKS, {metric: 0.0}, max_drop=drop + slack, change_metric=metric, slice_by=()
    )
    assert analyse(tmp_path, config, examples, models["weaker"], models["good"])[1] is (slack > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": {}}, "at least one threshold"),
        ({"thresholds": {"pearson": 0.5}}, r"\['pearson'\]"),
        ({"thresholds": {"pearson_r/chip_3": 0.5}}, "chip_3"),
        ({"thresholds": {"pearson_r": float("nan")}}, "finite"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"change_metric": "pearson_r/chip_1"}, "means are"),
        ({"head": ""}, "head"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(change, message):
    given = {"head": HEAD, "track_names": tiny_model.TRACKS, "thresholds": {"r2": 0.1}, "max_drop": 0.1}
    with pytest.raises(ValueError, match=message):
        make_eval_config(**{**given, **change})
