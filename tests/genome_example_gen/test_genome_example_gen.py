import hashlib
import logging
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from components.examples import description as description_module
from components.examples.account import read_accounts
from components.examples.records import shard_pattern
from components.genome_example_gen.component import GenomeExampleGen
from components.genome_example_gen.executor import Executor, GenomeToExamples
from enformer_keras.datasets.dataset import load_dataset, load_datasets
from enformer_keras.datasets.window_reader import runs_of
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from tests.datasets.tiny_genome import describe_two_organisms


def decode(record):
    """The twin of make_example, for readers of the format."""
    features = tf.train.Example.FromString(record).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    values = {name: getattr(features[name], kind).value for name, kind in kinds.items()}
    assert all(len(value) == 1 for value in values.values())
    return {name: value[0] for name, value in values.items()}


def build_examples(path, folder, *beam_arguments):
    """Runs the executor with what TFX's launcher hands it; returns the artifact."""
    gen = GenomeExampleGen(path, data_fingerprint="f")
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / "examples")
    executor = Executor(
        BaseExampleGenExecutor.Context(
            beam_pipeline_args=list(beam_arguments or ["--runner=FnApiRunner"]),
            tmp_dir=str(folder / "tmp"),
            unique_id="1",
        )
    )
    executor.Do({}, {"examples": [examples]}, dict(gen.exec_properties))
    return examples


def run_executor(path, folder):
    """Builds examples and reads the splits back."""
    examples = build_examples(path, folder)
    splits = {}
    for split in ("train", "valid", "test"):
        files = fileio.glob(f"{examples.uri}/Split-{split}/*.gz")
        records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP").as_numpy_iterator()
        splits[split] = [decode(record) for record in records]
    return splits, examples


def test_executor_writes_every_planned_window_once(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tiny.path.parent / "gaps.bed").write_text("one\t200\t210\n")
    tiny.edit(max_n_fraction=0.5, gaps="gaps.bed")  # the 100 N of c2 drop some windows
    splits, artifact = run_executor(tiny.path, tmp_path)
    assert artifact.split_names == '["train", "valid", "test"]'
    # What TFX's StatisticsGen reads.
    assert examples_utils.get_split_file_patterns([artifact], "test") == [
        f"{artifact.uri}/Split-test/[A-Za-z]*-of-*.gz"
    ]

    dataset = load_dataset(tiny.path)
    reader = dataset.open_tracks()
    scales = {0: 1 / np.concatenate(list(tiny.dense.values())).mean(dtype=np.float64)}
    expected = {split: {} for split in splits}
    dropped = 0
    plan = dataset.plan()
    for window in plan.windows:
        key = (window.interval.chrom, window.interval.start, window.interval.end)
        bases = tiny.bases[window.interval.chrom][window.interval.start : window.interval.end]
        if bases.count("N") > 64:
            dropped += 1
        else:
            expected[window.split][key] = window
    assert dropped > 0
    # Neighbours on the genome lie together in runs of eight; the runs are in random order.
    firsts = {run[0].interval.start for run in runs_of(plan.windows, dataset) if run[0].target.chrom == "c1"}
    starts = [example["start"] for example in splits["train"] if example["chrom"] == b"c1"]
    starts = [start for start in starts if start in firsts]
    assert len(starts) > 4
    assert starts != sorted(starts)
    for split, examples in splits.items():
        found = {(e["chrom"].decode(), e["start"], e["end"]): e for e in examples}
        assert len(found) == len(examples)
        assert found.keys() == expected[split].keys()
        for key, example in found.items():
            window: Window = expected[split][key]
            padded = "NNN" + tiny.bases[key[0]] + "NNN"
            assert example["sequence"].decode() == padded[key[1] : key[2] + 6]
            bases = padded[key[1] + 3 : key[2] + 3]
            target = np.frombuffer(example["target"], "<f2").reshape(4, 4)
            np.testing.assert_array_equal(target, reader.read(window.target, scales)[0])
            assert example["organism"] == b"tiny"
            acgt = sum(map(bases.count, "ACGT"))
            assert example["gc_fraction"] == pytest.approx((bases.count("G") + bases.count("C")) / acgt)
            assert example["n_fraction"] == pytest.approx(bases.count("N") / 128)
            assert example["mean_signal"] == pytest.approx(target.astype(float).mean(), rel=1e-6)
    reports = [record.getMessage() for record in caplog.records if "windows written" in record.getMessage()]
    assert sum(int(report.split(" windows written, ")[1].split()[0]) for report in reports) == dropped
    train = next(report for report in reports if "split train" in report)
    missing = sum(
        np.isnan(tiny.holes[w.target.chrom][w.target.start : w.target.end]).sum()
        for w in expected["train"].values()
    )
    assert missing > 0
    assert f"{len(splits['train'])} windows written" in train
    assert plan.dropped["train"]["gap"] > 0
    assert f"before that {plan.dropped['train']}" in train
    assert f"counted as 0: {missing} in all tracks, most in holes" in train


def test_two_organisms_with_their_own_genome_and_tracks(tiny, tmp_path):
    other = describe_two_organisms(tiny)
    splits, artifact = run_executor(tiny.path, tmp_path)
    accounts = read_accounts(artifact.uri)
    assert [(name, len(account.tracks)) for name, account in accounts.items()] == [("tiny", 4), ("other", 1)]
    for name, bases in (("tiny", tiny.bases), ("other", other)):
        assert accounts[name].contig_lengths == {contig: len(text) for contig, text in bases.items()}
        text = "".join(f">{contig}\n{bases[contig].upper()}\n" for contig in sorted(bases))
        assert accounts[name].sequence_sha256 == hashlib.sha256(text.encode()).hexdigest()
    mean = np.concatenate(list(tiny.dense.values())).mean(dtype=np.float64)
    dense, *_, cds = accounts["tiny"].tracks
    assert dense.scale == pytest.approx(1 / mean)
    assert (dense.sum_stat, dense.clip, cds.scale) == ("mean", None, 1)
    for split, examples in splits.items():
        for name in accounts:
            files = fileio.glob(shard_pattern(f"{artifact.uri}/Split-{split}", name))
            own = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
            assert {decode(record)["organism"].decode() for record in own} == {name}
        written = {name: account.splits[split].written for name, account in accounts.items()}
        assert written == Counter(example["organism"].decode() for example in examples)
    planned = [w for dataset in load_datasets(tiny.path) for w in dataset.plan().windows]
    found = [
        (split, example["organism"].decode(), example["chrom"].decode(), example["start"])
        for split, examples in splits.items()
        for example in examples
    ]
    assert sorted(found) == sorted((w.split, w.organism, w.interval.chrom, w.interval.start) for w in planned)
    for example in (example for examples in splits.values() for example in examples):
        of_other = example["organism"] == b"other"
        bases = (other if of_other else tiny.bases)[example["chrom"].decode()]
        assert bases[example["start"] : example["end"]] == example["sequence"].decode()[3:-3]
        assert len(example["target"]) == 2 * 4 * (1 if of_other else 4)


def test_split_that_loses_all_windows_fails_the_pipeline(tiny, tmp_path):
    fasta = tiny.path.parent / "genome.fa"
    for seq in (tiny.bases["c1"][2400:], tiny.bases["c2"][1200:]):
        content = fasta.read_bytes()
        text = content.decode()
        for line in (seq[i : i + 60] for i in range(0, len(seq), 60)):
            text = text.replace(line, "N" * 40 + line[40:])
        fasta.write_bytes(text.encode())
    tiny.edit(max_n_fraction=0.5)
    with pytest.raises(Exception, match=r"split test: all \d+ windows have a larger share of N than 0.5"):
        run_executor(tiny.path, tmp_path)


def test_bins_that_float16_cannot_hold_are_found_before_the_build(tiny):
    tiny.edit_row(1, scale="60000")
    with pytest.raises(DatasetError, match=r"holes.bw: track holes: the sum of .* float16 ends at 65504"):
        GenomeToExamples(load_dataset(tiny.path)).expand(None)


def test_component_carries_both_fingerprints_in_what_tfx_hashes(tiny, monkeypatch):
    first = GenomeExampleGen(tiny.path, data_fingerprint="one").exec_properties
    again = GenomeExampleGen(tiny.path, data_fingerprint="one").exec_properties
    other = GenomeExampleGen(tiny.path, data_fingerprint="two").exec_properties
    assert first == again
    assert {key for key in first if first[key] != other[key]} == {"custom_config"}
    monkeypatch.setattr(description_module, "code_fingerprint", lambda *folders: "edited")
    edited = GenomeExampleGen(tiny.path, data_fingerprint="one").exec_properties
    assert {key for key in first if first[key] != edited[key]} == {"custom_config"}
