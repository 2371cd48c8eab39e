"""Opening of trained models, wherever they come from, to be asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from enformer_keras.checkpoints.sonnet import load_sonnet_checkpoint, sonnet_heads
from enformer_keras.formats.errors import DatasetError
from enformer_keras.model.enformer import BIN_SIZE, Enformer
from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.windows import Frame

# Of a pushed version, which is a SavedModel with these beside it.
_CARD = Path("assets.extra") / "model.json"
_TRAINABLE = _CARD.with_name("model.keras")
# Of a run's folder, a folder of pushed versions.
_PUSHED = "pushed"


def open_model(
    path: str | os.PathLike[str],
    *,
    head: str | None = None,
    tracks: Sequence[PredictedTrack] | None = None,
    preset: str | None = None,
    batch_size: int = 4,
) -> Predictor:
    """Opens a trained model.

    Args:
        path: a run's folder, its folder of pushed versions (the newest is taken) or one of these, whose
            `model.json` says the tracks and strand pairs; a `.keras` file; or, with `preset`, the prefix of a
            checkpoint of the authors' layout.
        head: which head is asked; `None`: the only one.
        tracks: what is known of the head's tracks, in their order, where the model does not say; else they are
            numbered, and each is its own strand pair.
        preset: sizes of the checkpoint's model (`PRESETS`).
        batch_size: windows predicted at a time.

    Returns:
        What can be asked.

    Raises:
        DatasetError: there is no model, or a file of it is missing or damaged.
        ValueError: the model has several heads and none is named, or not this one; the tracks are not the
            head's; a checkpoint comes without `preset`, or does not fit it.
    """
    path = Path(path)
    card: Mapping[str, Any] | None = None
    if path.is_dir():
        version = _newest_version(path)
        card = _read_card(version / _CARD)
        model = _load(version / _TRAINABLE)
    elif path.suffix == ".keras":
        model = _load(path)
    elif path.with_name(f"{path.name}.index").exists():
        if preset is None:
            raise ValueError(f"{path}: is a checkpoint, which does not say the model's sizes: give preset=")
        model = Enformer.from_preset(preset, heads=sonnet_heads(path))
        load_sonnet_checkpoint(model, path)
    else:
        raise DatasetError(
            f"{path}: is no model; give a run's folder, a pushed version, a .keras file or a checkpoint"
        )
    if head is None and len(model.heads) == 1:
        head = next(iter(model.heads))
    if head not in model.heads:
        asked = "none is named" if head is None else f"not {head!r}"
        raise ValueError(f"{path}: has the heads {sorted(model.heads)}, {asked}; name one of these")
    if tracks is None:
        tracks = _tracks_of(card, head) if card else _numbered(model.heads[head])
    if len(tracks) != model.heads[head]:
        raise ValueError(
            f"{path}: head {head} has {model.heads[head]} tracks, but {len(tracks)} are described; give each "
            "of them"
        )
    bins = model.sequence_length // BIN_SIZE if model.target_length is None else model.target_length
    frame = Frame(model.sequence_length, bins, BIN_SIZE)
    return Predictor(model.head_model(head), frame, tracks, batch_size=batch_size)


def _newest_version(folder: Path) -> Path:
    """Returns the version that a folder is or holds."""
    if (folder / _CARD).exists():
        return folder
    versions = folder / _PUSHED if (folder / _PUSHED).is_dir() else folder
    found = [path for path in versions.iterdir() if path.name.isdecimal() and (path / _CARD).exists()]
    if not found:
        raise DatasetError(
            f"{folder}: holds no pushed model (no <version>/{_CARD} in it); train one, or give another folder"
        )
    return max(found, key=lambda path: int(path.name))


def _read_card(path: Path) -> Mapping[str, Any]:
    try:
        card: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); push or fetch the model again") from error
    return card


def _load(path: Path) -> Enformer:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; push or fetch the model again")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read as a Keras model ({error}); fetch it again") from error
    if not isinstance(model, Enformer):
        raise DatasetError(f"{path}: is a {type(model).__name__}, no Enformer; give another file")
    return model


def _tracks_of(card: Mapping[str, Any], head: str) -> list[PredictedTrack]:
    """Reads the tracks of a head; in the dataset's table they may be numbered from another number than 0."""
    rows = card["organisms"][head]["tracks"]
    place = {row["index"]: at for at, row in enumerate(rows)}
    return [
        PredictedTrack(at, row["identifier"], row["description"], place[row["strand_pair"]])
        for at, row in enumerate(rows)
    ]


def _numbered(count: int) -> list[PredictedTrack]:
    return [PredictedTrack(at, str(at), "", at) for at in range(count)]
