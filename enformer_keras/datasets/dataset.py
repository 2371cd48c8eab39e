"""Genome datasets: a description, checked with everything it names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from enformer_keras.datasets.description import (
    MASK_FIELDS,
    DatasetDescription,
    load_description,
    load_descriptions,
)
from enformer_keras.datasets.digests import FileDigests
from enformer_keras.datasets.masks import Blacklist, HomologyGroups, Masks, Ranges
from enformer_keras.datasets.planning import Plan, make_plan
from enformer_keras.datasets.splits import Splits
from enformer_keras.datasets.track_reader import TrackReader
from enformer_keras.datasets.tracks import Track, read_track_table
from enformer_keras.formats.bed import BedLines, read_bed
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval

__all__ = [
    "Dataset",
    "DatasetDescription",
    "DatasetError",
    "Splits",
    "load_dataset",
    "load_datasets",
    "load_description",
]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A description whose files were found, opened and agree with each other.

    Attributes:
        path: the YAML file.
        description: its content.
        tracks: the track table's rows, files resolved.
        fasta_contigs: contig of the FASTA file, used or not -> bp.
        contig_lengths: contig that is used -> bp.
    """

    path: Path
    description: DatasetDescription
    tracks: tuple[Track, ...]
    fasta_contigs: dict[str, int]
    contig_lengths: dict[str, int]

    @property
    def fasta(self) -> Path:
        """The FASTA file, resolved."""
        return self.path.parent / self.description.fasta

    def open_genome(self) -> Genome:
        """Opens the FASTA file."""
        return Genome(self.fasta)

    def open_tracks(self) -> TrackReader:
        """Opens the files of all tracks."""
        description = self.description
        blacklist = None
        if description.blacklist is not None and description.blacklist_rule == "clip":
            quantile = description.blacklist_quantile
            blacklist = Blacklist(
                Ranges.of_bed(self._read_bed(description.blacklist, self.contig_lengths)),
                0.5 if quantile is None else quantile,
            )
        return TrackReader(
            self.tracks, self.contig_lengths, description.contig_aliases, description.bin_size, blacklist
        )

    def read_masks(self) -> Masks:
        """Reads the BED files of the description; finds no runs of N.

        A file without a line on a used contig masks nothing (or, `regions`, all): it is refused or warned of
        (`bed.read_bed`).

        Raises:
            DatasetError: every file that cannot be used.
        """
        description = self.description
        problems: list[str] = []
        splits = None
        used = self.contig_lengths
        if description.splits.bed is not None:
            try:
                bed = description.splits.bed
                splits = bed.read(self._resolve(bed.file), self.fasta_contigs, description.contig_aliases)
                used = _contigs_of(splits, self.contig_lengths)
            except DatasetError as error:
                problems += error.problems

        def read(field: str, **options: Any) -> Any:
            try:
                return self._read_bed(description.mask_files[field], used, **options)
            except DatasetError as error:
                problems.extend(error.problems)

        lines = {
            field: read(field, columns=(4,) if field == "homology_groups" else ())
            for field in MASK_FIELDS
            if field in description.mask_files
        }
        if problems:
            raise DatasetError(problems)
        ranges = {name: Ranges.of_bed(rows) for name, rows in lines.items() if name != "homology_groups"}
        groups = lines.get("homology_groups")
        return Masks(splits=splits, homology=HomologyGroups(groups) if groups else None, **ranges)

    def plan(self) -> Plan:
        """Cuts the genome into windows; where `min_gap_length` is set, the whole FASTA file is read.

        Raises:
            DatasetError: a file cannot be used, or a split has no window.
        """
        masks = self.read_masks()
        shortest = self.description.min_gap_length
        if shortest is not None:
            with contextlib.closing(self.open_genome()) as genome:
                runs = Ranges({contig: genome.runs_of_n(contig, shortest) for contig in self.contig_lengths})
            masks = dataclasses.replace(masks, gaps=runs.joined(masks.gaps) if masks.gaps else runs)
        return make_plan(self.description, self.contig_lengths, masks)

    def _resolve(self, path: Path) -> Path:
        return self.path.parent / path

    def _read_bed(self, path: Path, used: Iterable[str], **options: Any) -> dict[str, BedLines]:
        """Reads a BED file's lines on all contigs of the FASTA file, used or not."""
        aliases = self.description.contig_aliases
        return read_bed(self._resolve(path), self.fasta_contigs, aliases, used=used, **options)

    def scale_by_mean(self, track: Track) -> float:
        """Returns the factor that makes a track's mean over all used contigs 1.

        Args:
            track: one of the tracks.

        Returns:
            The factor.

        Raises:
            DatasetError: the mean is not above 0.
        """
        description = self.description
        with contextlib.closing(
            TrackReader([track], self.contig_lengths, description.contig_aliases, description.bin_size)
        ) as reader:
            return 1 / reader.genome_mean(track)

    def mean_scales(self) -> dict[int, float]:
        """Returns track index -> factor for every track whose scale is `mean`."""
        return {track.index: self.scale_by_mean(track) for track in self.tracks if track.scale == "mean"}

    def fingerprint(self, cache: Path | None = None) -> str:
        """Returns a SHA-256 over the content of the YAML file, the track table and every data file.

        It names no folder, so that a moved dataset keeps its fingerprint. Files are read in full, as a
        stream: seconds for a bacterium, hours for thousands of bigWigs.

        Args:
            cache: JSON file that remembers the files' digests, so that only those that changed are read again
                (see `digests.FileDigests`); it is made at first use. `None`: all are read.

        Raises:
            DatasetError: the cache cannot be read.
        """
        digests = FileDigests(cache)
        table = self.path.parent / self.description.tracks
        masks = [self._resolve(path) for path in self.description.mask_files.values()]
        total = hashlib.sha256()
        for path in dict.fromkeys([self.path, table, self.fasta, *(t.file for t in self.tracks), *masks]):
            total.update(digests.digest(path))
        return total.hexdigest()


def fingerprint_of(datasets: Sequence[Dataset], cache: Path | None = None) -> str:
    """Returns one fingerprint for the datasets of several organisms; of one dataset it is its own.

    Args:
        datasets: of one description.
        cache: see `Dataset.fingerprint`.
    """
    if len(datasets) == 1:
        return datasets[0].fingerprint(cache)
    return hashlib.sha256("".join(dataset.fingerprint(cache) for dataset in datasets).encode()).hexdigest()


def load_datasets(path: str | Path) -> tuple[Dataset, ...]:
    """Reads a description of one organism or several and opens every file it names.

    Args:
        path: the YAML file.

    Returns:
        A checked dataset for each organism, in the order of the file.

    Raises:
        DatasetError: as `load_dataset`, for all organisms together.
    """
    datasets: list[Dataset] = []
    problems: list[str] = []
    for description in load_descriptions(path):
        try:
            datasets.append(load_dataset(path, description.organism))
        except DatasetError as error:
            problems += error.problems
    if problems:
        raise DatasetError(dict.fromkeys(problems))
    return tuple(datasets)


def load_dataset(path: str | Path, organism: str | None = None) -> Dataset:
    """Reads a dataset description and opens every file it names, before any hours are spent.

    Args:
        path: the YAML file.
        organism: which one of the file; `None`: the only one.

    Returns:
        The checked dataset.

    Raises:
        DatasetError: lists everything found wrong in the description, else in the track table and the
            FASTA file together, else in the BED files, else in the track files.
    """
    path = Path(path).resolve()
    description = load_description(path, organism)
    genome, tracks = _open_genome_and_table(path, description)
    with contextlib.closing(genome):
        contigs = genome.contig_lengths
        named = set(description.splits.named_contigs or contigs)
        used = {name: length for name, length in contigs.items() if name in named}
        stretches = Dataset(path, description, tracks, contigs, used).read_masks().splits
        if stretches is not None:
            used = _contigs_of(stretches, contigs)
        try:
            description.splits.stretches(used, stretches)
        except DatasetError as error:
            raise DatasetError([f"{path}: {problem}" for problem in error.problems]) from None
        genome.check_ends(used)
    dataset = Dataset(path, description, tracks, contigs, used)
    with contextlib.closing(dataset.open_tracks()) as reader:
        reader.check_signal()
    return dataset


def _contigs_of(splits: Mapping[str, Iterable[Interval]], contigs: Mapping[str, int]) -> dict[str, int]:
    """Returns the contigs on which a split has a stretch, with their bp, in the order of the FASTA file."""
    named = {stretch.chrom for owned in splits.values() for stretch in owned}
    return {name: length for name, length in contigs.items() if name in named}


def _open_genome_and_table(path: Path, description: DatasetDescription) -> tuple[Genome, tuple[Track, ...]]:
    """Opens the FASTA file, looks for the contigs that the description names, and reads the track table."""
    problems: list[str] = []
    genome = None
    try:
        genome = Genome(path.parent / description.fasta)
        problems += _unknown_contigs(path, description, genome.contig_lengths)
    except DatasetError as error:
        problems += error.problems
    try:
        tracks = read_track_table(path.parent / description.tracks, path.parent)
    except DatasetError as error:
        problems += error.problems
    if genome is None or problems:
        if genome is not None:
            genome.close()
        raise DatasetError(problems)
    return genome, tracks


def _unknown_contigs(path: Path, description: DatasetDescription, contigs: Mapping[str, int]) -> list[str]:
    """Says where a description names a contig that its FASTA file does not have."""
    fasta = description.fasta
    known = ", ".join(list(contigs)[:8]) + (", ..." if len(contigs) > 8 else "")
    problems = [
        f"{path}: contig_aliases.{contig}: {name} is another contig of {fasta}; remove it"
        for contig, names in description.contig_aliases.items()
        for name in names
        if name != contig and name in contigs
    ]
    named = [("contig_aliases", contig) for contig in description.contig_aliases]
    named += [
        (f"splits.contigs.{split}", contig)
        for split, names in (description.splits.contigs or {}).items()
        for contig in names
    ]
    named += [
        ("splits.folds.contigs", contig)
        for contig in (description.splits.folds and description.splits.folds.contigs) or ()
    ]
    return problems + [
        f"{path}: {field}: {contig} is not a contig of {fasta}; it has {known}"
        for field, contig in named
        if contig not in contigs
    ]
