"""The report of a real build of the tiny genome, through TFX's own runner, against numpy on its arrays."""

import dataclasses
import io
import json
import logging

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tfx import v1 as tfx

from components.data_report.component import DataReporter
from components.data_report.figures import AddTargets, Target, drawn_tracks, make_report
from components.data_report.picture import draw_report
from components.examples.account import Account, SplitAccount, TrackAccount, read_accounts, write_accounts
from components.genome_example_gen.component import GenomeExampleGen
from enformer_keras.datasets.dataset import load_dataset
from enformer_keras.formats.intervals import Interval
from tests.datasets.tiny_genome import CONTIGS, build_tiny_genome, write_bigwig

TRACKS = ["dense", "holes", "cds_plus", "cds_minus"]
CLIPS = {"dense": 1.4, "holes": 200.0}


@dataclasses.dataclass
class Run:
    """A report, and the tiny genome it is of."""

    tiny: object
    folder: object
    found: dict
    warnings: list


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Reports on a genome with a gap, N, clips, and a track without values in most of the valid split."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "data").mkdir()
    tiny = build_tiny_genome(folder / "data")
    tiny.holes["c1"][1800:2400] = np.nan
    write_bigwig(folder / "data" / "holes.bw", tiny.holes)
    (folder / "data" / "gaps.bed").write_text("one\t200\t210\n")
    tiny.edit(max_n_fraction=0.5, gaps="gaps.bed")
    for row, clip in enumerate(CLIPS.values()):
        tiny.edit_row(row, clip=str(clip))
    example_gen = GenomeExampleGen(tiny.path, data_fingerprint="f")
    reporter = DataReporter(examples=example_gen.outputs["examples"], most_drawn=3)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("components.data_report.component")
    logger.addHandler(handler)
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="report",
            pipeline_root=str(folder / "root"),
            components=[example_gen, reporter],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(folder / "metadata.sqlite")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )
    logger.removeHandler(handler)
    (report,) = folder.glob("root/DataReporter/report/*")
    return Run(tiny, report, json.loads((report / "report.json").read_text()), lines)


def bins_of(tiny, windows):
    """Unclipped bins [windows, 4, tracks] and bp without a value [windows, tracks] from the arrays."""
    genes = {name: np.zeros((length, 2)) for name, length in CONTIGS.items()}
    genes["c1"][100:230, 0] = genes["c2"][1400:, 0] = genes["c2"][:30, 0] = genes["c1"][199:1200, 1] = 1
    mean = np.concatenate(list(tiny.dense.values())).mean(dtype=np.float64)
    bins, missing = [], []
    for target in (window.target for window in windows):
        at = slice(target.start, target.end)
        dense, holes = (values[target.chrom][at].astype(float) for values in (tiny.dense, tiny.holes))
        columns = [dense / mean / 16, 2 * np.nan_to_num(holes), *(genes[target.chrom][at].T / 16)]
        bins.append(np.stack([column.reshape(4, 16).sum(axis=1) for column in columns], axis=1))
        missing.append([0, np.isnan(holes).sum(), 0, 0])
    return np.array(bins), np.array(missing)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_figures_are_those_of_numpy(run, split):
    plan = load_dataset(run.tiny.path).plan()
    planned = [window for window in plan.windows if window.split == split]
    windows = [
        window
        for window in planned
        if run.tiny.bases[window.interval.chrom][window.interval.start : window.interval.end].count("N") <= 64
    ]
    found = run.found["organisms"]["tiny"]["splits"][split]
    assert found["windows"] == len(windows)
    dropped = {"gap": plan.dropped[split].get("gap", 0), "max_n_fraction": len(planned) - len(windows)}
    assert found["dropped"] == {reason: number for reason, number in dropped.items() if number}

    bins, missing = bins_of(run.tiny, windows)
    clipped = np.minimum(bins, [*CLIPS.values(), np.inf, np.inf])
    stored = clipped.astype(np.float16).astype(float)
    assert list(found["tracks"]) == TRACKS
    for index, track in enumerate(TRACKS):
        figures = found["tracks"][track]
        assert figures["mean"] == pytest.approx(stored[..., index].mean(), rel=1e-4)  # a scale's last digit
        assert figures["max"] == pytest.approx(stored[..., index].max(), rel=1e-3)
        assert figures["zero_fraction"] == np.mean(stored[..., index] == 0)
        assert figures["nan_fraction"] == missing[:, index].sum() / (64 * len(windows))
        assert figures["clip_rate"] == np.mean(bins[..., index] != clipped[..., index])

    strongest = stored.mean(axis=(1, 2)).argmax()
    assert found["shown"]["interval"] == str(windows[strongest].target)
    assert list(found["shown"]["values"]) == ["dense", "cds_plus", "cds_minus"]
    for track, values in found["shown"]["values"].items():
        np.testing.assert_allclose(values, stored[strongest, :, TRACKS.index(track)], rtol=1e-3)


def test_reasons_of_the_fixture_are_there(run):
    splits = run.found["organisms"]["tiny"]["splits"]
    assert splits["train"]["dropped"].keys() == {"gap", "max_n_fraction"}
    assert 0 < splits["train"]["tracks"]["dense"]["clip_rate"] < 0.1


def test_odd_tracks_are_marked_and_logged(run):
    marks = {
        split: {track: figures["marks"] for track, figures in content["tracks"].items() if figures["marks"]}
        for split, content in run.found["organisms"]["tiny"]["splits"].items()
    }
    assert marks["train"] == {"holes": ["clipped"]}
    assert marks["valid"] == {
        "holes": ["missing"],
        "cds_plus": ["all_zero"],
        "cds_minus": ["all_zero"],
    }
    assert marks["test"] == {"holes": ["clipped"], "cds_minus": ["all_zero"]}
    assert run.warnings == run.found["warnings"]
    assert "tiny, split valid: 2 of 4 tracks are 0 in every bin: cds_plus, cds_minus" in run.warnings


def test_picture_has_a_panel_for_each_drawn_track(run):
    assert run.found["organisms"]["tiny"]["drawn"] == ["dense", "cds_plus", "cds_minus"]
    assert (run.folder / "report.png").read_bytes().startswith(b"\x89PNG")
    picture = plt.imread(run.folder / "report.png")
    assert picture.shape[:2] == (3 * 170, 1400)
    # The line that ends a panel's last window runs from its foot to its top: as many pieces as panels.
    dark = (picture[..., :3] < 0.2).all(axis=2)
    spine = dark[:, dark.sum(axis=0).argmax()]
    lengths = np.diff(np.flatnonzero(np.diff(spine, prepend=False, append=False))).tolist()[::2]
    assert sum(length > 80 for length in lengths) == 3


def test_sums_do_not_depend_on_how_they_are_bundled():
    rng = np.random.default_rng(0)
    values = rng.poisson(1, (9, 5, 30)).astype(np.float16)
    targets = [Target(Interval("c", 10 * n, 10 * n + 10), value) for n, value in enumerate(values)]
    add = AddTargets(most_drawn=2)
    one = add.create_accumulator()
    for target in targets:
        one = add.add_input(one, target)
    two = add.merge_accumulators([add.add_input(add.create_accumulator(), target) for target in targets[::-1]])
    for found in (one, two):
        assert found.windows == 9
        np.testing.assert_array_equal(found.total, values.sum(axis=(0, 1), dtype=float))
        np.testing.assert_array_equal(found.largest, values.max(axis=(0, 1)))
        np.testing.assert_array_equal(found.zeros, (values == 0).sum(axis=(0, 1)))
        assert found.shown.interval == targets[values.mean(axis=(1, 2), dtype=float).argmax()].interval
        # Nothing of all tracks and bins together is kept: at full size it were 19 MB for every split.
        assert found.shown.values.shape == (5, 2)


def tracks(*names):
    return [TrackAccount(i, name, f"CHIP:{name}", "x", i) for i, name in enumerate(names)]


def test_drawn_tracks_are_spread_over_the_table():
    assert drawn_tracks(5313, 3).tolist() == [0, 2656, 5312]
    assert drawn_tracks(2, 8).tolist() == [0, 1]


def test_a_split_that_holds_less_than_was_written_is_a_warning():
    account = Account(None, tracks("a"), 4, 16, {"train": SplitAccount(2, {}, [0], [0])})
    report = make_report({}, {"x": account}, 8)
    assert report["warnings"] == ["x, split train: 0 examples found, 2 were written"]


def test_picture_of_two_organisms_one_of_them_without_examples():
    add = AddTargets(most_drawn=8)
    found = add.add_input(
        add.create_accumulator(), Target(Interval("c", 0, 64), np.eye(4, 2, dtype=np.float16))
    )
    accounts = {
        "x": Account("hg38", tracks("a", "b"), 4, 16, {"train": SplitAccount(1, {}, [0, 0], [0, 0])}),
        "y": Account(None, tracks("a"), 4, 16, {"train": SplitAccount(1, {}, [0], [0])}),
    }
    report = make_report({("x", "train"): found}, accounts, 8)
    assert report["organisms"]["y"]["splits"]["train"]["tracks"] == {}
    picture = plt.imread(io.BytesIO(draw_report(report)))
    assert picture.shape[:2] == (3 * 170, 1400)


def test_what_the_build_does_not_know_is_not_called_zero(monkeypatch):
    add = AddTargets(most_drawn=8)
    found = add.add_input(
        add.create_accumulator(), Target(Interval("c", 0, 64), np.eye(4, 1, dtype=np.float16))
    )
    report = make_report(
        {("x", "train"): found},
        {"x": Account(None, tracks("a"), 4, 16, {"train": SplitAccount(1, {}, None, None)})},
        8,
    )
    figures = report["organisms"]["x"]["splits"]["train"]["tracks"]["a"]
    assert figures == {
        "mean": 0.25,
        "max": 1.0,
        "zero_fraction": 0.75,
        "nan_fraction": None,
        "clip_rate": None,
        "marks": [],
    }
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda self, x, y, s, **style: texts.append(s) or text(self, x, y, s, **style)
    )
    assert draw_report(report).startswith(b"\x89PNG")
    assert texts == ["mean 0.25  max 1  zero 75.0%  no value not known  clipped not known"]


def test_accounts_are_read_as_they_were_written(tmp_path):
    accounts = {
        "x": Account("hg38", tracks("a", "b"), 4, 16, {"train": SplitAccount(2, {"gap": 1}, [0, 3], [1, 0])})
    }
    write_accounts(str(tmp_path), accounts)
    assert read_accounts(str(tmp_path)) == accounts
    assert [file.name for file in tmp_path.iterdir()] == ["build.json"]
    with pytest.raises(FileNotFoundError, match="another ExampleGen wrote these examples"):
        read_accounts(str(tmp_path / "other"))
