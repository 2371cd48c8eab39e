"""Windows that the masks of a description leave, against sets of bp."""

import numpy as np
import pytest

from enformer_keras.datasets.dataset import load_dataset, load_description
from enformer_keras.datasets.planning import plan_windows
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from tests.datasets.test_tracks import make_track, summarize
from tests.datasets.tiny_genome import CONTIGS


def write_bed(tiny, name, lines):
    (tiny.path.parent / name).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))


def bps(lines):
    return {("c1" if line[0] == "one" else line[0], bp) for line in lines for bp in range(line[1], line[2])}


def bps_of(interval, extended=0):
    return {(interval.chrom, bp) for bp in range(interval.start - extended, interval.end + extended)}


def key(window):
    return (window.split, window.interval.chrom, window.interval.start)


MASKS = {
    "regions": [("one", 0, 900), ("one", 900, 1500), ("one", 1700, 3000), ("c2", 10, 1500), ("other", 0, 9)],
    "gaps": [("one", 400, 420), ("c2", 300, 301)],
    "blacklist": [("one", 1000, 1001), ("one", 1000, 1020), ("one", 2990, 3000)],
    "unmappable": [("one", 100, 150), ("one", 120, 130), ("one", 2400, 2420), ("c2", 1000, 1400)],
}


def test_every_dropped_window_has_its_reason(tiny, caplog):
    caplog.set_level("INFO")
    everything = {key(w): w for w in load_dataset(tiny.path).plan().windows}
    for name, lines in MASKS.items():
        write_bed(tiny, f"{name}.bed", lines)
    tiny.edit(
        **{name: f"{name}.bed" for name in MASKS},
        min_gap_length=100,  # c2 has 100 N from 700 to 800
        min_gap_distance=7,
        max_unmappable_fraction=0.25,
    )
    plan = load_dataset(tiny.path).plan()
    covered = {name: bps(lines) for name, lines in MASKS.items()}
    covered["gaps"] |= {("c2", bp) for bp in range(700, 800)}
    expected, dropped = [], {split: {} for split in ("train", "valid", "test")}
    for window in everything.values():
        target = bps_of(window.target)
        if target - covered["regions"]:
            reason = "outside_regions"
        elif bps_of(window.interval, 7) & covered["gaps"]:
            reason = "gap"
        elif target & covered["blacklist"]:
            reason = "blacklist"
        elif len(target & covered["unmappable"]) > 0.25 * 64:
            reason = "unmappable"
        else:
            expected.append(window)
            continue
        dropped[window.split][reason] = dropped[window.split].get(reason, 0) + 1
    assert plan.windows == expected
    assert plan.dropped == dropped
    assert set(dropped["train"]) == {"outside_regions", "gap", "blacklist", "unmappable"}
    assert f"dropped: {dropped['test']}" in caplog.text


@pytest.mark.parametrize(("min_gap_length", "are_gaps"), [(100, True), (101, False)])
def test_runs_of_n_are_gaps_from_a_length_on(tiny, monkeypatch, min_gap_length, are_gaps):
    monkeypatch.setattr("enformer_keras.formats.fasta._CHUNK_BP", 64)  # the run crosses chunks
    genome = load_dataset(tiny.path).open_genome()
    assert genome.runs_of_n("c2", min_gap_length).T.tolist() == [[700, 800]] * are_gaps
    assert genome.runs_of_n("c1", 1).shape == (2, 0)


def test_snap_rounds_every_start_up(tiny):
    tiny.edit(snap=16)
    windows = load_dataset(tiny.path).plan().windows
    assert all(window.interval.start % 16 == 0 for window in windows)
    # c1's test block begins at 2400, its first window may at 2403.
    first = min(w.interval.start for w in windows if (w.split, w.interval.chrom) == ("test", "c1"))
    assert first == 2416


def test_blacklisted_bins_are_limited_to_a_quantile_of_the_target(tiny):
    write_bed(tiny, "blacklist.bed", [("one", 115, 129), ("c2", 0, 9)])
    tiny.edit(blacklist="blacklist.bed", blacklist_rule="clip", blacklist_quantile=0.3)
    dataset = load_dataset(tiny.path)
    interval = Interval("c1", 96, 96 + 8 * 16)
    found, _ = dataset.open_tracks().read(interval, {0: 0.5})
    bins = 0.5 * tiny.dense["c1"][96:224].astype(float).reshape(8, 16).mean(axis=1)
    bins[1:3] = np.minimum(bins[1:3], np.quantile(bins, 0.3))  # 112-128 and 128-144 overlap it
    np.testing.assert_array_equal(found[:, 0], bins.astype(np.float16))
    assert len(dataset.plan().windows) == len(
        plan_windows(load_description(tiny.path).model_copy(update={"blacklist": None}), CONTIGS)
    )


def test_blacklist_comes_before_the_clips_and_limits_both_signs():
    values = np.array([1.0, -50.0, 50.0, 10.0, 30.0])
    listed = np.array([False, True, True, False, False])
    found = summarize(values, make_track(sum_stat="sum", clip=12), 1.0, 1, listed, 0.75)
    np.testing.assert_allclose(found, [1, -12, 12, 10, 12])
    found = summarize(values, make_track(sum_stat="sum"), 1.0, 1, listed, 0.5)
    np.testing.assert_allclose(found, [1, -10, 10, 10, 30])


def test_windows_of_a_homology_group_stay_in_one_split(tiny):
    groups = [
        ("one", 500, 560, "a"), ("one", 530, 600, "a"), ("one", 2000, 2010, "a"),  # train, train, valid
        ("one", 1900, 1910, "b"), ("one", 2450, 2650, "b"), ("c2", 1250, 1260, "b"),  # valid, test, test
        ("c2", 100, 110, "c"),  # train alone
    ]  # fmt: skip
    groups.sort()
    everything = load_dataset(tiny.path).plan().windows
    write_bed(tiny, "groups.bed", groups)
    tiny.edit(homology_groups="groups.bed")
    plan = load_dataset(tiny.path).plan()
    touched = {
        name: [w for w in everything if bps_of(w.interval, 3) & bps([g for g in groups if g[3] == name])]
        for name in "abc"
    }
    owner = {}
    for name, windows in touched.items():
        splits = [window.split for window in windows]
        owner[name] = max(("train", "valid", "test"), key=splits.count)
    assert owner == {"a": "train", "b": "test", "c": "train"}
    foreign = {key(w) for name, windows in touched.items() for w in windows if w.split != owner[name]}
    assert plan.windows == [w for w in everything if key(w) not in foreign]
    assert {split: reasons.get("homology", 0) for split, reasons in plan.dropped.items()} == {
        "train": 0,
        "valid": len(foreign),
        "test": 0,
    }
    assert foreign


def test_a_split_that_loses_every_window_says_why(tiny):
    write_bed(tiny, "blacklist.bed", [("one", 2400, 3000), ("c2", 1200, 1500)])
    tiny.edit(blacklist="blacklist.bed")
    with pytest.raises(DatasetError, match=r"split test: all \d+ windows are dropped \(\{'blacklist': \d+\}\)"):
        load_dataset(tiny.path).plan()


def test_masks_cannot_be_forgotten(tiny):
    write_bed(tiny, "gaps.bed", [("one", 1, 2)])
    tiny.edit(gaps="gaps.bed")
    with pytest.raises(ValueError, match="use Dataset"):
        plan_windows(load_description(tiny.path), CONTIGS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"snap": 48}, ["stride 32 of split train is not a multiple of snap 48"]),
        ({"min_gap_distance": 5}, ["min_gap_distance needs gaps", "min_gap_length"]),
        ({"unmappable": "x.bed"}, ["unmappable and max_unmappable_fraction together"]),
        ({"max_unmappable_fraction": 0.5}, ["unmappable and max_unmappable_fraction together"]),
        ({"blacklist_rule": "clip"}, ["blacklist_rule needs blacklist"]),
        ({"blacklist": "x.bed", "blacklist_quantile": 0.5}, ["blacklist_quantile has no meaning"]),
        ({"gaps": "none.bed", "regions": "no.bed"}, ["none.bed", "cannot be read", "no.bed"]),
    ],
)
def test_rules_that_cannot_work(tiny, fields, words):
    tiny.edit(**fields)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("field", [*MASKS, "homology_groups"])
@pytest.mark.parametrize(
    "splits", [{"contigs": {"train": ["c1"]}}, {"bed": {"file": "s.bed", "names": ["train"]}}]
)
def test_a_mask_of_other_names_is_refused(tiny, field, splits):
    """It names a contig that is not in use, so that not all of its names are unknown."""
    write_bed(tiny, "s.bed", [("one", 0, 3000, "train")])
    write_bed(tiny, "mask.bed", [("C1", 0, 3000, "a"), ("c2", 0, 9, "a")])
    fraction = {"max_unmappable_fraction": 0.5} if field == "unmappable" else {}
    tiny.edit(splits=splits, stride=32, **{field: "mask.bed"}, **fraction)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tiny.path)
    assert caught.value.problems == (
        f"{tiny.path.parent / 'mask.bed'}: no line lies on a used contig (c1); it names C1, c2: name them in "
        'contig_aliases: {"c1": ["C1"]} or give another file',
    )


def test_mask_files_are_in_the_fingerprint(tiny):
    write_bed(tiny, "gaps.bed", [("one", 1, 2)])
    tiny.edit(gaps="gaps.bed")
    before = load_dataset(tiny.path).fingerprint()
    write_bed(tiny, "gaps.bed", [("one", 1, 3)])
    assert load_dataset(tiny.path).fingerprint() != before
