"""The pipeline on a Basenji folder, to the pushed model."""

import dataclasses
import json

import numpy as np
import pytest
import yaml
from tfx import v1 as tfx

from components.evaluator.regions import RegionFile
from components.pusher.push import list_versions
from components.trainer.training import MODEL_CARD, Training
from components.variant_scorer.files import VariantFile
from enformer_keras.genome import BasenjiFolder, BasenjiRecord, DatasetError, Interval, Window, write_basenji
from pipeline import environment, report, run_pictures, split_signal
from pipeline.baseline import kmer_features
from pipeline.configs import Settings
from pipeline.data import check_regions, check_variants, describe_data, fingerprint_data
from pipeline.pipeline import create_pipeline

LENGTH, STORED, WINDOW, TARGET = 20_000, 768, 1024, 512
WINDOWS = {"train": range(1_000, 10_000, 512), "valid": range(12_000, 14_000, 512), "test": (15_000, 17_000)}
TARGETS = [
    {"index": 5313, "identifier": "dnase", "description": "DNASE:liver"},
    {"index": 5314, "identifier": "cage_plus", "strand_pair": 5315},
    {"index": 5315, "identifier": "cage_minus", "strand_pair": 5314},
]

TINY_MODEL = {
    "channels": 24,
    "num_transformer_layers": 1,
    "num_heads": 2,
    "key_size": 4,
    "filters_divisible_by": 4,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder of windows that are shorter than the model's, beside its genome."""
    folder = tmp_path_factory.mktemp("basenji")
    rng = np.random.default_rng(0)
    bases = "".join(rng.choice(list("ACGT"), LENGTH))
    (folder / "genome.fa").write_text(f">chr1\n{bases}\n")

    def record(split, start):
        stored = Interval("chr1", start, start + STORED)
        target = rng.gamma(2, 3, (TARGET // 128, len(TARGETS)))
        return BasenjiRecord(
            Window(stored, stored.resize(TARGET), split), bases[start : start + STORED].encode(), target
        )

    records = [record(split, start) for split, starts in WINDOWS.items() for start in starts]
    write_basenji(folder / "mouse", records, TARGETS)
    path = folder / "basenji.yaml"
    organisms = {"mouse": {"folder": "mouse", "fasta": "genome.fa"}}
    path.write_text(yaml.safe_dump({"organisms": organisms, "window_length": WINDOW}))
    return path


@pytest.fixture
def settings(dataset, tmp_path):
    return Settings(
        name="enformer-mouse",
        dataset=dataset,
        run=tmp_path,
        model=TINY_MODEL,
        training=Training(steps=2, epochs=1, batch_size=2, learning_rate=1e-3, warm_up_steps=0),
        thresholds={"log1p_pearson_r": -1.0},
    )


def test_what_settings_take_from_the_folder(settings):
    description = settings.description
    decided = {"heads": {"mouse": 3}, "sequence_length": WINDOW, "target_length": 4}
    assert settings.model_arguments == TINY_MODEL | decided
    assert (description.kind, description.bin_size, description.flank_length) == ("basenji", 128, 3)
    # From 0, as the columns of the targets are counted.
    (mouse,) = description.organisms
    assert [(track.index, track.strand_pair) for track in mouse.tracks] == [(0, 0), (1, 2), (2, 1)]


def test_the_environment_names_a_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "show_progress", lambda: None)  # it takes pytest's handlers away
    monkeypatch.setenv("ENFORMER_DATASET", str(dataset))
    monkeypatch.setenv("ENFORMER_RUN", str(tmp_path))
    pipeline = environment.pipeline_from_environment()
    assert pipeline.pipeline_info.pipeline_name == "enformer-mouse"
    assert "BasenjiExampleGen" in {node.id for node in pipeline.components}


@pytest.mark.parametrize("window_length", [1000, 384, 1152])
def test_a_window_that_does_not_hold_the_targets_is_refused_before_all_else(dataset, window_length):
    path = dataset.with_name("other.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(dataset.read_text()) | {"window_length": window_length}))
    with pytest.raises(DatasetError, match=f"window_length {window_length} does not hold the targets of mouse"):
        describe_data(path)


def test_regions_are_held_against_the_rows_of_the_folder(dataset, tmp_path):
    bed = tmp_path / "regions.bed"
    bed.write_text("chr1\t17638\t17641\n")  # its middle is the last bp of a target
    check_regions(dataset, {"mouse": RegionFile.open(bed, {})}, "test")
    with pytest.raises(
        DatasetError, match="none of its 1 regions has its middle in a target of split valid of mouse"
    ):
        check_regions(dataset, {"mouse": RegionFile.open(bed, {})}, "valid")


def test_variants_are_held_against_the_genome_beside_the_folder(dataset, tmp_path):
    table = tmp_path / "variants.tsv"
    first = dataset.with_name("genome.fa").read_text().split()[1][0]
    table.write_text(f"chrom\tpos\tref\talt\nchr1\t1\t{first}\t{'A' if first != 'A' else 'C'}\n")
    files = {"mouse": VariantFile.open(table)}
    check_variants(dataset, files)
    bare = dataset.with_name("bare.yaml")
    organisms = {"mouse": {"folder": "mouse"}}
    bare.write_text(yaml.safe_dump({"organisms": organisms, "window_length": TARGET}))
    with pytest.raises(
        DatasetError, match=r"bare\.yaml: organisms\.mouse: names no fasta, .* give no variants"
    ):
        check_variants(bare, files)


@pytest.mark.parametrize("window_length", [WINDOW, TARGET])
def test_the_report_reads_the_folder(settings, window_length):
    path = settings.dataset.with_name("windows.yaml")
    path.write_text(
        yaml.safe_dump(yaml.safe_load(settings.dataset.read_text()) | {"window_length": window_length})
    )
    bases = (path.parent / "genome.fa").read_text().split()[1].encode()
    settings = dataclasses.replace(settings, dataset=path)
    splits = split_signal.read_splits(settings, *settings.description.organisms)
    assert {split: len(read.windows) for split, read in splits.items()} == {
        split: len(starts) for split, starts in WINDOWS.items()
    }
    for number, start in enumerate(WINDOWS["test"]):
        begin = start + (STORED - window_length) // 2
        assert splits["test"].sequences[number] == bases[begin : begin + window_length]
        # Windows no longer than their targets show nothing of the bins beside them.
        margin = min((window_length - TARGET) // 2, 128)
        seen = bases[start + 128 - margin : start + 128 + TARGET + margin].center(TARGET + 256, b"N")
        np.testing.assert_array_equal(
            splits["test"].features[4 * number : 4 * number + 4], kmer_features(seen, 128)
        )
    records = BasenjiFolder(path.parent / "mouse").records("test")
    np.testing.assert_array_equal(splits["test"].measured, [record.target for record in records])


def test_neighbours_are_drawn():
    """The strongest window stands alone; the two that are strong together lie side by side on one contig."""
    targets = [("a", 0), ("a", 4), ("a", 8), ("a", 20), ("b", 24), ("b", 28)]
    windows = [Window(Interval(c, s, s + 4), Interval(c, s, s + 4), "test") for c, s in targets]
    signal = np.array([1.0, 2, 1, 9, 3, 0])
    assert run_pictures.strongest_neighbours(windows, signal, 3) == slice(0, 3)
    assert run_pictures.strongest_neighbours(windows, signal, 2) == slice(0, 2)
    assert run_pictures.strongest_neighbours(windows[1:], signal[1:], 2) == slice(0, 2)
    assert run_pictures.strongest_neighbours(windows[2:], signal[2:], 3) == slice(2, 4)
    assert run_pictures.strongest_neighbours(windows, signal, 1) == slice(3, 4)


def test_organisms_whose_targets_differ_cannot_share_a_model(dataset):
    records = [
        BasenjiRecord(Window(stored, stored.resize(256), split), b"A" * STORED, np.ones((2, 1)))
        for number, split in enumerate(WINDOWS)
        for stored in [Interval("chr1", number * STORED, (number + 1) * STORED)]
    ]
    write_basenji(dataset.parent / "rat", records, TARGETS[:1])
    content = yaml.safe_load(dataset.read_text())
    content["organisms"]["rat"] = {"folder": "rat", "fasta": "genome.fa"}
    path = dataset.with_name("both.yaml")
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(DatasetError, match="mouse has 4 bins of 128 bp, rat has 2 bins of 128 bp"):
        describe_data(path)


@pytest.mark.full
def test_the_whole_chain(settings, capsys):
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(settings.metadata))
    pipeline = create_pipeline(settings, fingerprint_data(settings.dataset), metadata)
    tfx.orchestration.LocalDagRunner().run(pipeline)

    (file,) = settings.root.glob("DataReporter/report/*/report.json")
    splits = json.loads(file.read_text())["organisms"]["mouse"]["splits"]
    assert {split: content["windows"] for split, content in splits.items()} == {
        split: len(starts) for split, starts in WINDOWS.items()
    }
    assert splits["train"]["tracks"]["dnase"]["clip_rate"] is None
    (file,) = settings.root.glob("LeakAudit/report/*/leaks.json")
    assert [pair["inputs"] for pair in json.loads(file.read_text())["pairs"]] == [0] * 6
    (pushed,) = list_versions(settings.pushed)
    card = json.loads((pushed / MODEL_CARD).read_text())
    tracks = card["organisms"]["mouse"]["tracks"]
    assert [(track["identifier"], track["strand_pair"]) for track in tracks] == [
        ("dnase", 0),
        ("cage_plus", 2),
        ("cage_minus", 1),
    ]
    assert report.write_report(settings) == 0
    assert "mouse (8 bins)" in capsys.readouterr().out
