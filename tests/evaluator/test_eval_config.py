"""The configuration run by TFMA on a real SavedModel: numpy's figures, and blessings by the limits."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions

from components.evaluator.eval_config import Head, make_eval_config
from components.evaluator.figures import load_figures, load_verdict
from components.evaluator.regions import RegionFile
from tests.evaluator import tiny_model

HEAD = tiny_model.HEAD
MEANS = ("pearson_r", "r2", "log1p_pearson_r", "log1p_r2")
# On chr1, targets are at 72-120, 136-184 and so on; on chr2, at 8-56, 200-248, 392-440. So of these regions one
# begins before a target, one lies in it, one in a single bin, two equal ones have their middle in a target and
# reach into the next, and one has its middle between the two.
REGIONS = """#chrom\tstart\tend\tname
chr2\t195\t209\tg1
chr2\t400\t430\tg2
one\t73\t75\tg3
one\t90\t140\tg4
one\t90\t140\tg5
one\t110\t140\tnowhere
"""
# Of a change that there is nothing to measure by.
UNKNOWN = {"": np.nan, "_low": -np.inf, "_high": np.inf}


def analyse(folder, config, examples, candidate, baseline=None):
    """Evaluates as TFX's Evaluator does; returns the first head's figures by slice, and the verdict."""
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
    return load_figures(folder)[config.metrics_specs[0].output_names[0]].by_slice, load_verdict(folder)


def r2_of(y, p):
    return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)


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
            for name, per_track in ((f"{prefix}pearson_r", pearson), (f"{prefix}r2", r2_of(y, p))):
                figures.setdefault(keys, {}).update(
                    {
                        name: per_track.mean(),
                        f"{name}_undefined_tracks": 0,
                        f"{name}_per_track": per_track,
                        **{f"{name}/assay:{a}": v for a, v in zip(tiny_model.ASSAYS, per_track, strict=True)},
                        **{f"{name}_undefined_tracks/assay:{assay}": 0 for assay in tiny_model.ASSAYS},
                    }
                )
    return figures


def bins_of_regions(examples, model):
    """(contig, line) -> its bins' targets and predictions, [bin][tracks] each, by a loop over all windows."""
    serve = tf.saved_model.load(f"{model}/{tiny_model.SERVING}").signatures["serving_default"]
    found = {}
    for file in sorted(pathlib.Path(examples).glob("Split-test/*")):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            raw = features["target"].bytes_list.value[0]
            target = np.frombuffer(raw, "<f2").reshape(tiny_model.TARGET_LENGTH, -1).astype(float)
            predicted = serve(tf.constant([record]))[HEAD].numpy()[0].astype(float)
            chrom = features["chrom"].bytes_list.value[0].decode()
            first = features["start"].int64_list.value[0] + tiny_model.BIN
            for index, (y, p) in enumerate(zip(target, predicted, strict=True)):
                bin_of = range(first + index * tiny_model.BIN, first + (index + 1) * tiny_model.BIN)
                for number, line in enumerate(REGIONS.splitlines()[1:]):
                    contig, start, end, _ = line.replace("one", "chr1").split("\t")
                    bp = range(int(start), int(end))
                    held = first <= bp[len(bp) // 2] < first + len(target) * tiny_model.BIN
                    if contig == chrom and held and set(bin_of) & set(bp):
                        bins = found.setdefault((contig, number), ([], []))
                        bins[0].append(y)
                        bins[1].append(p)
    return found


def test_figures_equal_numpys_and_limits_hold_overall_only(tmp_path, examples, models):
    truth = numpy_figures(examples, models["good"])
    thresholds = {name: truth[()][name] - 1e-5 for name in ("pearson_r", "log1p_r2", "r2/assay:CHIP")}
    thresholds["pearson_r/chip_1"] = truth[()]["pearson_r/assay:CHIP"] - 1e-5
    for slices in truth.values():  # the track with a limit, and the only one of its assay
        slices |= {f"{name}/chip_1": slices[f"{name}/assay:CHIP"] for name in MEANS}
    # One of the chromosomes misses them even where the whole does not, and that must not matter.
    assert any(truth[chrom,][name] < least for chrom in ("chr1", "chr2") for name, least in thresholds.items())
    config = make_eval_config([tiny_model.head()], thresholds, max_drop=0.05)
    figures, verdict = analyse(tmp_path, config, examples, models["good"])
    assert figures.keys() == truth.keys()
    for keys, expected in truth.items():
        unknown = {} if keys else {f"pearson_r_change{end}": value for end, value in UNKNOWN.items()}
        assert figures[keys].keys() == expected.keys() | unknown.keys()
        for name, value in (expected | unknown).items():
            np.testing.assert_allclose(figures[keys][name], value, rtol=0, atol=1e-6, err_msg=f"{keys} {name}")
    assert verdict.blessed
    assert not verdict.compared
    assert {check.key: check.least for check in verdict.checks if np.isfinite(check.least)} == {
        **thresholds,
        "pearson_r_change_high": -0.05,
    }
    assert {check.key: check.most for check in verdict.checks if np.isfinite(check.most)} == {
        "pearson_r_undefined_tracks": 0,
        "log1p_r2_undefined_tracks": 0,
        "r2_undefined_tracks/assay:CHIP": 0,
    }
    assert all(check.met for check in verdict.checks)


@pytest.mark.parametrize(
    ("candidate", "thresholds", "max_undefined_tracks", "missed"),
    [
        ("nan", {"pearson_r": -1.0}, 2, {"pearson_r"}),
        ("constant", {"pearson_r": 0.1}, 0, {"pearson_r_undefined_tracks"}),
        ("constant", {"pearson_r": 0.1}, 1, set()),
    ],
)
def test_what_misses_its_limits_is_not_blessed(
    tmp_path, examples, models, candidate, thresholds, max_undefined_tracks, missed
):
    config = make_eval_config([tiny_model.head()], thresholds, 0.05, max_undefined_tracks=max_undefined_tracks)
    _, verdict = analyse(tmp_path, config, examples, models[candidate])
    assert {check.key for check in verdict.checks if not check.met} == missed
    assert verdict.blessed is not bool(missed)


def test_a_candidate_is_compared_with_the_last_blessed_model_on_the_same_windows(tmp_path, examples, models):
    metric = "log1p_pearson_r"
    truth = {name: numpy_figures(examples, models[name])[()][metric] for name in ("good", "weaker")}
    config = make_eval_config([tiny_model.head()], {metric: 0.0}, max_drop=1.0, change_metric=metric)
    figures, verdict = analyse(tmp_path, config, examples, models["weaker"], models["good"])
    change, low, high = (figures[()][f"{metric}_change{end}"] for end in UNKNOWN)
    np.testing.assert_allclose(change, truth["weaker"] - truth["good"], rtol=0, atol=1e-6)
    assert -1 < low < change < high < 0
    assert verdict.compared
    assert verdict.blessed
    assert [check.value for check in verdict.checks if check.key == f"{metric}_change_high"] == [high]


def test_heads_of_two_organisms_have_figures_and_limits_of_their_own(tmp_path):
    model, data, arrays = tiny_model.write_two_heads(tmp_path, {"ecoli": 3, "yeast": 2})
    heads = [Head("ecoli", list("abc"), ["CHIP:a", "CDS:b", "CHIP:c"]), Head("yeast", list("rs"), ["RNA:"] * 2)]
    config = make_eval_config(heads, {"r2": -99.0, "r2/r": -99.0, "r2/assay:CHIP": 1.0}, 0.1)
    evaluation = tmp_path / "evaluation"
    _, verdict = analyse(evaluation, config, data, model)
    figures = load_figures(evaluation)
    for head, (y, p) in arrays.items():
        np.testing.assert_allclose(figures[head].by_slice[()]["r2_per_track"], r2_of(y, p), rtol=0, atol=1e-6)
    y, p = arrays["ecoli"]
    assert figures["ecoli"].by_slice[()]["r2/assay:CHIP"] == pytest.approx(r2_of(y, p)[[0, 2]].mean(), abs=1e-6)
    lowest = {(check.head, check.key): check.least for check in verdict.checks if np.isfinite(check.least)}
    assert lowest == {
        ("ecoli", "r2"): -99.0,
        ("ecoli", "r2/assay:CHIP"): 1.0,
        ("ecoli", "pearson_r_change_high"): -0.1,
        ("yeast", "r2"): -99.0,
        ("yeast", "r2/r"): -99.0,
        ("yeast", "pearson_r_change_high"): -0.1,
    }
    assert [(check.head, check.key) for check in verdict.checks if not check.met] == [
        ("ecoli", "r2/assay:CHIP")
    ]
    assert not verdict.blessed


def test_figures_across_regions_equal_numpys(tmp_path, examples, models):
    bed = tmp_path / "genes.bed"
    bed.write_text(REGIONS)
    regions = RegionFile.open(bed, {"chr1": ["one"]}, tiny_model.BIN)
    head = dataclasses.replace(tiny_model.head(), regions=regions)
    limits = {"region_log1p_pearson_r": -1.0, "region_r2/assay:CHIP": -99.0, "region_pearson_r/chip_2": -1.0}
    config = make_eval_config([head], limits, 2.0)
    figures, verdict = analyse(tmp_path / "evaluation", config, examples, models["weaker"], models["good"])
    assert verdict.blessed
    assert limits.items() <= {check.key: check.least for check in verdict.checks}.items()
    sums = bins_of_regions(examples, models["weaker"])
    for keys, count in (((), 5), (("chr1",), 3), (("chr2",), 2)):
        chosen = [region for region in sums if not keys or region[0] in keys]
        assert figures[keys]["region_pearson_r_count"] == len(chosen) == count
        y, p = (np.stack([np.mean(sums[region][side], axis=0) for region in chosen]) for side in (0, 1))
        for prefix, transform in (("", np.asarray), ("log1p_", np.log1p)):
            pearson = [np.corrcoef(transform(y[:, t]), transform(p[:, t]))[0, 1] for t in range(2)]
            r2 = r2_of(transform(y), transform(p))
            for name, values in (("pearson_r", pearson), ("r2", r2)):
                key = f"region_{prefix}{name}"
                found = [figures[keys][key + end] for end in ("_per_track", "", "/assay:CHIP")]
                for value, expected in zip(found, (values, np.mean(values), values[0]), strict=True):
                    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_a_model_is_refused_where_no_window_has_a_region(tmp_path, examples, models):
    (tmp_path / "far.bed").write_text("chr1\t1000000\t1000100\n")
    head = dataclasses.replace(tiny_model.head(), regions=RegionFile.open(tmp_path / "far.bed", {}))
    config = make_eval_config([head], {"pearson_r": -1.0}, 0.1)
    figures, verdict = analyse(tmp_path / "evaluation", config, examples, models["good"])
    assert [check.key for check in verdict.checks if not check.met] == ["region_pearson_r_count"]
    assert not verdict.blessed
    assert np.isnan(figures[()]["region_r2"])


def test_assays_are_the_prefixes_of_descriptions():
    descriptions = ["CHIP:H3K4me3:liver", "DNASE:", "CAGE: lung", "no colon", ":empty", ""]
    assays = Head("human", list("abcdef"), descriptions).assays
    assert assays == ["CHIP", "DNASE", "CAGE", "other", "other", "other"]


def test_a_threshold_of_one_organism_goes_before_that_of_all():
    heads = [Head("ecoli", ("a",), ("CHIP:x",)), Head("yeast", ("b",), ("CHIP:y",))]
    thresholds = {"pearson_r": 0.5, "yeast:pearson_r": 0.25, "ecoli:r2/assay:CHIP": 0.125}
    specs = make_eval_config(heads, thresholds, 0.1).metrics_specs
    least = {
        (spec.output_names[0], key): limit.value_threshold.lower_bound.value
        for spec in specs
        for key, limit in spec.thresholds.items()
        if key in ("pearson_r", "r2/assay:CHIP")
    }
    assert least == {
        ("ecoli", "pearson_r"): 0.5,
        ("ecoli", "r2/assay:CHIP"): 0.125,
        ("yeast", "pearson_r"): 0.25,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": {}}, "at least one threshold"),
        ({"thresholds": {"pearson": 0.5}}, r"\['pearson'\]"),
        ({"thresholds": {"rat:pearson_r": 0.5}}, r"\['rat:pearson_r'\]"),
        ({"thresholds": {"pearson_r/chip_3": 0.5}}, "chip_3"),
        ({"heads": [Head(HEAD, ("a", "a"), ("", ""))], "thresholds": {"r2/a": 0.5}}, "r2/a"),
        ({"thresholds": {"pearson_r": float("nan")}}, "finite"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"change_metric": "pearson_r/chip_1"}, "means are"),
        ({"heads": [Head("", (), ())]}, "head"),
        ({"thresholds": {"region_r2": 0.1}}, "with a file of regions .*region_r2"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(change, message):
    given = {"heads": [tiny_model.head()], "thresholds": {"r2": 0.1}, "max_drop": 0.1}
    with pytest.raises(ValueError, match=message):
        make_eval_config(**{**given, **change})
