"""A tiny model on a real Transform graph, exported as the Trainer does it, and examples that it serves."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from components.examples.account import Account, TrackAccount
from components.examples.records import encode_record, find_records
from components.trainer.serving import ModelCard, export_model
from components.transform.preprocessing import preprocessing_fn
from enformer_keras import Enformer

WINDOW, FLANK, TARGET_LENGTH = 256, 3, 2
HEADS = {"ecoli": 3, "yeast": 2}
STRAND_PAIRS = {"ecoli": [0, 2, 1], "yeast": [0, 1]}
CONFIG = {
    "model": {"heads": HEADS, "sequence_length": WINDOW, "target_length": TARGET_LENGTH},
    "training": {"seed": 7},
    "averaging": {"shifts": [-2, 0, 3], "strands": True},
    "code_version": "0.1.0",
    "code_fingerprint": "c0de",
    "data_fingerprint": "da7a",
}

ACCOUNTS = {
    head: Account(
        assembly=assembly,
        tracks=[
            TrackAccount(i, f"t{i}", "", head, pair, scale=2.0, sum_stat="mean", clip=32.0)
            for i, pair in enumerate(STRAND_PAIRS[head])
        ],
        target_length=TARGET_LENGTH,
        bin_size=128,
        splits={},
        contig_lengths={"chr": 4000} if assembly else None,
        sequence_sha256="5e9" if assembly else None,
    )
    for head, assembly in {"ecoli": "ASM584v2", "yeast": None}.items()
}


def make_model(dtype="float32"):
    model = Enformer(
        channels=24,
        num_transformer_layers=1,
        num_heads=1,
        heads=HEADS,
        sequence_length=WINDOW,
        target_length=TARGET_LENGTH,
        filters_divisible_by=4,
        dtype=dtype,
    )
    # Fresh weights predict nearly the same for every track and sequence.
    for head in HEADS:
        kernel = model.get_layer(f"head_{head}").kernel
        kernel.assign(10 * kernel)
    return model


def transform_graph(folder):
    """What TFX's Transform writes for the project's preprocessing_fn, which it too does without the data."""
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("sequence", "target")}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(features))
    metadata_io.write_metadata(metadata, str(folder / tft.TFTransformOutput.RAW_METADATA_DIR))
    config = {"flanked_length": WINDOW + 2 * FLANK}
    impl_helper.analyze_in_place(
        functools.partial(preprocessing_fn, custom_config=config),
        False,
        features,
        {name: tf.TensorSpec([None], tf.string) for name in features},
        str(folder),
    )
    return tft.TFTransformOutput(str(folder))


def write_examples(file, count=3, head="ecoli"):
    """Writes examples and returns them, serialized."""
    rng = np.random.default_rng(3)
    records = []
    for _ in range(count):
        values = {
            "sequence": bytes(rng.choice(list(b"ACGTNacgt"), WINDOW + 2 * FLANK).astype(np.uint8)),
            "target": rng.gamma(2, 1, (TARGET_LENGTH, HEADS[head])).astype("<f2").tobytes(),
        }
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in values.items()
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    file.write_bytes(b"".join(map(encode_record, records)))
    return records


def write_served(folder, model):
    """Exports a model into `folder`/served, beside its Transform graph and its examples."""
    write_examples(folder / "examples.gz")
    export_model(
        model,
        transform_graph(folder / "transform"),
        str(folder / "served"),
        ModelCard.from_config(CONFIG, ACCOUNTS, "runs/before", 20),
        find_records([str(folder / "examples.gz")]),
    )
    return folder / "served"
