"""What the pipeline must know of its data, genome files or Basenji folders, before they are read.

No TFX is imported here: settings are checked before it is.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from components.basenji_example_gen.description import (
    basenji_fingerprint,
    describes_folders,
    load_basenji_description,
)
from enformer_keras.genome.basenji_metadata import Target, number_columns, read_statistics, read_targets
from enformer_keras.genome.dataset import fingerprint_of, load_datasets
from enformer_keras.genome.description import load_descriptions
from enformer_keras.genome.errors import DatasetError
from enformer_keras.genome.tracks import Track, read_track_table


@dataclasses.dataclass(frozen=True)
class Organism:
    """What an organism's head learns.

    Attributes:
        name: of the organism and its head.
        assembly: name of the genome build, where the file says.
        tracks: of the targets, in their order, from which index and strand_pair are counted.
    """

    name: str
    assembly: str | None
    tracks: Sequence[Track] | Sequence[Target]


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
        organisms.append(Organism(name, None, number_columns(targets)))
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
