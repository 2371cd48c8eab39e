"""The audit on files of examples, through TFX's own runner."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from components.examples.account import Account, TrackAccount, write_accounts
from components.genome_example_gen.executor import make_example
from components.leak_audit.component import LeakAudit
from components.leak_audit.places import Range, find_flat_tracks, join_ranges
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval


def write_split(folder, split, places):
    folder = folder / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for organism, chrom, start in places:
            interval = Interval(chrom, start, start + 100)
            example = make_example(
                organism=organism,
                window=Window(interval, interval.resize(40), split),
                sequence=b"A" * 106,
                flank_length=3,
                target=np.zeros((4, 1), np.float16),
            )
            writer.write(example.SerializeToString())


def audit(folder, **parameters):
    examples = tfx.dsl.Importer(
        str(folder / "examples"),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "test"]'},
    ).with_id("examples")
    leak_audit = LeakAudit(
        examples=examples.outputs["result"], target_width=40, **({"max_shift": 3} | parameters)
    )
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="audit",
            pipeline_root=str(folder / "root"),
            components=[examples, leak_audit],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(folder / "metadata.sqlite")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )
    (file,) = folder.glob("root/LeakAudit/report/*/leaks.json")
    return {(pair["reader"], pair["owner"]): pair for pair in json.loads(file.read_text())["pairs"]}


@pytest.fixture
def examples(tmp_path):
    """A training input that ends, with its flank of 3, where the first test target begins."""
    write_split(tmp_path / "examples", "train", [("x", "chr1", 0), ("y", "chr1", 50)])
    write_split(tmp_path / "examples", "test", [("x", "chr1", 103 - 30), ("x", "chr2", 0)])
    # As file managers leave them, in every folder that they show.
    for name in (".DS_Store", "Thumbs.db", "._data_tfrecord-00000-of-00001.gz"):
        (tmp_path / "examples" / "Split-test" / name).write_bytes(b"\0\0\0\1Bud1" + bytes(100))
    return tmp_path


def test_splits_apart_pass_and_the_counts_are_written(examples):
    pairs = audit(examples)
    assert {pair: found["inputs"] for pair, found in pairs.items()} == {
        ("train", "test"): 0,
        ("test", "train"): 0,
    }


def test_one_bp_more_of_shift_fails_the_pipeline_above_the_tolerance(examples):
    with pytest.raises(
        ValueError,
        match=r"split train: 1 of 2 inputs overlap targets of split test, 0 are tolerated; first: "
        r"input chr1:-4-104 overlaps target chr1:103-143",
    ):
        audit(examples, max_shift=4)
    assert audit(examples, max_shift=4, tolerance=1)["train", "test"]["inputs"] == 1


def test_tracks_that_cannot_be_judged_are_named_before_training(tmp_path):
    track = TrackAccount(0, "rare", "CHIP", "x", 0)
    account = Account(None, [track], 4, 10, {})
    ranges = [Range(np.zeros(1), np.zeros(1)), Range(np.zeros(1), np.ones(1))]
    accounts = {"x": account, "y": account}
    assert find_flat_tracks({"x": ranges[0], "y": join_ranges(ranges)}, accounts) == {"x": ["rare"]}
    write_split(tmp_path / "examples", "train", [("x", "chr1", 0)])
    write_split(tmp_path / "examples", "test", [("x", "chr1", 200), ("x", "chr2", 0)])
    write_accounts(str(tmp_path / "examples"), {"x": account})
    with pytest.raises(
        ValueError, match=r"x: of split test every bin is the same in track rare: .* no model could be pushed"
    ):
        audit(tmp_path, judged_split="test")


def test_a_split_without_examples_is_no_clean_split(tmp_path):
    write_split(tmp_path / "examples", "train", [("x", "chr1", 0)])
    write_split(tmp_path / "examples", "test", [])
    with pytest.raises(ValueError, match="split test holds no example"):
        audit(tmp_path)
