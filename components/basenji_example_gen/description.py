"""The description of Basenji folders that are trained on: a YAML file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from enformer_keras.datasets.basenji import BasenjiFolder
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.validation import describe_validation_error
from enformer_keras.formats.yaml_mapping import read_yaml_mapping

_Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
_Split = Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$")]
# The end of a ZLIB stream is a checksum (Adler-32, RFC 1950) of everything that was compressed.
_TAIL_BYTES = 4096


class OrganismData(pydantic.BaseModel):
    """Where one organism's data lies; relative paths are relative to the YAML file.

    Attributes:
        folder: Basenji folder, see `BasenjiFolder`.
        fasta: genome of the data's assembly; needed where windows with flanks are longer than the stored.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    folder: Path
    fasta: Path | None = None

    def fasta_file(self, description: Path) -> Path | None:
        """Returns the FASTA file, resolved by the path of the YAML file."""
        return None if self.fasta is None else description.parent / self.fasta


class BasenjiDescription(pydantic.BaseModel):
    """The YAML file as it stands.

    Attributes:
        organisms: name of the head -> its data.
        window_length: bp the model reads; cut from the stored sequences or extended, about their centre.
        flank_length: bp read beyond each side of the window, for shift augmentation.
        splits: split of the examples -> those of the folders that it is made of, such as folds.
        leaks: what to do where an input, flanks included, overlaps a target of another split: `report` them in
            the log, or `refuse` the data. In a pipeline the leak audit decides.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    organisms: Annotated[dict[_Name, OrganismData], pydantic.Field(min_length=1)]
    window_length: pydantic.PositiveInt
    flank_length: pydantic.NonNegativeInt = 3
    splits: dict[_Split, Annotated[tuple[str, ...], pydantic.Field(min_length=1)]] = {
        "train": ("train",),
        "valid": ("valid",),
        "test": ("test",),
    }
    leaks: Literal["report", "refuse"] = "report"

    @property
    def sequence_length(self) -> int:
        """Bp of an example's sequence: the window and its flanks."""
        return self.window_length + 2 * self.flank_length

    @pydantic.model_validator(mode="after")
    def _check(self) -> BasenjiDescription:
        problems = [] if self.splits else ["splits: name at least one split"]
        owner: dict[str, str] = {}
        for split, parts in self.splits.items():
            for part in parts:
                if part in owner:
                    problems.append(f"splits: {part} is in {owner[part]} and again in {split}; keep it in one")
                owner.setdefault(part, split)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def describes_folders(path: str | Path) -> bool:
    """Says whether a YAML file describes Basenji folders: those of other kinds name no `folder`.

    Args:
        path: the YAML file.

    Raises:
        DatasetError: it cannot be read.
    """
    organisms = read_yaml_mapping(Path(path)).get("organisms")
    return isinstance(organisms, dict) and any(
        isinstance(data, dict) and "folder" in data for data in organisms.values()
    )


def load_basenji_description(path: str | Path) -> BasenjiDescription:
    """Reads and validates a YAML file alone, for places that have no data (compiling a pipeline).

    Args:
        path: the YAML file.

    Returns:
        Its content.

    Raises:
        DatasetError: every field that is wrong.
    """
    fields = read_yaml_mapping(Path(path))
    try:
        return BasenjiDescription.model_validate(fields)
    except pydantic.ValidationError as error:
        raise DatasetError(describe_validation_error(str(path), error, fields)) from error


def open_folders(path: Path, description: BasenjiDescription) -> dict[str, BasenjiFolder]:
    """Opens the folder of every organism.

    Args:
        path: the YAML file.
        description: its content.

    Returns:
        Organism -> its folder, checked.

    Raises:
        DatasetError: everything found wrong in any of them, or tracks of one identifier.
    """
    folders: dict[str, BasenjiFolder] = {}
    problems: list[str] = []
    for organism, data in description.organisms.items():
        try:
            folder = folders[organism] = BasenjiFolder(path.parent / data.folder)
        except DatasetError as error:
            problems += error.problems
            continue
        # The folder alone can be read by columns; a pipeline's figures go by name.
        problems += [
            f"{folder.path / 'targets.txt'}: identifier {name} is that of {count} tracks; make it unique"
            for name, count in Counter(target.identifier for target in folder.targets).items()
            if count > 1
        ]
    if problems:
        raise DatasetError(problems)
    return folders


def basenji_fingerprint(path: str | Path) -> str:
    """Hashes what the examples are made from, without reading hundreds of gigabytes.

    Read in full are the YAML file, the tables of each folder, and each FASTA file; of each record file name,
    size and its last 4 KiB, where ZLIB keeps a checksum of all of its content. No folder is named, so that
    moved data keeps its fingerprint.

    Args:
        path: the YAML file.

    Returns:
        SHA-256 in hex.

    Raises:
        DatasetError: the description, a folder or a FASTA file cannot be used.
    """
    path = Path(path)
    description = load_basenji_description(path)
    total = hashlib.sha256(path.read_bytes())
    for organism, folder in open_folders(path, description).items():
        total.update(organism.encode() + b"\0")
        whole = [folder.path / name for name in ("statistics.json", "targets.txt", "sequences.bed")]
        fasta = description.organisms[organism].fasta_file(path)
        if fasta is not None:
            whole.append(fasta)
        for one in whole:
            try:
                with one.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DatasetError(f"{one}: cannot be read ({error}); correct {path.name}") from error
        for one in sorted((folder.path / "tfrecords").glob("*.tfr"), key=lambda file: file.name):
            size = one.stat().st_size
            with one.open("rb") as file:
                file.seek(max(0, size - _TAIL_BYTES))
                tail = hashlib.sha256(file.read()).hexdigest()
            total.update(json.dumps([one.name, size, tail]).encode())
    return total.hexdigest()
