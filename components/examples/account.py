"""What only the build of examples knows of them, as `build.json` beside the folders of their splits."""

import dataclasses
import json
import uuid
from collections.abc import Mapping

import tensorflow as tf

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
class Account:
    """How the examples of an organism were built.

    Attributes:
        tracks: identifiers, in the order of the targets.
        target_length: bins of a target.
        bin_size: bp of a bin.
        splits: split -> what became of its windows.
    """

    tracks: list[str]
    target_length: int
    bin_size: int
    splits: dict[str, SplitAccount]


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
    return {
        organism: Account(
            **(account | {"splits": {name: SplitAccount(**split) for name, split in account["splits"].items()}})
        )
        for organism, account in content.items()
    }
