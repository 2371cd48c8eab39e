import logging
import zlib

import numpy as np
import pytest
import tensorflow as tf
import yaml
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from components.basenji_example_gen.component import BasenjiExampleGen
from components.basenji_example_gen.description import basenji_fingerprint, load_basenji_description
from components.basenji_example_gen.executor import Executor, load_data
from components.examples import description as description_module
from components.examples.account import Account, SplitAccount, TrackAccount, read_accounts
from components.transform.decoding import decode_targets
from components.transform.preprocessing import preprocessing_fn
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from tests.datasets.tiny_basenji import (
    BINS,
    POOL_WIDTH,
    RECORDS,
    SEQ_LENGTH,
    TRACKS,
    build_tiny_basenji,
    write_records,
)

WINDOW, FLANK = 128, 3
# Of tiny_basenji's targets.txt, numbered by their columns.
TRACK_ACCOUNTS = [
    TrackAccount(0, "ENCFF1", "DNASE:5' \"end", "1", 0, 0.1234567891, "mean", clip=32),
    TrackAccount(1, "CNhs1+", "CAGE:liver", "1", 2, 1.0, "sum", clip=384),
    TrackAccount(2, "CNhs1-", "CAGE:liver", "1", 1, 1.0, "sum", clip=384),
]


def describe(folder, **fields):
    """Writes a description of the organisms whose folders lie beside it."""
    names = sorted(path.name for path in folder.iterdir() if (path / "data").is_dir())
    organisms = {name: {"folder": f"{name}/data", "fasta": f"{name}/genome.fa"} for name in names}
    content = {"organisms": organisms, "window_length": WINDOW, "flank_length": FLANK} | fields
    path = folder / "basenji.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def human(tmp_path):
    return build_tiny_basenji(tmp_path / "human")


def run_executor(path, folder):
    """Runs the executor with what TFX's launcher hands it; returns split -> serialized examples."""
    gen = BasenjiExampleGen(path, data_fingerprint="f")
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / "examples")
    context = BaseExampleGenExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    Executor(context).Do({}, {"examples": [examples]}, dict(gen.exec_properties))
    splits = {}
    for split in load_basenji_description(path).splits:
        files = fileio.glob(f"{examples.uri}/Split-{split}/*.gz")
        splits[split] = list(tf.data.TFRecordDataset(sorted(files), "GZIP").as_numpy_iterator())
    return splits


def test_every_record_of_two_organisms_becomes_an_example(human, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    organisms = {"human": human, "mouse": build_tiny_basenji(tmp_path / "mouse", indices=True, seed=1)}
    splits = run_executor(describe(tmp_path), tmp_path)
    # Of what was missing or clipped when the records were made nothing is known.
    built = {split: SplitAccount(count, {}, None, None) for split, count in RECORDS.items()}
    expected = {}
    for name, tiny in organisms.items():
        lengths = {contig: len(bases) for contig, bases in tiny.bases.items()}
        digest = Genome(tiny.fasta).sha256()
        expected[name] = Account(None, TRACK_ACCOUNTS, BINS, POOL_WIDTH, built, lengths, digest)
    assert read_accounts(str(tmp_path / "examples")) == expected
    for split, count in RECORDS.items():
        found = {}
        for serialized in splits[split]:
            features = tf.train.Example.FromString(serialized).features.feature
            key = [features[name].bytes_list.value[0].decode() for name in ("organism", "chrom")]
            found[(*key, features["start"].int64_list.value[0])] = serialized, features
        assert len(splits[split]) == len(found) == 2 * count
        # What Transform makes of them is what the records hold.
        decoded = preprocessing_fn(
            {
                name: tf.constant([features[name].bytes_list.value[0] for _, features in found.values()])
                for name in ("sequence", "target")
            },
            {"flanked_length": WINDOW + 2 * FLANK},
        )
        targets = decode_targets(decoded["target"], BINS, TRACKS)
        at = {key: number for number, key in enumerate(found)}
        for organism, tiny in organisms.items():
            for chrom, start, target in tiny.rows[split]:
                begin = start + (SEQ_LENGTH - WINDOW) // 2
                key = (organism, chrom, begin)
                expected = tiny.expected(chrom, begin - FLANK, begin + WINDOW + FLANK)
                np.testing.assert_array_equal(decoded["sequence"][at[key]], expected)
                np.testing.assert_array_equal(targets[at[key]], target)
                features = found[key][1]
                assert features["end"].int64_list.value[0] == begin + WINDOW
                bases = tiny.letters(chrom, begin, begin + WINDOW)
                assert features["n_fraction"].float_list.value[0] == pytest.approx(bases.count("N") / WINDOW)
    reported = [record.getMessage() for record in caplog.records if "windows written" in record.getMessage()]
    assert len(reported) == 6
    extended = [(c, start - 19, start + SEQ_LENGTH + 19) for c, start, _ in human.rows["train"]]
    beyond = [max(0, -start) + max(0, end - len(human.bases[c])) for c, start, end in extended]
    assert sum(beyond) >= 29 + 15  # the windows at -10 and 600 of c2, 700 bp
    counted = (
        f"12 windows written, {np.count_nonzero(beyond)} of them reach beyond their contig, {sum(beyond)} bp"
    )
    assert f"organism human, split train (from train): {counted} filled with N" in reported


def test_folds_are_gathered_into_splits(tmp_path):
    build_tiny_basenji(tmp_path / "human", split_names=("fold0", "fold1", "fold2"))
    path = describe(tmp_path, splits={"train": ["fold0", "fold2"], "test": ["fold1"]})
    splits = run_executor(path, tmp_path)
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 14, "test": 3}
    built = read_accounts(str(tmp_path / "examples"))["human"].splits
    assert {split: account.written for split, account in built.items()} == {"train": 14, "test": 3}


def test_a_genome_that_disagrees_fails_with_the_number_of_windows(human, tmp_path):
    """The last bp of three of the training windows is stored otherwise: the first file is sound."""
    rows = human.rows["train"]
    for number in (10, 2, 5):
        sound = human.bases[rows[number][0]]
        at = rows[number][1] + SEQ_LENGTH - 1
        changed = sound[:at] + ("A" if sound[at] in "CN" else "C") + sound[at + 1 :]
        human.bases[rows[number][0]] = changed
        write_records(human.file(f"train-{number}.tfr"), [human.record("train", number)])
        human.bases[rows[number][0]] = sound
    chrom, start, _ = rows[2]
    words = rf"train-2.tfr: record 0: .* first at {chrom}:{start + SEQ_LENGTH - 1} .*; 3 of 12 windows of split"
    with pytest.raises(Exception, match=words):
        run_executor(describe(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tiny: tiny.file("train-4.tfr").write_bytes(b""), "train-4.tfr: is empty"),
        (
            lambda tiny: tiny.file("train-4.tfr").write_bytes(zlib.compress(b"")),
            "train hold 11 records, .* has 12 rows",
        ),
        (
            lambda tiny: tiny.file("train-4.tfr").write_bytes(tiny.file("train-4.tfr").read_bytes()[:-30]),
            "train-4.tfr: is cut: its ZLIB stream has no end",
        ),
        (
            lambda tiny: tiny.file("train-4.tfr").write_bytes(tiny.file("train-4.tfr").read_bytes() + b"x"),
            "train-4.tfr: bytes follow the end of its ZLIB stream",
        ),
        (lambda tiny: tiny.file("test-0.tfr").unlink(), "test-0.tfr is missing"),
    ],
)
def test_damaged_data_fails(human, tmp_path, damage, words):
    damage(human)
    with pytest.raises(Exception, match=words):
        run_executor(describe(tmp_path), tmp_path)


def test_leaks_are_reported_or_refused(human, tmp_path, caplog):
    """Random windows of one contig: inputs of one split overlap targets of another."""
    caplog.set_level(logging.WARNING)
    with pytest.raises(DatasetError, match=r"split train: \d+ inputs overlap targets of split valid"):
        run_executor(describe(tmp_path, leaks="refuse"), tmp_path)
    assert "organism human: split train: " in caplog.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"organisms": {}}, ["organisms", "at least 1"]),
        ({"window_length": 0}, ["window_length", "greater than 0"]),
        ({"windows": 3}, ["windows", "unknown field"]),
        ({"splits": {"train": ["a"], "test": ["b", "a"]}}, ["a is in train and again in test"]),
        ({"splits": {}}, ["name at least one split"]),
    ],
)
def test_bad_description_names_field_and_cure(human, tmp_path, fields, words):
    with pytest.raises(DatasetError) as caught:
        BasenjiExampleGen(describe(tmp_path, **fields), data_fingerprint="f")
    assert all(word in str(caught.value) for word in ["basenji.yaml", *words]), caught.value


def test_bad_data_is_refused_before_beam_starts(human, tmp_path):
    (tmp_path / "mouse" / "data").mkdir(parents=True)
    human.edit_statistics(num_targets=4)
    with pytest.raises(DatasetError) as caught:
        run_executor(describe(tmp_path), tmp_path)
    assert len(caught.value.problems) == 2
    human.edit_statistics(num_targets=3)
    human.edit("targets.txt", "CNhs1-", "CNhs1+")
    with pytest.raises(
        DatasetError, match=r"targets.txt: identifier CNhs1\+ is that of 2 tracks; make it unique"
    ):
        run_executor(describe(tmp_path, organisms={"human": {"folder": "human/data"}}), tmp_path)
    human.edit("targets.txt", "5315\t1\tCNhs1+", "5315\t1\tCNhs1-")
    (tmp_path / "mouse" / "data").rmdir()
    with pytest.raises(DatasetError, match="sequence_length 134 is longer than the stored 96"):
        run_executor(describe(tmp_path, organisms={"human": {"folder": "human/data"}}), tmp_path)


def test_fingerprints_follow_the_content(human, tmp_path, monkeypatch):
    path = describe(tmp_path)
    seen = {basenji_fingerprint(path)}
    assert basenji_fingerprint(path) in seen
    human.edit("targets.txt", "liver", "river")
    seen.add(basenji_fingerprint(path))
    human.fasta.write_text(human.fasta.read_text() + "\n")
    seen.add(basenji_fingerprint(path))
    chrom, start, target = human.rows["train"][7]
    human.rows["train"][7] = (chrom, start, target[::-1])
    write_records(human.file("train-7.tfr"), [human.record("train", 7)])
    seen.add(basenji_fingerprint(path))
    assert len(seen) == 4
    first = BasenjiExampleGen(path, data_fingerprint="one").exec_properties
    other = BasenjiExampleGen(path, data_fingerprint="two").exec_properties
    assert {key for key in first if first[key] != other[key]} == {"custom_config"}
    monkeypatch.setattr(description_module, "code_fingerprint", lambda *folders: "edited")
    edited = BasenjiExampleGen(path, data_fingerprint="one").exec_properties
    assert {key for key in first if first[key] != edited[key]} == {"custom_config"}


def test_negative_targets_are_named_before_anything_is_built(human, tmp_path):
    human.rows["valid"][0][2][1, 2] = -0.5
    write_records(human.file("valid-0.tfr"), [human.record("valid", number) for number in (0, 1)])
    with pytest.raises(
        DatasetError, match=r"valid-0\.tfr: record 0: target: bin 1 of track CNhs1- is -0\.5 .*make"
    ):
        load_data(describe(tmp_path))
