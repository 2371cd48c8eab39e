"""Weights that a training begins with, of an earlier model or of the authors'."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from components.pusher.push import list_versions
from components.trainer.training import MODEL_CARD, TRAINABLE_MODEL
from enformer_keras import Enformer, load_sonnet_checkpoint, sonnet_heads

_logger = logging.getLogger(__name__)

SCRATCH = "scratch"
# The source that is found when the training begins.
LAST_BLESSED = "last_blessed"


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
        ValueError: the trunks differ in size; all weights that do are named.
    """
    if not source:
        return SCRATCH
    known: dict[str, list[str]] = {}
    if _is_sonnet(source):
        heads = sonnet_heads(source)
        other = Enformer.from_config({**model.get_config(), "heads": heads, "frozen": [], "lora_rank": None})
        load_sonnet_checkpoint(other, source)
    else:
        file = _keras_file(source)
        other = keras.saving.load_model(file, compile=False)
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
        files = [*sorted(prefix.parent.glob(f"{prefix.name}.data-*")), Path(f"{source}.index")]
    else:
        files = [_keras_file(source)]
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _is_sonnet(source: str) -> bool:
    return Path(f"{source}.index").exists()


def _keras_file(source: str) -> Path:
    path = Path(source)
    file = path / TRAINABLE_MODEL if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        raise FileNotFoundError(
            f"no model to start from at {source}: it must be a .keras file, a pushed model's folder (with "
            f"{TRAINABLE_MODEL}), or the prefix of a Sonnet checkpoint (without .index)"
        )
    return file
