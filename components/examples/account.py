"""What only the build of examples knows of them, as `build.json` beside the folders of their splits."""

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.track_table import TrackRow

ACCOUNT_FILE = "build.json"


@dataclasses.dataclass(frozen=True)
class SplitAccount:
    """What became of the windows of a split.

    Attributes:
        written: windows that are examples.
        dropped: reason -> windows left out: the reasons of `planning.Plan`, and `max_n_fraction`.
        missing: [tracks], bp of the written targets without a value, counted as 0; None where nobody knows, of
            records that others made.
        clipped: [tracks], bins of the written targets that clip_soft or clip changed; None likewise.
    """

    written: int
    dropped: dict[str, int]
    missing: list[int] | None
    clipped: list[int] | None


@dataclasses.dataclass(frozen=True)
class TrackAccount:
    """A track of the targets; where its file lay is nobody's business any more.

    Attributes:
        index: its column.
        identifier: its name.
        description: in words, as the track table has it.
        genome: as the track table has it.
        strand_pair: index of the track that this one becomes on the other strand; its own where there is none.
        scale: the factor that its values were multiplied by, a number also where the table says `mean`; None
            where nobody knows. So with the next three, which the track table has too.
        sum_stat: how the bp of a bin became one value.
        clip_soft: bound above which values went by their root.
        clip: values were limited to [-clip, clip].
    """

    index: int
    identifier: str
    description: str
    genome: str
    strand_pair: int
    scale: float | None = None
    sum_stat: str | None = None
    clip_soft: float | None = None
    clip: float | None = None


@dataclasses.dataclass(frozen=True)
class Account:
    """How the examples of an organism were built.

    Attributes:
        assembly: name of the genome build; None where the description does not say.
        tracks: in the order of the targets.
        target_length: bins of a target.
        bin_size: bp of a bin.
        splits: split -> what became of its windows.
        contig_lengths: contig -> bp of the genome, used or not; None where there is no FASTA file.
        sequence_sha256: digest of the genome (`Genome.sha256`), likewise.
    """

    assembly: str | None
    tracks: list[TrackAccount]
    target_length: int
    bin_size: int
    splits: dict[str, SplitAccount]
    contig_lengths: dict[str, int] | None = None
    sequence_sha256: str | None = None


def write_accounts(folder: str, accounts: Mapping[str, Account]) -> None:
    """Writes the accounts, whole or not at all.

    Args:
        folder: of the examples' artifact.
        accounts: organism -> account.
    """
    # A name of its own: Beam may run a step twice at the same time.
    partial = f"{folder}/{ACCOUNT_FILE}.{uuid.uuid4().hex}.partial"
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(partial, "w") as out:
        content = {organism: dataclasses.asdict(account) for organism, account in accounts.items()}
        out.write(json.dumps(content) + "\n")
    tf.io.gfile.rename(partial, f"{folder}/{ACCOUNT_FILE}", overwrite=True)


def read_accounts(folder: str) -> dict[str, Account]:
    """Reads what `write_accounts` wrote.

    Args:
        folder: of the examples' artifact.

    Returns:
        Organism -> account.

    Raises:
        FileNotFoundError: the examples have no account; another ExampleGen wrote them.
    """
    file = f"{folder}/{ACCOUNT_FILE}"
    if not tf.io.gfile.exists(file):
        raise FileNotFoundError(
            f"{file} is missing: another ExampleGen wrote these examples, or an older version"
        )
    with tf.io.gfile.GFile(file) as written:
        content = json.load(written)
    return {organism: _read_account(**account) for organism, account in content.items()}


def account_tracks(tracks: Iterable[TrackRow], scales: Mapping[int, float]) -> list[TrackAccount]:
    """Takes from the rows of a track table what goes with the examples.

    Args:
        tracks: in the order of the targets.
        scales: index -> factor, where the table says `mean`; not known where it is not there.
    """
    names = {field.name for field in dataclasses.fields(TrackAccount)}
    accounts = []
    for track in tracks:
        fields = track.model_dump(include=names)
        if fields.get("scale") == "mean":
            fields["scale"] = scales.get(track.index)
        accounts.append(TrackAccount(**fields))
    return accounts


def account_genome(fasta: Path) -> dict[str, Any]:
    """Returns the fields of an `Account` that say which genome it is; the whole file is read.

    Args:
        fasta: the FASTA file.

    Raises:
        DatasetError: the file cannot be read.
    """
    with contextlib.closing(Genome(fasta)) as genome:
        return {"contig_lengths": dict(genome.contig_lengths), "sequence_sha256": genome.sha256()}


def _read_account(tracks: list[dict[str, Any]], splits: dict[str, dict[str, Any]], **fields: Any) -> Account:
    return Account(
        tracks=[TrackAccount(**track) for track in tracks],
        splits={name: SplitAccount(**split) for name, split in splits.items()},
        **fields,
    )
