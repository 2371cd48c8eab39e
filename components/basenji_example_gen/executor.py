"""Executor of BasenjiExampleGen: records of Basenji folders to serialized `tf.train.Example`s, on Beam."""

import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam

from components.basenji_example_gen.description import (
    BasenjiDescription,
    load_basenji_description,
    open_folders,
)
from components.examples.account import Account, SplitAccount, account_genome, account_tracks, write_accounts
from components.examples.example import make_example
from components.examples.executor import Examples, ExamplesExecutor
from enformer_keras.datasets.basenji import (
    BasenjiFolder,
    count_records,
    describe_disagreement,
)
from enformer_keras.datasets.leaks import check_no_leak
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.track_table import number_columns

_logger = logging.getLogger(__name__)
_METRICS = "tfx.BasenjiExampleGen"
_REPORT = "_report"  # no organism's name starts with an underscore


class _File(NamedTuple):
    """A record file: `number` in the order of its folder's split `part`, for the examples' split `split`."""

    organism: str
    split: str
    part: str
    number: int


def _tag(organism: str, split: str) -> str:
    """Names the output for an organism's examples of a split."""
    return f"{organism}/{split}"


class _Report(NamedTuple):
    """What became of a file's windows; `first` is the earliest that disagrees, by file and record."""

    written: int = 0
    padded_windows: int = 0
    padded_bp: int = 0
    disagreeing: int = 0
    first: tuple[int, int, str] | None = None


@dataclasses.dataclass(frozen=True)
class BasenjiData:
    """A description with its folders open.

    Attributes:
        path: the YAML file.
        description: its content.
        folders: organism -> folder.
    """

    path: Path
    description: BasenjiDescription
    folders: dict[str, BasenjiFolder]

    def fasta(self, organism: str) -> Path | None:
        """The organism's FASTA file, resolved."""
        return self.description.organisms[organism].fasta_file(self.path)

    def files(self) -> list[_File]:
        """All record files of the splits that are used."""
        return [
            _File(organism, split, part, number)
            for organism, folder in self.folders.items()
            for split, parts in self.description.splits.items()
            for part in parts
            for number in range(len(folder.files(part)))
        ]

    def windows(self, organism: str) -> Iterator[Window]:
        """The windows that the model reads, without flanks, under the examples' splits."""
        for split, parts in self.description.splits.items():
            for part in parts:
                for stored in self.folders[organism].windows[part]:
                    interval = stored.interval.resize(self.description.window_length)
                    yield Window(interval, stored.target, split)


def load_data(path: Path) -> BasenjiData:
    """Opens what a description names and reads the first record of every split, before any hours are spent.

    Args:
        path: the YAML file.

    Returns:
        The checked data.

    Raises:
        DatasetError: the description, a folder, a FASTA file or a first record cannot be used, or windows leak
            where the description refuses that.
    """
    description = load_basenji_description(path)
    data = BasenjiData(path, description, open_folders(path, description))
    problems: list[str] = []
    for organism, folder in data.folders.items():
        try:
            for part in (part for parts in description.splits.values() for part in parts):
                records = folder.records(part, data.fasta(organism), description.sequence_length)
                with contextlib.closing(records):
                    next(records, None)
        except DatasetError as error:
            problems += error.problems
            continue
        try:
            check_no_leak(data.windows(organism), description.flank_length)
        except DatasetError as error:
            if description.leaks == "refuse":
                problems += error.problems
            for problem in error.problems:
                _logger.warning("organism %s: %s", organism, problem)
    if problems:
        raise DatasetError(problems)
    return data


class _ReadFile(beam.DoFn):
    """Reads record files: each record goes to the output of its split, and what happened to the report."""

    def __init__(self, data: BasenjiData) -> None:
        self._data = data
        self._written = beam.metrics.Metrics.counter(_METRICS, "windows_written")
        self._padded = beam.metrics.Metrics.counter(_METRICS, "bp_filled_with_n")

    # Any: Beam takes annotations for the type of every output, and the tagged ones carry bytes.
    def process(self, file: _File, firsts: Mapping[_File, int]) -> Iterator[Any]:
        description = self._data.description
        folder = self._data.folders[file.organism]
        path = folder.files(file.part)[file.number]
        report = _Report()
        reader = folder.reader(file.part, self._data.fasta(file.organism), description.sequence_length)
        with contextlib.closing(reader):
            # One record is held at a time, whatever the file's size.
            for number, record in enumerate(reader.read_file(path, firsts[file])):
                if record.disagreement is not None:
                    where = f"{path}: record {number}: {describe_disagreement(record)}"
                    first = report.first or (file.number, number, where)
                    report = report._replace(disagreeing=report.disagreeing + 1, first=first)
                    continue
                example = make_example(
                    organism=file.organism,
                    window=Window(
                        record.window.interval.extend(-description.flank_length),
                        record.window.target,
                        file.split,
                    ),
                    sequence=record.sequence,
                    flank_length=description.flank_length,
                    target=record.target,
                )
                report = report._replace(
                    written=report.written + 1,
                    padded_windows=report.padded_windows + (record.padded > 0),
                    padded_bp=report.padded_bp + record.padded,
                )
                self._written.inc()
                self._padded.inc(record.padded)
                yield beam.pvalue.TaggedOutput(
                    _tag(file.organism, file.split), example.SerializeToString(deterministic=True)
                )
        yield (file.organism, file.split, file.part), report


def _count(file: _File, data: BasenjiData) -> tuple[_File, int]:
    return file, count_records(data.folders[file.organism].files(file.part)[file.number])


def _first_rows(_: None, counts: Mapping[_File, int], data: BasenjiData) -> dict[_File, int]:
    """Returns for each file the records before it in its split, after comparing all counts with the rows."""
    firsts: dict[_File, int] = {}
    total: dict[tuple[str, str], int] = {}
    for file in data.files():
        key = (file.organism, file.part)
        firsts[file] = total.setdefault(key, 0)
        total[key] += counts[file]
    problems = [
        f"{data.folders[organism].path / 'tfrecords'}: the files of split {part} hold {count} records, "
        f"sequences.bed has {len(data.folders[organism].windows[part])} rows; fetch the files again, or the "
        "folder they belong to"
        for (organism, part), count in total.items()
        if count != len(data.folders[organism].windows[part])
    ]
    if problems:
        raise DatasetError(problems)
    return firsts


def _add_reports(reports: Iterable[_Report]) -> _Report:
    written, windows, bp, disagreeing, firsts = zip(*reports, strict=True)
    first = min((first for first in firsts if first is not None), default=None)
    return _Report(sum(written), sum(windows), sum(bp), sum(disagreeing), first)


def _judge_report(report: tuple[tuple[str, str, str], _Report], data: BasenjiData) -> tuple[str, str, int]:
    """Logs what became of a split's windows; one that disagrees with the FASTA fails the pipeline.

    Args:
        report: organism, split and the folder's split that it was made from; the sum of its reports.
        data: whose windows they are.

    Returns:
        Organism, split, and windows written.

    Raises:
        DatasetError: a stored sequence is not the FASTA's.
    """
    (organism, split, part), counted = report
    if counted.first is not None:
        raise DatasetError(
            f"{counted.first[2]}; {counted.disagreeing} of {counted.written + counted.disagreeing} windows of "
            f"split {part} disagree with {data.fasta(organism)}: give the FASTA of the data's assembly"
        )
    _logger.info(
        "organism %s, split %s (from %s): %d windows written, %d of them reach beyond their contig, %d bp "
        "filled with N",
        organism,
        split,
        part,
        counted.written,
        counted.padded_windows,
        counted.padded_bp,
    )
    return organism, split, counted.written


def _write_accounts(found: list[tuple[str, str, int]], data: BasenjiData, folder: str) -> None:
    written: Counter[tuple[str, str]] = Counter()
    for organism, split, windows in found:
        written[organism, split] += windows
    accounts = {}
    for organism, basenji in data.folders.items():
        fasta = data.fasta(organism)
        accounts[organism] = Account(
            assembly=None,
            tracks=account_tracks(number_columns(basenji.targets), scales={}),
            target_length=basenji.statistics.target_length,
            bin_size=basenji.statistics.pool_width,
            # Every record is written, and none tells what was missing or clipped when it was made.
            splits={
                split: SplitAccount(written[organism, split], dropped={}, missing=None, clipped=None)
                for split in data.description.splits
            },
            **({} if fasta is None else account_genome(fasta)),
        )
    write_accounts(folder, accounts)


class BasenjiToExamples(beam.PTransform):
    """Pipeline -> {split: {organism: serialized examples}}; a file is read by one worker, one record at a time.

    Each file is read twice: nothing in the format says how many records the files before it hold, which is what
    ties a record to its row. They are counted first, in parallel, and compared with the rows.

    Args:
        data: checked data.
        folder: where the account of the build is written (`examples.account`).
    """

    def __init__(self, data: BasenjiData, folder: str) -> None:
        super().__init__()
        self._data = data
        self._folder = folder

    def expand(self, pipeline: beam.Pipeline) -> Examples:
        """Adds the steps that count and read the files.

        Args:
            pipeline: where the steps go.

        Returns:
            Split -> organism -> serialized `tf.train.Example`s.
        """
        data = self._data
        files = data.files()
        tags = sorted({_tag(file.organism, file.split) for file in files})
        counts = (
            pipeline
            | "FilesToCount" >> beam.Create(files, reshuffle=True)
            | "CountRecords" >> beam.Map(_count, data)
        )
        firsts = (
            pipeline
            | "Once" >> beam.Create([None])
            | "FirstRows" >> beam.Map(_first_rows, beam.pvalue.AsDict(counts), data)
        )
        outputs = (
            pipeline
            | "Files" >> beam.Create(files, reshuffle=True)
            | "ReadFiles"
            >> beam.ParDo(_ReadFile(data), beam.pvalue.AsSingleton(firsts)).with_outputs(*tags, main=_REPORT)
        )
        _ = (
            outputs[_REPORT]
            | "AddReports" >> beam.CombinePerKey(_add_reports)
            | "JudgeReports" >> beam.Map(_judge_report, data)
            | "AccountsToList" >> beam.combiners.ToList()
            | "WriteAccounts" >> beam.Map(_write_accounts, data, self._folder)
        )
        return {
            split: {organism: outputs[_tag(organism, split)] for organism in data.folders}
            for split in data.description.splits
        }


class Executor(ExamplesExecutor):
    """Reads the Basenji folders of a description."""

    def read_examples(self, description: Path, folder: str) -> BasenjiToExamples:
        """Opens the folders and reads the first record of every split, before any hours are spent.

        Args:
            description: path of the YAML file.
            folder: of the artifact, where the account of the build goes.

        Returns:
            The steps that read the folders.

        Raises:
            DatasetError: the data cannot be used.
        """
        return BasenjiToExamples(load_data(description), folder)
