"""Executor of GenomeExampleGen: windows of a genome to serialized `tf.train.Example`s, on Beam."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from components.examples.account import Account, SplitAccount, account_genome, account_tracks, write_accounts
from components.examples.example import make_example
from components.examples.executor import Examples, ExamplesExecutor
from enformer_keras.datasets.dataset import Dataset, load_datasets
from enformer_keras.datasets.leaks import check_no_leak
from enformer_keras.datasets.window_reader import WindowReader, runs_of
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError

_logger = logging.getLogger(__name__)
_METRICS = "tfx.GenomeExampleGen"
# No split's name starts with an underscore.
_REPORT = "_report"
_SCALES = "_scales"


class _Report(NamedTuple):
    """What became of windows: written, dropped for N; of each track, bp without a value and bins clipped."""

    written: int
    dropped: int
    missing: np.ndarray
    clipped: np.ndarray


class _ReadRun(beam.DoFn):
    """Reads runs of windows: each window goes to the output of its split, and what happened to the report."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._written = beam.metrics.Metrics.counter(_METRICS, "windows_written")
        self._dropped = beam.metrics.Metrics.counter(_METRICS, "windows_dropped_for_n")
        self._missing = beam.metrics.Metrics.counter(_METRICS, "bp_without_value")

    def setup(self) -> None:
        self._reader = WindowReader(self._dataset)

    # Any: Beam takes annotations for the type of every output, and the tagged ones carry bytes.
    def process(self, run: list[Window], scales: Mapping[int, float]) -> Iterator[Any]:
        description = self._dataset.description
        for window, read in zip(run, self._reader.read_windows(run, scales), strict=True):
            if read is None:
                self._dropped.inc()
                none = np.zeros(len(self._dataset.tracks), dtype=np.int64)
                yield window.split, _Report(0, 1, none, none)
                continue
            example = make_example(
                organism=description.organism,
                window=window,
                sequence=read.sequence,
                flank_length=description.flank_length,
                target=read.target,
            )
            self._written.inc()
            self._missing.inc(int(read.missing.sum()))
            yield window.split, _Report(1, 0, read.missing, read.clipped)
            yield beam.pvalue.TaggedOutput(window.split, example.SerializeToString(deterministic=True))

    def teardown(self) -> None:
        self._reader.close()


def _scale_by_mean(index: int, dataset: Dataset) -> tuple[int, float]:
    """Returns a track's index and the factor that makes its genome mean 1."""
    track = dataset.tracks[index]
    scale = dataset.scale_by_mean(track)
    _logger.info("track %s: genome mean %g, scale %g", track.identifier, 1 / scale, scale)
    return index, scale


def _add_reports(reports: Iterable[_Report]) -> _Report:
    written, dropped, missing, clipped = zip(*reports, strict=True)
    return _Report(sum(written), sum(dropped), np.sum(missing, axis=0), np.sum(clipped, axis=0))


def _judge_report(
    report: tuple[str, _Report], dataset: Dataset, dropped_before: Mapping[str, Mapping[str, int]]
) -> tuple[str, str, SplitAccount]:
    """Logs what became of a split's windows; a split that lost all of them fails the pipeline.

    Args:
        report: split, and the sum of its reports.
        dataset: whose windows they are.
        dropped_before: split -> reason -> windows that the plan left out.

    Returns:
        Organism, split, and the account of it.

    Raises:
        DatasetError: the split lost all windows.
    """
    split, (written, dropped, missing, clipped) = report
    description = dataset.description
    if not written:
        raise DatasetError(
            f"{dataset.path}: split {split}: all {dropped} windows have a larger share of N than "
            f"{description.max_n_fraction:g}; raise max_n_fraction or give the split more of the genome"
        )
    worst = int(np.argmax(missing))
    target_bp = written * description.target_length * description.bin_size
    _logger.info(
        "%s, split %s: %d windows written, %d dropped for N, before that %s; bp without a value, "
        "counted as 0: %d in all tracks, most in %s (%.2f%% of its bp)",
        description.organism,
        split,
        written,
        dropped,
        dict(dropped_before[split]) or "none",
        missing.sum(),
        dataset.tracks[worst].identifier,
        100 * missing[worst] / target_bp,
    )
    reasons = dict(dropped_before[split]) | ({"max_n_fraction": dropped} if dropped else {})
    return description.organism, split, SplitAccount(written, reasons, missing.tolist(), clipped.tolist())


def _name_organism(scale: tuple[int, float], organism: str) -> tuple[str, int, float]:
    return (organism, *scale)


def _write_accounts(
    found: list[tuple[str, str, SplitAccount]],
    scales: list[tuple[str, int, float]],
    datasets: Sequence[Dataset],
    folder: str,
) -> None:
    of_splits = {(organism, split): account for organism, split, account in found}
    accounts = {}
    for dataset in datasets:
        description = dataset.description
        accounts[description.organism] = Account(
            assembly=description.assembly,
            tracks=account_tracks(
                dataset.tracks,
                {index: scale for organism, index, scale in scales if organism == description.organism},
            ),
            target_length=description.target_length,
            bin_size=description.bin_size,
            splits={split: of_splits[description.organism, split] for split in description.splits.names},
            **account_genome(dataset.fasta),
        )
    write_accounts(folder, accounts)


class GenomesToExamples(beam.PTransform):
    """Pipeline -> {split: {organism: serialized examples}}.

    Args:
        datasets: checked datasets with the same splits.
        folder: where the account of the build is written (`account.py`).
    """

    def __init__(self, datasets: Sequence[Dataset], folder: str) -> None:
        super().__init__()
        self._datasets = datasets
        self._folder = folder

    def expand(self, pipeline: beam.Pipeline) -> Examples:
        """Adds the steps of each organism.

        Args:
            pipeline: where the steps go.

        Returns:
            Split -> organism -> serialized `tf.train.Example`s.

        Raises:
            DatasetError: a split without windows, or a leak.
        """
        organisms = {
            dataset.description.organism: pipeline | dataset.description.organism >> GenomeToExamples(dataset)
            for dataset in self._datasets
        }
        scales = [outputs[_SCALES] for outputs in organisms.values()] | "AllScales" >> beam.Flatten()
        _ = (
            [outputs[_REPORT] for outputs in organisms.values()]
            | "AllAccounts" >> beam.Flatten()
            | "AccountsToList" >> beam.combiners.ToList()
            | "WriteAccounts"
            >> beam.Map(_write_accounts, beam.pvalue.AsList(scales), self._datasets, self._folder)
        )
        return {
            split: {organism: outputs[split] for organism, outputs in organisms.items()}
            for split in self._datasets[0].description.splits.names
        }


class GenomeToExamples(beam.PTransform):
    """Pipeline -> {split: serialized examples, `_report`: accounts, `_scales`: factors} of one organism.

    A window is read once.

    Args:
        dataset: a checked dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self._dataset = dataset

    def expand(self, pipeline: beam.Pipeline) -> dict[str, beam.PCollection]:
        """Plans the windows, checks them for leaks, and adds the steps that read runs of them in random order.

        Args:
            pipeline: where the steps go.

        Returns:
            Split -> serialized `tf.train.Example`s; `_report` -> organism, split, `SplitAccount`; `_scales` ->
            organism, index, factor of tracks whose scale is `mean`.

        Raises:
            DatasetError: a split without windows or of nothing but N, a leak, or a bin that float16 cannot
                hold.
        """
        dataset = self._dataset
        splits = dataset.description.splits.names
        plan = dataset.plan()
        windows = plan.windows
        check_no_leak(windows, dataset.description.flank_length)
        with contextlib.closing(WindowReader(dataset)) as reader:
            reader.check(windows, scales={})
        # A runner may keep this order in the files, and a shuffle buffer of megabyte examples, at reading, is
        # longer than a run and far shorter than a chromosome. The seed is fixed so that the same data gives the
        # same files.
        runs = list(runs_of(windows, dataset))
        order = np.random.default_rng(0).permutation(len(runs))
        by_mean = [track.index for track in dataset.tracks if track.scale == "mean"]
        scales = (
            pipeline
            | "TracksScaledByMean" >> beam.Create(by_mean, reshuffle=True)
            | "ScaleByMean" >> beam.Map(_scale_by_mean, dataset)
        )
        outputs = (
            pipeline
            | "Runs" >> beam.Create([runs[index] for index in order], reshuffle=True)
            | "ReadRuns"
            >> beam.ParDo(_ReadRun(dataset), beam.pvalue.AsDict(scales)).with_outputs(*splits, main=_REPORT)
        )
        accounts = (
            outputs[_REPORT]
            | "AddReports" >> beam.CombinePerKey(_add_reports)
            | "JudgeReports" >> beam.Map(_judge_report, dataset, plan.dropped)
        )
        named = scales | "NameOrganism" >> beam.Map(_name_organism, dataset.description.organism)
        return {split: outputs[split] for split in splits} | {_REPORT: accounts, _SCALES: named}


class Executor(ExamplesExecutor):
    """Reads the genomes of a dataset description."""

    def read_examples(self, description: Path, folder: str) -> GenomesToExamples:
        """Opens every file that the description names, before any hours are spent.

        Args:
            description: path of the YAML file.
            folder: of the artifact, where the account of the build goes.

        Returns:
            The steps that read the genomes.

        Raises:
            DatasetError: a dataset cannot be used.
        """
        return GenomesToExamples(load_datasets(description), folder)
