"""What the pipeline must know of its data, genome files or Basenji folders, before they are read.

No TFX is imported here: settings are checked before it is.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from components.basenji_example_gen.description import (
    basenji_fingerprint,
    describes_folders,
    load_basenji_description,
    open_folders,
)
from components.evaluator.regions import RegionFile
from components.variant_scorer.files import VariantFile, check_alleles, genome_of
from enformer_keras.datasets.basenji_metadata import read_statistics, read_targets
from enformer_keras.datasets.dataset import fingerprint_of, load_dataset, load_datasets
from enformer_keras.datasets.description import load_descriptions
from enformer_keras.datasets.tracks import Track, read_track_table
from enformer_keras.formats.bed import read_bed
from enformer_keras.formats.errors import DatasetError, first_names
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.intervals import Interval
from enformer_keras.formats.track_table import Target, number_columns
from enformer_keras.prediction import Frame

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Organism:
    """What an organism's head learns.

    Attributes:
        name: of the organism and its head.
        assembly: name of the genome build, where the file says.
        tracks: of the targets, in their order, from which index and strand_pair are counted.
        contig_aliases: contig -> other names it has in files.
    """

    name: str
    assembly: str | None
    tracks: Sequence[Track] | Sequence[Target]
    contig_aliases: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """The examples of all organisms, as they will be.

    Attributes:
        kind: what the YAML file describes, and with that which ExampleGen reads it.
        window_length: bp the model reads.
        flank_length: bp read beyond each side of the window.
        target_length: bins of a target.
        bin_size: bp of a bin.
        splits: names of the splits.
        organisms: in the order of the file.
    """

    kind: Literal["genome", "basenji"]
    window_length: int
    flank_length: int
    target_length: int
    bin_size: int
    splits: tuple[str, ...]
    organisms: tuple[Organism, ...]


def describe_data(path: Path) -> DataDescription:
    """Reads a YAML file of either kind and the tables of tracks that it names, but no data.

    Args:
        path: the YAML file, see `DatasetDescription` and `BasenjiDescription`.

    Returns:
        What it says.

    Raises:
        DatasetError: the YAML file or a table cannot be used, or targets do not fit the window or each other.
    """
    return _describe_folders(path) if describes_folders(path) else _describe_genomes(path)


def _describe_genomes(path: Path) -> DataDescription:
    descriptions = load_descriptions(path)  # whose windows and splits are the same
    first = descriptions[0]
    return DataDescription(
        kind="genome",
        window_length=first.window_length,
        flank_length=first.flank_length,
        target_length=first.target_length,
        bin_size=first.bin_size,
        splits=first.splits.names,
        organisms=tuple(
            Organism(
                description.organism,
                description.assembly,
                read_track_table(path.parent / description.tracks, path.parent),
                description.contig_aliases,
            )
            for description in descriptions
        ),
    )


def _describe_folders(path: Path) -> DataDescription:
    description = load_basenji_description(path)
    organisms, shapes = [], {}
    for name, data in description.organisms.items():
        folder = path.parent / data.folder
        statistics = read_statistics(folder / "statistics.json")
        bins, rest = divmod(description.window_length, statistics.pool_width)
        if rest or bins < statistics.target_length or (bins - statistics.target_length) % 2:
            raise DatasetError(
                f"{path}: window_length {description.window_length} does not hold the targets of {name}, "
                f"{statistics.target_length} bins of {statistics.pool_width} bp, in the centre of whole bins; "
                "give another"
            )
        shapes[name] = (statistics.target_length, statistics.pool_width)
        targets = read_targets(folder / "targets.txt", statistics.num_targets)
        organisms.append(Organism(name, None, number_columns(targets), {}))
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} has {bins} bins of {size} bp" for name, (bins, size) in shapes.items())
        raise DatasetError(
            f"{path}: the heads of a model predict the same bins, but of the targets {found}; give those that "
            "differ a description and a model of their own"
        )
    target_length, bin_size = shapes[organisms[0].name]
    return DataDescription(
        kind="basenji",
        window_length=description.window_length,
        flank_length=description.flank_length,
        target_length=target_length,
        bin_size=bin_size,
        splits=tuple(description.splits),
        organisms=tuple(organisms),
    )


def fingerprint_data(path: Path, cache: Path | None = None) -> str:
    """Opens all that a YAML file of either kind names, and hashes it.

    Args:
        path: the YAML file.
        cache: remembers the digests of a genome's files, see `Dataset.fingerprint`.

    Returns:
        SHA-256 in hex, for `create_pipeline`.

    Raises:
        DatasetError: everything that is found wrong before the work begins.
    """
    if describes_folders(path):
        return basenji_fingerprint(path)
    return fingerprint_of(load_datasets(path), cache)


def check_regions(path: Path, files: Mapping[str, RegionFile], split: str) -> None:
    """Looks for regions in the targets of a split as it is planned, and logs how many are not measured in one.

    Args:
        path: the YAML file of the data.
        files: organism -> its regions.
        split: whose targets they are measured in.

    Raises:
        DatasetError: lines that do not fit the genome, or no region of an organism is measured in a target;
            or the data cannot be used.
    """
    problems: list[str] = []
    find = _folder_targets if describes_folders(path) else _genome_targets
    for organism, file in files.items():
        try:
            targets = find(path, organism, split, file)
            regions = file.read()
        except DatasetError as error:
            problems += error.problems
            continue
        measured = regions.count_in(targets)
        _logger.info(
            "%s: the middle of %d of %d regions lies in a target of split %s; the other %d are not measured",
            file.path,
            measured,
            len(regions),
            split,
            len(regions) - measured,
        )
        if not measured:
            contigs = list(dict.fromkeys(target.chrom for target in targets))
            problems.append(
                f"{file.path}: none of its {len(regions)} regions has its middle in a target of split {split} "
                f"of {organism}; they lie on {first_names(regions.contigs)}, the targets on "
                f"{first_names(contigs)}: give regions of the contigs and the assembly of the data, or none"
            )
    if problems:
        raise DatasetError(problems)


def check_variants(path: Path, files: Mapping[str, VariantFile]) -> None:
    """Holds the first variants of each file against the genome, before hours are spent on a model for them.

    Args:
        path: the YAML file of the data.
        files: organism -> its variants.

    Raises:
        DatasetError: a file has changed or cannot be read, or is of another assembly; the data name no genome.
    """
    problems: list[str] = []
    data = describe_data(path)
    frame = Frame(data.window_length, data.target_length, data.bin_size)
    for organism, file in files.items():
        try:
            file.check()
            known = genome_of(path, organism)
            with contextlib.closing(Genome(known.fasta)) as genome:
                check_alleles(Path(file.path), genome, known.contig_aliases, frame.longest_allele)
        except DatasetError as error:
            problems += error.problems
    if problems:
        raise DatasetError(problems)


def _genome_targets(path: Path, organism: str, split: str, file: RegionFile) -> list[Interval]:
    dataset = load_dataset(path, organism)
    # Raises where contigs are shorter, or others.
    read_bed(Path(file.path), dataset.fasta_contigs, file.contig_aliases, used=dataset.contig_lengths)
    return [window.target for window in dataset.plan().windows if window.split == split]


def _folder_targets(path: Path, organism: str, split: str, file: RegionFile) -> list[Interval]:
    del file  # there may be no FASTA file to tell contigs' lengths
    description = load_basenji_description(path)
    folder = open_folders(path, description)[organism]
    return [window.target for part in description.splits[split] for window in folder.windows[part]]
