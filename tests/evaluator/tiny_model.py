"""A SavedModel of a few numbers with the endpoints of the real one, and examples for it."""

import json
import pathlib

import numpy as np

WINDOW = 64
FLANK = 4
BIN = 8
TARGET_LENGTH = 6  # WINDOW / BIN, less one bin cropped from each end
TRACKS = ("chip_1", "chip_2")
HEAD = "ecoli"
SERVING = "Format-Serving"  # where TFX looks for a SavedModel inside a Model artifact
# Weights [4, tracks] of A, C, G, T: what the targets below are made of.
TRUTH = np.array([[0.0, 2.0], [3.0, 0.0], [3.0, -1.0], [0.0, 1.0]], np.float32)
# Correlated with the truth, but less so.
WEAKER = np.array([[0.0, 2.0], [3.0, 2.5], [0.0, -1.0], [0.0, 0.0]], np.float32)


def write_saved_model(path, weights):
    """Saves a model as a Model artifact holds it: softplus of each bin's mean one-hot times `weights`."""
    import keras
    import tensorflow as tf

    inputs = keras.Input((WINDOW, 4))
    x = keras.layers.AveragePooling1D(BIN)(inputs)
    x = keras.layers.Cropping1D(1)(x)
    dense = keras.layers.Dense(weights.shape[1], activation="softplus", dtype="float32", name=HEAD)
    model = keras.Model(inputs, {HEAD: dense(x)})
    dense.set_weights([weights, np.zeros(weights.shape[1], np.float32)])

    rows = np.zeros((256, 4), np.float32)
    rows[list(b"ACGT")] = np.eye(4)

    def one_hot(sequences):
        codes = tf.io.decode_raw(sequences, tf.uint8, fixed_length=WINDOW)
        return tf.gather(tf.constant(rows), tf.cast(codes, tf.int32))

    def parse(examples):
        features = {key: tf.io.FixedLenFeature([], tf.string) for key in ("sequence", "target")}
        parsed = tf.io.parse_example(examples, features)
        sequence = one_hot(tf.strings.substr(parsed["sequence"], FLANK, WINDOW))
        target = tf.io.decode_raw(parsed["target"], tf.float16)
        target = tf.reshape(target, [-1, TARGET_LENGTH, len(TRACKS)])
        return {"sequence": sequence, "target": tf.cast(target, tf.float32)}

    strings = [tf.TensorSpec([None], tf.string, name="examples")]
    endpoints = {
        "serving_default": (lambda examples: model(parse(examples)["sequence"]), strings),
        "transform_features": (parse, strings),
        "predict_sequences": (
            lambda sequences: model(one_hot(sequences)),
            [tf.TensorSpec([None], tf.string, name="sequences")],
        ),
        "predict_on_batch": (model, [tf.TensorSpec([None, WINDOW, 4], tf.float32, name="one_hot")]),
    }
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, signature) in endpoints.items():
        archive.add_endpoint(name, function, signature)
    archive.write_out(f"{path}/{SERVING}", verbose=False)
    return str(path)


def write_examples(folder, count=24):
    """Writes `count` examples as an Examples artifact lays them out: two shards of the split `test`."""
    import tensorflow as tf

    rng = np.random.default_rng(11)
    split = pathlib.Path(folder) / "Split-test"
    split.mkdir(parents=True)
    shards = [
        tf.io.TFRecordWriter(str(split / f"data_tfrecord-0000{i}-of-00002.gz"), options="GZIP") for i in (0, 1)
    ]
    for i in range(count):
        content = rng.dirichlet(np.ones(4), size=(WINDOW + 2 * FLANK) // BIN).repeat(BIN, axis=0)
        sequence = bytes(rng.choice(list(b"ACGT"), p=p) for p in content)
        window = np.frombuffer(sequence[FLANK : FLANK + WINDOW], np.uint8)
        one_hot = (window[:, None] == np.frombuffer(b"ACGT", np.uint8)).astype(float)
        signal = np.log1p(np.exp(one_hot.reshape(-1, BIN, 4).mean(1) @ TRUTH))[1:-1]
        target = np.maximum(0, signal + rng.normal(0, 0.3, signal.shape)).astype("<f2")
        target[-1, -1] = 0  # coverage ends in zeros, and bytes of zero are easily lost
        features = {
            "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[sequence])),
            "target": tf.train.Feature(bytes_list=tf.train.BytesList(value=[target.tobytes()])),
            "organism": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ecoli"])),
            "chrom": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"chr1" if i % 3 else b"chr2"])),
            "start": tf.train.Feature(int64_list=tf.train.Int64List(value=[i * WINDOW])),
            "end": tf.train.Feature(int64_list=tf.train.Int64List(value=[(i + 1) * WINDOW])),
            "gc_fraction": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        shards[i % 2].write(example.SerializeToString())
    for shard in shards:
        shard.close()
    return str(folder)


SPLIT_NAMES = json.dumps(["test"])
