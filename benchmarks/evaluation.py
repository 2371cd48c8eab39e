"""Memory of an evaluation at Enformer's size: TFX's Evaluator on synthetic examples of 896 bins x 5,313 tracks.

    .venv/bin/python benchmarks/evaluation.py [--examples N] [--regions N] [--bins N] [--batching beam]

The two models cost next to nothing, so that what is measured is the evaluation. With a few bins, many examples
show in minutes what piles up with their number, which does not depend on the bins.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tfx.components.evaluator import executor  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402
from tfx.utils import proto_utils  # noqa: E402

from components.evaluator.eval_config import BEAM_ARGUMENTS, Head, make_eval_config  # noqa: E402
from components.evaluator.figures import load_verdict  # noqa: E402
from components.evaluator.regions import RegionFile  # noqa: E402
from components.examples.example import make_example  # noqa: E402
from enformer_keras.datasets.windows import Window  # noqa: E402
from enformer_keras.formats.intervals import Interval  # noqa: E402

WINDOW, TRACKS, CONTIGS = 196_608, 5_313, 24


class Model(tf.Module):
    """Answers every example with the same signal, scaled by the share of G in its sequence."""

    def __init__(self, seed: int, bins: int) -> None:
        super().__init__()
        signal = np.random.default_rng(seed).gamma(2, 1, (bins, TRACKS)).astype(np.float32)
        self.signal = tf.Variable(signal)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers serialized examples [batch] with `human`, float32 [batch, bins, 5313]."""
        features = tf.io.parse_example(examples, {"sequence": tf.io.FixedLenFeature([], tf.string)})
        is_g = tf.equal(tf.io.decode_raw(features["sequence"], tf.uint8), ord("G"))
        return {"human": tf.reduce_mean(tf.cast(is_g, tf.float32), axis=1)[:, None, None] * self.signal}


def write_examples(folder: Path, count: int, bins: int) -> Path:
    """Writes `count` examples, dealt to the contigs, as the split `test`; returns its file."""
    rng = np.random.default_rng(0)
    file = folder / "Split-test" / "data_tfrecord-00000-of-00001.gz"
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file), options="GZIP") as out:
        for index in range(count):
            start = index // CONTIGS * WINDOW
            interval = Interval(f"chr{index % CONTIGS + 1}", start, start + WINDOW)
            g = rng.uniform(0.1, 0.4)
            example = make_example(
                organism="human",
                window=Window(interval, interval.resize(bins * 128), "test"),
                sequence=bytes(rng.choice(list(b"ACGT"), WINDOW, p=[0.3, 0.3, g, 0.4 - g])),
                flank_length=0,
                target=rng.gamma(2, 1, (bins, TRACKS)).astype(np.float16),
            )
            out.write(example.SerializeToString())
    return file


def write_models(
    folder: Path, record: tf.Tensor, bins: int
) -> tuple[dict[str, standard_artifacts.Model], list[tf.Module]]:
    """Saves candidate and baseline; returns their artifacts, and the two loaded and asked once."""
    artifacts, loaded = {}, []
    for seed, name in enumerate(("model", "baseline_model")):
        path = str(folder / name / "Format-Serving")
        model = Model(seed, bins)
        tf.saved_model.save(model, path, signatures={"serving_default": model.serve})
        artifacts[name] = standard_artifacts.Model()
        artifacts[name].uri = str(folder / name)
        loaded.append(tf.saved_model.load(path))
        loaded[-1].signatures["serving_default"](examples=record[None])
    return artifacts, loaded


def memory(field: str) -> float:
    """Returns a field of this process's status in MiB: `VmRSS` is now, `VmHWM` the highest since the reset."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[field].split()[0]) / 1024


def write_regions(folder: Path, count: int, each: int, bins: int) -> RegionFile | None:
    """Writes a BED file with so many regions, side by side, in every example's target."""
    if not each:
        return None
    width = bins * 128 // each
    starts = [index // CONTIGS * WINDOW + (WINDOW - bins * 128) // 2 for index in range(count)]
    lines = [
        f"chr{index % CONTIGS + 1}\t{start + number * width}\t{start + (number + 1) * width}\n"
        for index, start in enumerate(starts)
        for number in range(each)
    ]
    (folder / "regions.bed").write_text("".join(lines))
    return RegionFile.open(folder / "regions.bed", {})


def evaluate(folder: Path, count: int, regions: int, bins: int, beam_arguments: tuple[str, ...]) -> None:
    """Runs the Evaluator and prints the peak above the process with both models loaded."""
    file = write_examples(folder / "examples", count, bins)
    (record,) = tf.data.TFRecordDataset([str(file)], "GZIP").take(1)
    models, _loaded = write_models(folder, record, bins)
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder / "examples"), json.dumps(["test"])
    evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
    names = [f"track_{index}" for index in range(TRACKS)]
    assays = [f"{'CAGE' if index % 4 == 0 else 'CHIP'}:{name}" for index, name in enumerate(names)]
    config = make_eval_config(
        [Head("human", names, assays, write_regions(folder, count, regions, bins))],
        {"log1p_pearson_r": -1.0},
        2.0,
        change_metric="log1p_pearson_r",
    )
    context = executor.Executor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", *beam_arguments], tmp_dir=str(folder / "tmp"), unique_id="1"
    )

    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    start = time.time()
    executor.Executor(context).Do(
        {"examples": [examples]} | {name: [model] for name, model in models.items()},
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "eval_config": proto_utils.proto_to_json(config),
            "example_splits": json.dumps(["test"]),
            "fairness_indicator_thresholds": "null",
        },
    )
    seconds, peak = time.time() - start, memory("VmHWM")
    print(*load_verdict(evaluation.uri).checks, sep="\n")
    print(
        f"{count} examples of {bins} bins and {regions} regions, {seconds:.0f} s, {before:.0f} MiB with both "
        f"models, peak {peak:.0f} MiB: {peak - before:.0f} MiB above them"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--regions", type=int, default=0, help="in the target of each example")
    parser.add_argument("--bins", type=int, default=896, help="of a target")
    parser.add_argument("--batching", choices=("bytes", "beam"), default="bytes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        beam_arguments = BEAM_ARGUMENTS if given.batching == "bytes" else ()
        evaluate(Path(name), given.examples, given.regions, given.bins, beam_arguments)
