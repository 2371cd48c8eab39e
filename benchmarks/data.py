"""Times the data's way from genome files to the model, beside merely reading the same bytes.

    python benchmarks/data.py build [--turns 3] [--cache FOLDER] [--megabases 100] [--tracks 64]
    python benchmarks/data.py input [--turns 3] [--cache FOLDER]

``build``: from FASTA and bigWig files to examples, with the executor of GenomeExampleGen on Beam's FnApiRunner:
the demo's E. coli (`make data`), and a synthetic genome of 64 bigWig tracks at 196,608 bp. Of the latter also
what lies below: `WindowReader` alone, and pyBigWig's ``values(contig, start, end, numpy=True)`` over the target
of every window and track, once. They take turns, each in a process of its own, whose CPU time counts (that of
Beam's threads and of children included, that of imports not) and whose peak memory is that of its whole life.

``input``: from examples of 196,608 bp, 896 bins and 5,313 tracks to what a training step takes: the Trainer's
own pipeline (random order, decode, one-hot, shift, reverse complement of every other one with strand pairs),
beside TensorFlow's TFRecordDataset and ``parse_example`` on the same file, which leave sequence and target as
strings of bytes.

Synthetic data is made once, in the folder of ``--cache``.
"""

import argparse
import dataclasses
import json
import logging
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    import tensorflow as tf

ECOLI = Path(__file__).resolve().parents[1] / "datasets" / "ecoli" / "dataset.yaml"
CACHE = Path(tempfile.gettempdir()) / "enformer-benchmark-data"
CONTIGS = 10
ENTRIES_AT_ONCE = 1 << 20
# The paper's sizes, for `input`.
WINDOW_LENGTH, FLANK, TARGET_LENGTH, TRACKS = 196_608, 3, 896, 5313
EXAMPLES, EXAMPLES_READ = 16, 96


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a piece of work took in a process of its own.

    Attributes:
        windows: how many it was done for.
        megabytes: read or written; of what, the caller says.
        cpu_seconds: of the process, its threads and its children.
        seconds: by the clock.
        peak_mib: most memory of the process, from its start to its end.
    """

    windows: int
    megabytes: float
    cpu_seconds: float
    seconds: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Windows per second per core."""
        return self.windows / self.cpu_seconds


# What is measured returns windows and bytes.
Work = Callable[[], tuple[int, int]]


def write_track(folder: Path, number: int, contigs: dict[str, int]) -> None:
    """Writes a bigWig like a coverage track: runs of 20 to 50 bp, counts that vary about every 1,000 bp.

    Every second track leaves its zeros out, as many real ones do: about a fifth of its bp have no value.
    """
    import pyBigWig

    rng = np.random.default_rng([0, number])
    file = pyBigWig.open(str(folder / f"track{number}.bw"), "w")
    file.addHeader(list(contigs.items()))
    for contig, length in contigs.items():
        ends = np.cumsum(rng.integers(20, 51, length // 20))
        ends = np.append(ends[: np.searchsorted(ends, length)], length)
        starts = np.append(0, ends[:-1])
        rates = np.exp(rng.normal(0.7, 1, len(starts) // 30 + 1)).repeat(30)[: len(starts)]
        values = rng.poisson(rates).astype(np.float64)
        kept = (values > 0) | (number % 2 == 0)
        starts, ends, values = starts[kept], ends[kept], values[kept]
        for first in range(0, len(starts), ENTRIES_AT_ONCE):
            part = slice(first, first + ENTRIES_AT_ONCE)
            names = np.full(len(starts[part]), contig)
            file.addEntries(names, starts[part], ends=ends[part], values=values[part])
    file.close()


def synthetic_genome(cache: Path, megabases: int, tracks: int) -> Path:
    """Makes the genome, whole or not at all, unless it is there.

    Returns:
        The YAML file of its dataset.
    """
    folder = cache / f"{megabases}-megabases-{tracks}-tracks"
    if folder.is_dir():
        return folder / "dataset.yaml"
    cache.mkdir(parents=True, exist_ok=True)
    contigs = {f"contig{number}": megabases * 1_000_000 // CONTIGS for number in range(CONTIGS)}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=cache) as beside:
        partial = Path(beside) / "genome"
        partial.mkdir()
        with (partial / "genome.fa").open("wb") as fasta:
            for contig, length in contigs.items():
                fasta.write(f">{contig}\n".encode())
                lines = np.full((length // 80, 81), ord("\n"), dtype=np.uint8)
                lines[:, :80] = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (length // 80, 80))]
                fasta.write(lines.tobytes())
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(write_track, [partial] * tracks, range(tracks), [contigs] * tracks))
        shared = {"genome": "synthetic", "clip": 384, "clip_soft": 320, "scale": 0.1, "sum_stat": "sum"}
        names = [f"track{number}" for number in range(tracks)]
        rows = [
            {"index": number, "identifier": name, "file": f"{name}.bw", "description": "", **shared}
            for number, name in enumerate(names)
        ]
        table = "\n".join("\t".join(map(str, cells)) for cells in [rows[0], *(row.values() for row in rows)])
        (partial / "tracks.tsv").write_text(table + "\n")
        *train, valid, test = contigs
        description = {
            "organism": "synthetic",
            "fasta": "genome.fa",
            "tracks": "tracks.tsv",
            "window_length": 196_608,
            "bin_size": 128,
            "target_length": 896,
            "flank_length": 3,
            "stride": 896 * 128,
            "splits": {"contigs": {"train": train, "valid": [valid], "test": [test]}},
        }
        (partial / "dataset.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
        partial.rename(folder)
    return folder / "dataset.yaml"


def reading_with_pybigwig(description: Path) -> Work:
    """Every track over the target of every window, in the order of the genome; bytes of the float32 values."""
    import pyBigWig

    from enformer_keras.genome import load_dataset

    dataset = load_dataset(description)
    windows = dataset.plan().windows
    files = [pyBigWig.open(str(track.file)) for track in dataset.tracks]

    def work() -> tuple[int, int]:
        total = 0
        for window in windows:
            target = window.target
            for file in files:
                total += file.values(target.chrom, target.start, target.end, numpy=True).nbytes
        return len(windows), total

    return work


def reading_windows(description: Path) -> Work:
    """`WindowReader` on every window, without Beam and examples; bytes of sequences and float16 targets."""
    from enformer_keras.datasets.window_reader import WindowReader
    from enformer_keras.genome import load_dataset

    dataset = load_dataset(description)
    windows = dataset.plan().windows
    scales = dataset.mean_scales()
    reader = WindowReader(dataset)

    def work() -> tuple[int, int]:
        total = 0
        for read in reader.read_windows(windows, scales):
            if read is not None:
                total += len(read.sequence) + read.target.nbytes
        return len(windows), total

    return work


def building(description: Path) -> Work:
    """The ExampleGen's executor, from checking the dataset to the last renamed file; bytes of the files."""
    from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
    from tfx.types import standard_artifacts

    from components.examples.account import read_accounts
    from components.genome_example_gen.component import GenomeExampleGen
    from components.genome_example_gen.executor import Executor

    logging.disable(logging.INFO)
    properties = dict(GenomeExampleGen(description, data_fingerprint="none").exec_properties)
    context = BaseExampleGenExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=tempfile.gettempdir(), unique_id="1"
    )
    executor = Executor(context)

    def work() -> tuple[int, int]:
        with tempfile.TemporaryDirectory() as folder:
            examples = standard_artifacts.Examples()
            examples.uri = folder
            executor.Do({}, {"examples": [examples]}, properties)
            (account,) = read_accounts(folder).values()
            written = sum(split.written for split in account.splits.values())
            return written, sum(file.stat().st_size for file in Path(folder).glob("Split-*/*"))

    return work


def _measure(prepare: Callable[[Path], Work], description: Path) -> Cost:
    work = prepare(description)
    cpu_before, start = sum(os.times()[:4]), time.perf_counter()
    windows, count = work()
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu_before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return Cost(windows, count / 1e6, cpu, seconds, peak)


def in_its_own_process(prepare: Callable[[Path], Work], description: Path) -> Cost:
    """Measures work in a new process, which it may leave with threads, memory and files in the cache."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, prepare, description).result()


def compare(tasks: Mapping[str, tuple[Callable[[Path], Work], Path, str]], turns: int) -> dict[str, list[Cost]]:
    """Measures tasks in turns; prints a row for each, with its rate beside that of the first.

    Args:
        tasks: name -> what prepares the work, from which path, and what its bytes are.
        turns: how often each is measured.

    Returns:
        Name -> its costs, turn by turn.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in tasks}
    for _ in range(turns):
        for name, (prepare, path, _) in tasks.items():
            costs[name].append(in_its_own_process(prepare, path))
    first = next(iter(tasks))
    print(f"| | windows | MB | CPU, s | clock, s | windows/s per core | of {first}'s | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (_, path, what) in tasks.items():
        of_first = ""
        if path == tasks[first][1]:
            pairs = zip(costs[name], costs[first], strict=True)
            of_first = f"{statistics.median(cost.rate / other.rate for cost, other in pairs):.0%}"
        cost = min(costs[name], key=lambda cost: cost.cpu_seconds)
        print(
            f"| {name} | {cost.windows} | {cost.megabytes:.0f} ({what}) | {cost.cpu_seconds:.1f} "
            f"| {cost.seconds:.1f} | {statistics.median(c.rate for c in costs[name]):.1f} | {of_first} "
            f"| {max(c.peak_mib for c in costs[name]):.0f} |"
        )
    return costs


def build(arguments: argparse.Namespace) -> dict[str, list[Cost]]:
    """Compares the build with what lies below it."""
    synthetic = synthetic_genome(arguments.cache, arguments.megabases, arguments.tracks)
    tasks = {
        "pyBigWig": (reading_with_pybigwig, synthetic, "float32 values"),
        "WindowReader": (reading_windows, synthetic, "sequences and targets"),
        "build": (building, synthetic, "files written"),
        "build of E. coli": (building, ECOLI, "files written"),
    }
    return compare(tasks, arguments.turns)


def synthetic_examples(cache: Path) -> Path:
    """Writes examples of the paper's size as the ExampleGens do, whole or not at all, unless they are there.

    Returns:
        The folder of their files.
    """
    import apache_beam as beam

    from components.examples.records import WriteRecords

    folder = cache / "examples"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as beside:
        partial = Path(beside) / "examples"
        with beam.Pipeline("FnApiRunner") as pipeline:
            numbers = pipeline | beam.Create(list(range(EXAMPLES)))
            _ = numbers | beam.Map(synthetic_example) | WriteRecords(str(partial), "synthetic")
        partial.rename(folder)
    return folder


def synthetic_example(number: int) -> bytes:
    """Makes an example of the paper's size with noise for a target."""
    from components.examples.example import make_example
    from enformer_keras.datasets.windows import Window
    from enformer_keras.formats.intervals import Interval

    rng = np.random.default_rng([0, number])
    interval = Interval("contig", 0, WINDOW_LENGTH)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, WINDOW_LENGTH + 2 * FLANK)]
    example = make_example(
        organism="synthetic",
        window=Window(interval, interval.resize(TARGET_LENGTH * 128), "train"),
        sequence=bases.tobytes(),
        flank_length=FLANK,
        target=rng.gamma(0.3, 2.0, (TARGET_LENGTH, TRACKS)).astype("float16"),
    )
    return example.SerializeToString()


def _consuming(dataset: "tf.data.Dataset", size: int) -> Work:
    """Takes examples of `size` bytes from a pipeline that is running already."""
    batches = iter(dataset)
    next(batches)

    def work() -> tuple[int, int]:
        for _ in range(EXAMPLES_READ):
            next(batches)
        return EXAMPLES_READ, EXAMPLES_READ * size

    return work


def _specification() -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.io.FixedLenFeature([], tf.string) for name in ("sequence", "target")}


def parsing(folder: Path) -> Work:
    """TensorFlow's own reading and parsing, one example at a time; bytes of sequence and target as stored."""
    import tensorflow as tf

    specification = _specification()

    size = WINDOW_LENGTH + 2 * FLANK + TARGET_LENGTH * TRACKS * 2
    files = sorted(map(str, folder.iterdir()))
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP").repeat().batch(1)
    return _consuming(
        dataset.map(
            lambda serialized: tf.io.parse_example(serialized, specification),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(tf.data.AUTOTUNE),
        size,
    )


def training_input(folder: Path) -> Work:
    """The Trainer's batches of one example; bytes of one-hot sequence and float32 target."""
    import tensorflow as tf

    from components.trainer.input_data import HeadExamples, find_examples, training_batches
    from components.transform.preprocessing import preprocessing_fn

    specification = _specification()
    lengths = {"flanked_length": WINDOW_LENGTH + 2 * FLANK}
    pairs = np.arange(TRACKS)
    # The last 638 in pairs, as many as the paper's CAGE tracks.
    pairs[-638:] = pairs[-638:].reshape(-1, 2)[:, ::-1].ravel()
    places = find_examples([str(folder / "*")], "synthetic", at_least=1)
    batches = training_batches(
        {"synthetic": HeadExamples(places, TARGET_LENGTH, TRACKS, pairs.tolist())},
        lambda examples: preprocessing_fn(tf.io.parse_example(examples, specification), lengths),
        window_length=WINDOW_LENGTH,
        batch_size=1,
        max_shift=FLANK,
        reverse_complement=True,
        seed=0,
    )
    return _consuming(batches, 4 * (WINDOW_LENGTH * 4 + TARGET_LENGTH * TRACKS))


def input_pipeline(arguments: argparse.Namespace) -> dict[str, list[Cost]]:
    """Compares the Trainer's input with plain parsing."""
    folder = synthetic_examples(arguments.cache)
    sizes = [file.stat().st_size / 1e6 for file in folder.iterdir()]
    print(f"{EXAMPLES} examples in {len(sizes)} files, {sum(sizes) / EXAMPLES:.1f} MB each")
    tasks = {
        "reading and parsing": (parsing, folder, "bytes as stored"),
        "training input": (training_input, folder, "one-hot and targets"),
    }
    return compare(tasks, arguments.turns)


PARTS = {"build": build, "input": input_pipeline}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the synthetic data")
    parser.add_argument("--megabases", type=int, default=100, help="of the synthetic genome")
    parser.add_argument("--tracks", type=int, default=64, help="of the synthetic genome")
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    costs = PARTS[arguments.part](arguments)
    if arguments.json:
        content = {name: [dataclasses.asdict(cost) for cost in turns] for name, turns in costs.items()}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
