"""A run's page: what it says is what was measured, whatever the tracks are."""

import datetime
import html
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from components.evaluation_report.subject import Subject
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.genes import Gene
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.track_table import Target
from pipeline.data import Organism
from pipeline.run_page import Judged, make_page
from pipeline.run_pictures import draw_comparison
from pipeline.scores import TrackScore, score_windows
from pipeline.split_signal import SplitSignal

WINDOWS, BINS, TRACKS = 5, 6, 3
RNG = np.random.default_rng(0)
MEASURED = RNG.gamma(2, 3, (WINDOWS, BINS, TRACKS))
PREDICTED = RNG.gamma(2, 3, (WINDOWS, BINS, TRACKS))
MEASURED[0, :, 1] = 0.1  # does not vary in this window, and nothing does in the next
MEASURED[1] = 0.1
PREDICTED[2, :, 0] = 0.3


def test_windows_are_correlated_track_by_track():
    found = score_windows(MEASURED, PREDICTED)

    def r(window, track):
        y, p = np.log1p(MEASURED[window, :, track]), np.log1p(PREDICTED[window, :, track])
        return np.corrcoef(y, p)[0, 1]

    assert found[0] == pytest.approx((r(0, 0) + r(0, 2)) / 2)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx((0 + r(2, 1) + r(2, 2)) / 3)
    assert found[3] == pytest.approx(np.mean([r(3, track) for track in range(3)]))


def make(tmp_path, scores, genes=()):
    names = [score.track for score in scores]
    tracks = [
        Target(index=index, identifier=name, description=f"what {name} is") for index, name in enumerate(names)
    ]
    targets = [Interval("c<1>", at * 768, (at + 1) * 768) for at in range(WINDOWS)]
    windows = [Window(target.extend(128), target, "test") for target in targets]
    measured, predicted = (np.resize(values, (WINDOWS, BINS, len(names))) for values in (MEASURED, PREDICTED))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        config = {"channels": 1536, "num_transformer_layers": 11, "num_heads": 8}
        archive.writestr("config.json", json.dumps({"config": config}))
    card = {
        "window_length": 1024,
        "target_length": BINS,
        "bin_size": 128,
        "organisms": {"tiny": {"assembly": None, "tracks": [{}] * len(names)}},
        "code": {"version": "1", "fingerprint": "f"},
        "lineage": {"started_from": "scratch", "seed": 0, "step": 8},
    }
    subject = Subject("dataset.yaml", "run", "7", datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC), card)
    data = {"organisms": {"tiny": {"splits": {"train": {"windows": 1234}, "test": {"windows": WINDOWS}}}}}
    test = SplitSignal(windows, [], measured, np.zeros(0))
    judged = Judged(Organism("tiny", None, tracks, {}), test, predicted, scores, genes, "")
    links = [("all", "../all.html")]
    page = make_page(subject, tmp_path / "model.keras", data, [judged], b"png", None, links)
    return page, targets, score_windows(measured, predicted)


def test_the_page_says_what_was_trained_on_what_and_how_good_it_is(tmp_path):
    scores = [
        TrackScore("tiny", "<chip>", 0.91234, 0.81234),
        TrackScore("tiny", "cds", 0.4, 0.5),
        TrackScore("tiny", "flat", np.nan, np.nan),
    ]
    page, targets, within = make(tmp_path, scores)
    assert "1,536 channels, 11 transformer blocks and 8 attention heads" in page
    assert "tiny: 1,234 train, 5 test" in page
    assert "mean Pearson r 0.6562, baseline 0.6562" in page
    assert "above the baseline in 1 of 3 tracks" in page
    assert "1 have no correlation" in page
    for name, *figures in (("<chip>", "0.9123", "0.8123", "+0.1000"), ("cds", "0.4000", "0.5000", "-0.1000")):
        row = page[page.index(f"<tr><td>{html.escape(name)}</td><td>what {html.escape(name)} is") :]
        cells = [
            cell.partition(">")[2].partition("<")[0] for cell in row.partition("</tr>")[0].split("<td")[3:]
        ]
        assert cells == figures
    best, worst = np.nanargmax(within), np.nanargmin(within)
    assert f"<h3>Best: {html.escape(str(targets[best]))}</h3>" in page
    assert f"<h3>Worst: {html.escape(str(targets[worst]))}</h3>" in page
    assert "No genes are drawn" in page
    assert '<a href="../all.html">all</a>' in page
    assert "<chip>" not in page


def test_of_many_tracks_the_best_and_the_worst_are_listed_and_all_are_drawn(tmp_path):
    scores = [TrackScore("tiny", f"t{number}", number / 100, 0.3) for number in range(100)]
    page, *_ = make(tmp_path, scores, [Gene("g", "g", "c<1>", "+", 0, 400, 0, (0,), ((0, 400),), "exon")])
    listed = [number for number in range(100) if f"<tr><td>t{number}</td>" in page]
    assert listed == [*range(10), *range(90, 100)]
    assert "No genes are drawn" not in page
    heights = [int.from_bytes(draw_comparison(scores[:most])[20:24], "big") for most in (4, 20, 100)]
    assert heights[0] < heights[1] == heights[2]


def test_a_report_of_no_run_says_what_is_missing(tmp_path):
    environment = {**os.environ, "ENFORMER_RUN": str(tmp_path / "none")}
    command = [sys.executable, "-m", "pipeline.report"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert f"pipeline.report: {tmp_path}" in ran.stderr
    assert "no such file; run the pipeline first" in ran.stderr
