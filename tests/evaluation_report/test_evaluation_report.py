"""The report's parts: TensorBoard's logs, tracks that are drawn, and a page of escaped text."""

import dataclasses
import datetime
import html.parser
import math

import numpy as np
import pytest
import tensorflow as tf

from components.evaluation_report.curves import read_curves
from components.evaluation_report.page import compared_metric, make_page
from components.evaluation_report.pictures import draw_histograms
from components.evaluation_report.signal import extremes, read_signals
from components.evaluation_report.subject import Subject
from components.evaluator.figures import Check, HeadFigures, Verdict
from tests.evaluator import tiny_model


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return tiny_model.write_examples(tmp_path_factory.mktemp("examples") / "examples")


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tiny_model.write_saved_model(tmp_path_factory.mktemp("model") / "good", tiny_model.TRUTH)
    return f"{path}/{tiny_model.SERVING}"


def test_curves_are_what_was_logged(tmp_path):
    values = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        for phase, row in zip(("train", "validation"), values, strict=True):
            for step, value in enumerate(row):
                tf.summary.scalar(f"{phase}/loss", value, step=10 * step)
    curves = read_curves(str(tmp_path))
    assert curves.keys() == {"loss"}
    for phase, row in zip(("train", "validation"), values, strict=True):
        np.testing.assert_array_equal(curves["loss"][phase], np.stack([[0, 10, 20], row], axis=1))
    (tmp_path / "nothing").mkdir()
    assert read_curves(str(tmp_path / "nothing")) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, np.nan, 0.9, 0.5, 0.7, 0.3], [2, 4, 5, 0]),
        ([0.1, np.nan, 0.9], [2, 0]),
        ([np.nan], []),
    ],
)
def test_best_and_worst_tracks(values, expected):
    assert extremes(np.array(values), 2) == expected


def test_signals_are_those_of_the_strongest_window(examples, saved_model):
    (second, first) = read_signals(
        saved_model, "serving_default", f"{examples}/Split-test/*", {tiny_model.HEAD: [1, 0]}, 5, tiny_model.BIN
    )[tiny_model.HEAD]
    assert (second.track, first.track) == (1, 0)
    files = sorted(tf.io.gfile.glob(f"{examples}/Split-test/*"))
    records = list(tf.data.TFRecordDataset(files, "GZIP").take(5).as_numpy_iterator())
    serve = tf.saved_model.load(saved_model).signatures["serving_default"]
    predictions = serve(tf.constant(records))[tiny_model.HEAD].numpy()
    parsed = [tf.train.Example.FromString(record).features.feature for record in records]
    targets = np.stack([np.frombuffer(one["target"].bytes_list.value[0], "<f2") for one in parsed])
    targets = targets.reshape(predictions.shape).astype(np.float32)
    for signal in (first, second):
        best = targets[..., signal.track].sum(axis=1).argmax()
        start = parsed[best]["start"].int64_list.value[0]
        assert signal.window.endswith(f":{start}-{start + tiny_model.WINDOW}")
        # A bin is cropped from each end of the window.
        first_bin, end = start + tiny_model.BIN, start + tiny_model.WINDOW - tiny_model.BIN
        assert (signal.target.start, signal.target.end) == (first_bin, end)
        np.testing.assert_array_equal(signal.measured, targets[best, :, signal.track])
        np.testing.assert_allclose(signal.predicted, predictions[best, :, signal.track], rtol=1e-5)


@pytest.mark.parametrize("count", [1, 12, 13, 700])
def test_histograms_of_any_number_of_assays_and_any_name(count):
    # Of which the second has the most tracks; "$\\x$" would be a formula, and a wrong one.
    assays = [f"$\\x{number}$" for number in range(count)] + ["$\\x1$"] * 3
    picture = draw_histograms(np.linspace(0, 1, len(assays)), assays, "r2")
    height = int.from_bytes(picture[20:24], "big")
    panels = min(count + (count == 1), 12)
    assert height == pytest.approx((1.1 * panels + 0.4) * 120, abs=1)


SUBJECT = Subject(
    dataset="data/<b>/dataset.yaml",
    run="runs/demo",
    version="1732324516",
    date=datetime.datetime(2026, 11, 28, 3, 19, tzinfo=datetime.UTC),
    card={
        "window_length": 16_384,
        "target_length": 112,
        "bin_size": 128,
        "organisms": {"ecoli": {"assembly": "ASM584v2", "tracks": [{}] * 2}},
        "code": {"version": "0.1.0", "fingerprint": "c0de" * 16},
        "lineage": {"started_from": "scratch", "seed": 7, "step": 600},
    },
)


def verdict(compared):
    checks = [
        Check("ecoli", "r2", 0.25, 0.5, math.inf),
        Check("ecoli", "r2_undefined_tracks", 1.0, -math.inf, 0.0, ("rare",)),
        Check("ecoli", "r2_change_high", 0.01 if compared else math.inf, -0.02, math.inf),
    ]
    return Verdict(blessed=False, compared=compared, endpoint="serving_default", checks=checks)


def make(compared, examples, saved_model):
    figures = {"r2": 0.25, "r2_undefined_tracks": 0.0, "r2_per_track": np.array([0.5, 0.0])}
    groups = {
        f"{key}/assay:{assay}": 0.25 for key in ("r2", "r2_undefined_tracks") for assay in ("<b>&", "CDS")
    }
    change = {"r2_change": -0.0123, "r2_change_low": -0.0345, "r2_change_high": 0.01}
    # Of the second contig's windows no region is known.
    across = {f"region_{key}": value for key, value in (figures | groups).items()} | {"region_r2_count": 17.0}
    nowhere = dict.fromkeys(across, math.nan) | {"region_r2_count": 0.0, "region_r2_undefined_tracks": 2.0}
    head = HeadFigures(
        ["<script>", "chip_$2$"],
        ["<b>&", "CDS"],
        {(): figures | groups | change | across, ("chr<1>",): figures | across, ("chr2",): figures | nowhere},
    )
    signals = read_signals(
        saved_model, "serving_default", f"{examples}/Split-test/*", {tiny_model.HEAD: [0, 1]}, 1, tiny_model.BIN
    )
    return make_page(SUBJECT, {"ecoli": head}, verdict(compared), "r2", signals, {})


class Tags(html.parser.HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.sources = set(), "", []
        self.rows, self._in_row, self._goes_on = [], False, False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._goes_on = tag == "wbr"  # where a name may go on in the next line
        if tag == "tr":
            self.rows.append([])
            self._in_row = True
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._in_row = self._in_row and tag != "tr"

    def handle_data(self, data):
        self.text += data
        if self._goes_on:
            self.rows[-1][-1] += data
            self._goes_on = False
        elif self._in_row and data.strip():
            self.rows[-1].append(data)


def test_the_page_says_why_and_holds_all_that_it_shows(examples, saved_model):
    assert compared_metric(verdict(True)) == "r2"
    page = Tags()
    page.feed(make(True, examples, saved_model))
    assert "Refused: 2 of 3 limits missed" in page.text
    assert "r2_undefined_tracks: rare" in page.text
    assert "missed" in page.text
    assert "endpoint serving_default" in page.text
    assert "-0.0123 against the last blessed model" in page.text
    assert "95% interval -0.0345 to +0.0100" in page.text
    # Names from the data are text, and no file and no script is asked for.
    assert "<b>&" in page.text
    assert "chr<1>" in page.text
    assert not {"script", "b", "link", "iframe"} & page.tags
    assert page.sources
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)


def test_the_page_has_a_table_over_positions_and_one_across_regions(examples, saved_model):
    page = Tags()
    page.feed(make(True, examples, saved_model))
    first = page.rows.index(["over positions", "tracks", "r2", "undefined"])
    assert page.rows[first + 1 : first + 6] == [
        ["all", "2", "0.2500", "0"],
        ["<b>&", "1", "0.2500", "0"],
        ["CDS", "1", "0.2500", "0"],
        ["chr2", "2", "0.2500", "0"],
        ["chr<1>", "2", "0.2500", "0"],
    ]
    second = page.rows.index(["across regions", "tracks", "regions", "region_r2", "undefined"])
    assert page.rows[second + 4 :][0] == ["chr2", "2", "0", "nan", "2"]
    assert page.rows[second + 1] == ["all", "2", "17", "0.2500", "0"]


def test_the_page_says_what_was_evaluated(examples, saved_model):
    page = Tags()
    page.feed(make(True, examples, saved_model))
    assert "\necoli (ASM584v2): evaluation of 2026-11-28, refused\n" in page.text
    rows = dict(row for row in page.rows if len(row) == 2)
    assert rows["dataset"] == "data/<b>/dataset.yaml"
    assert rows["organism (assembly)"] == "ecoli (ASM584v2)"
    assert rows["tracks"] == "2 of ecoli"
    assert rows["run"] == "runs/demo"
    assert rows["pushed as version"] == "1732324516"
    assert rows["weights"] == "of step 600, seed 7, started from scratch"
    assert rows["date"] == "2026-11-28 03:19 UTC"
    assert dict(dataclasses.replace(SUBJECT, version="").rows)["pushed as version"] == "not pushed"


def test_a_first_model_is_compared_with_none(examples, saved_model):
    page = make(False, examples, saved_model)
    assert "compared with none" in page
    assert "No curves were logged" in page
