"""Weights that a training begins with, of an earlier model or of the authors'.

As a program (`python -m components.trainer.warm_start`) it is the process that `check_start` asks.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from components.pusher.push import list_versions
from components.trainer.training import MODEL_CARD, TRAINABLE_MODEL
from enformer_keras import Enformer, load_sonnet_checkpoint, sonnet_heads

_logger = logging.getLogger(__name__)

SCRATCH = "scratch"
# The source that is found when the training begins.
LAST_BLESSED = "last_blessed"

# What zipfile, h5py and Keras raise on files that are cut, altered, or of something else.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_REFUSED = 3  # exit status of the process that looks at a start
_PROJECT = Path(__file__).resolve().parents[2]


def find_start(source: str, pushed: Path) -> str:
    """Finds what a training begins with.

    Args:
        source: `LAST_BLESSED`, the newest of the pushed models, which were all blessed; or as for `start_from`.
        pushed: folder of the pushed versions; it need not exist yet.

    Returns:
        A source for `start_from`: nothing where no model was pushed yet, which the log says.
    """
    if source != LAST_BLESSED:
        return source
    versions = list_versions(pushed) if pushed.is_dir() else []
    if not versions:
        _logger.info("no model was blessed and pushed to %s yet: training starts from fresh weights", pushed)
        return ""
    return str(versions[-1])


def start_from(model: Enformer, source: str, tracks: Mapping[str, Sequence[str]]) -> str:
    """Gives a model the trunk of another one, and those of its heads that predict the same tracks.

    A head is taken where the other model has one of its name and number of tracks, and, where that model's card
    lies beside it, of the same tracks in the same order. The others start fresh; which, the log says.

    Args:
        model: fresh.
        source: a file `*.keras`, the folder of a pushed or blessed SavedModel, or the prefix of a checkpoint of
            the authors' layout; nothing to leave the fresh weights.
        tracks: identifiers of each head's tracks, in order.

    Returns:
        The source, or `SCRATCH`.

    Raises:
        FileNotFoundError: there is no such thing.
        ValueError: it is damaged or no Enformer, or the trunks differ in size; all weights that do are named.
    """
    if not source:
        return SCRATCH
    known: dict[str, list[str]] = {}
    if _is_sonnet(source):
        other = _load_sonnet(model, source)
    else:
        file = _keras_file(source)
        other = _load_keras(file)
        if not isinstance(other, Enformer):
            raise ValueError(f"{file}: is a {type(other).__name__}; give the file of an Enformer")
        if other.lora_rank is not None:
            other = other.merge_lora()
        card = file.with_name(MODEL_CARD.name)
        if card.exists():
            organisms = json.loads(card.read_text())["organisms"]
            known = {
                head: [track["identifier"] for track in data["tracks"]] for head, data in organisms.items()
            }
    kept = [
        head
        for head, count in model.heads.items()
        if other.heads.get(head) == count and known.get(head, tracks[head]) == tracks[head]
    ]
    try:
        model.take_weights(other, kept)
    except ValueError as error:
        raise ValueError(f"cannot start from {source}: {error}") from error
    _logger.info(
        "started from the trunk of %s, its heads: %s; fresh heads: %s",
        source,
        ", ".join(kept) or "none",
        ", ".join(head for head in model.heads if head not in kept) or "none",
    )
    return source


def check_start(source: str, model: Mapping[str, Any], tracks: Mapping[str, Sequence[str]]) -> None:
    """Looks whether a training could begin with a source, before hours are spent on its examples.

    It does what the Trainer will do, in a process of its own without GPUs, whose memory TensorFlow would keep.

    Args:
        source: as for `start_from`.
        model: arguments of `Enformer`.
        tracks: as for `start_from`.

    Raises:
        FileNotFoundError, ValueError: as for `start_from`.
        RuntimeError: the process ended otherwise; what it said last is quoted.
    """
    if not source:
        return
    done = subprocess.run(
        [sys.executable, "-m", "components.trainer.warm_start"],
        input=json.dumps({"source": source, "model": model, "tracks": tracks}),
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": os.pathsep.join([str(_PROJECT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == _REFUSED:
        raise ValueError(done.stdout.strip())
    if done.returncode:
        raise RuntimeError(
            f"{source}: the process that looked at it ended with status {done.returncode}: "
            f"{done.stderr[-2000:].strip()}"
        )


def fingerprint_start(source: str) -> str:
    """Hashes the files of a source, so that other weights under the same name are not taken for these.

    Args:
        source: as for `start_from`, not empty.

    Returns:
        SHA-256 in hex.

    Raises:
        FileNotFoundError: there is no such thing.
    """
    if _is_sonnet(source):
        prefix = Path(source)
        files = sorted(file for file in prefix.parent.iterdir() if file.name.startswith(f"{prefix.name}.data-"))
        files.append(Path(f"{source}.index"))
    else:
        files = [_keras_file(source)]
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _is_sonnet(source: str) -> bool:
    return Path(f"{source}.index").exists()


def _load_sonnet(model: Enformer, prefix: str) -> Enformer:
    """Reads a checkpoint of the authors' layout into a model with its heads and the sizes of another."""
    from tensorflow import errors

    try:
        config = {**model.get_config(), "heads": sonnet_heads(prefix), "frozen": [], "lora_rank": None}
        other = Enformer.from_config(config)
        load_sonnet_checkpoint(other, prefix)
    except errors.OpError as error:
        raise ValueError(f"{prefix}: is damaged, or not whole ({error}); fetch the checkpoint again") from error
    return other


def _load_keras(file: Path) -> keras.Model:
    """Reads a model's file; of its parts Keras verifies no checksum, zipfile does."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")
        return keras.saving.load_model(file, compile=False)
    except _DAMAGE as error:
        raise ValueError(
            f"{file}: is damaged, or was not saved by Keras ({error}); give the file of an Enformer that "
            "keras.saving.load_model opens"
        ) from error


def _keras_file(source: str) -> Path:
    path = Path(source)
    file = path / TRAINABLE_MODEL if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        raise FileNotFoundError(
            f"no model to start from at {source}: it must be a .keras file, a pushed model's folder (with "
            f"{TRAINABLE_MODEL}), or the prefix of a Sonnet checkpoint (without .index)"
        )
    return file


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    try:
        start_from(Enformer(**asked["model"]), asked["source"], asked["tracks"])
    except (FileNotFoundError, ValueError) as refusal:
        print(refusal)
        sys.exit(_REFUSED)
