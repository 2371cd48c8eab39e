"""Opening of trained models, wherever they come from, to be asked."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from enformer_keras.checkpoints.pytorch import (
    PYTORCH_FILES,
    load_pytorch_checkpoint,
    pytorch_arguments,
    pytorch_heads,
)
from enformer_keras.checkpoints.sonnet import load_sonnet_checkpoint, sonnet_heads
from enformer_keras.formats.errors import DatasetError
from enformer_keras.model.enformer import BIN_SIZE, Enformer
from enformer_keras.model.presets import PRESETS
from enformer_keras.prediction.card import ModelCard
from enformer_keras.prediction.predictor import PredictedTrack, Predictor
from enformer_keras.prediction.products import check_tf32
from enformer_keras.prediction.served import SAVED_MODEL, ServedHead, open_served
from enformer_keras.prediction.strand_pairs import SummedPairs
from enformer_keras.prediction.transformation import FileUnits, Finish, Transformation
from enformer_keras.prediction.windows import Frame

if TYPE_CHECKING:
    from enformer_keras.formats.fasta import Genome

# What models may compute in; policies of Keras, and float32 with products in TF32.
DTYPES = ("float32", "tf32", "bfloat16", "mixed_bfloat16", "mixed_float16")
# Of a pushed version, which is a SavedModel with these beside it.
_CARD = Path("assets.extra") / "model.json"
_TRAINABLE = _CARD.with_name("model.keras")
# Of a run's folder, a folder of pushed versions.
_PUSHED = "pushed"
_PYTORCH_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A model in memory.

    Attributes:
        heads: head -> tracks.
        ask: from a head, and what is to be done to its predictions, to what predicts it, and its frame.
        batch_size: windows that it takes at a time; `None`: any number.
    """

    heads: Mapping[str, int]
    ask: Callable[[str, Finish | None], tuple[keras.Model | ServedHead, Frame]]
    batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class _Source:
    """A model that was found.

    Attributes:
        path: where, of a run's folder the pushed version.
        heads: head -> tracks; `None` where that is known only after loading.
        load: loads it.
        card: content of its `model.json`.
    """

    path: Path
    heads: Mapping[str, int] | None
    load: Callable[[], _Loaded]
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def open_model(
    path: str | os.PathLike[str],
    *,
    head: str | None = None,
    tracks: Sequence[PredictedTrack] | None = None,
    tracks_table: str | os.PathLike[str] | None = None,
    preset: str | None = None,
    dtype: str | None = None,
    unscale: bool = False,
    sum_strand_pairs: bool = False,
    genome: Genome | None = None,
    contig_aliases: Mapping[str, Sequence[str]] | None = None,
    any_genome: bool = False,
    batch_size: int = 4,
    full_passes: bool = False,
) -> Predictor:
    """Opens a trained model.

    Args:
        path: one of
            a run's folder, its folder of pushed versions (the newest is taken) or one of these, whose
            `model.json` says tracks, strand pairs and genome;
            a `.keras` file;
            with `preset`, the prefix of a checkpoint of the authors' layout;
            weights of enformer-pytorch (`model.safetensors`, `pytorch_model.bin` or their folder), with
            `preset` or a `config.json` beside them, whose models read 196,608 bp;
            the folder of a SavedModel that answers `model.predict_on_batch` as the authors' published one.
        head: which head is asked; `None`: the only one.
        tracks: what is known of the head's tracks, in their order, where the model does not say; else they are
            numbered, and each is its own strand pair.
        tracks_table: the same from a file: basenji's `targets.txt`, or a track table of this project.
        preset: sizes of the checkpoint's model (`PRESETS`).
        dtype: what it computes in, of `DTYPES`; `None`: as it was saved, and float32 for weights of others. In
            float32 products have all their digits, also on GPUs whose libraries by default round to TF32;
            `tf32` is float32 that lets them.
        unscale: whether to give values in the units of the tracks' files (`transformation.FileUnits`).
        sum_strand_pairs: whether to add up the predictions of the two tracks of each strand pair, before
            anything is computed of them (`strand_pairs.SummedPairs`).
        genome: what it will be asked about: another one than it was trained on is refused before it is loaded,
            and else when it is asked.
        contig_aliases: contig of the genome -> other names, of which one may be the model's.
        any_genome: whether to ask it about any genome.
        batch_size: windows predicted at a time; a SavedModel may take a number of its own.
        full_passes: whether to compute every window from its first base on, in place of the reuse of stem and
            tower (`reuse`), which gives the same numbers.

    Returns:
        What can be asked.

    Raises:
        DatasetError: there is no model, a file of it is missing or damaged, the package that reads it is not
            installed, the table of tracks cannot be used, or the genome is not the model's.
        ValueError: the model has several heads and none is named, or not this one; the tracks are not the
            head's; a checkpoint comes without sizes, or does not fit them; the data type is not known or cannot
            be chosen; values cannot be given in the files' units.
    """
    given = _given_tracks(tracks, tracks_table)
    source = _find(Path(path), preset, dtype)
    loaded = None if source.heads else source.load()
    heads = source.heads or (loaded.heads if loaded else {})
    head = _choose_head(source.path, heads, head)
    chosen = _tracks_of(source, heads, head, given)
    finish = _file_units(source.path, chosen) if unscale else None
    card = ModelCard.read(source.path, head, source.card)
    if genome is not None and not any_genome:
        card.check_genome(genome, contig_aliases or {})
    predictor = _predictor(
        source,
        loaded or source.load(),
        card,
        chosen,
        finish,
        any_genome,
        batch_size,
        full_passes,
        sum_strand_pairs,
        tf32=dtype == "tf32",
    )
    if genome is not None:
        predictor.check_genome(genome, contig_aliases)  # by these names it is the model's from now on
    return predictor


def open_heads(
    path: str | os.PathLike[str], *, preset: str | None = None, dtype: str | None = None, batch_size: int = 4
) -> dict[str, Predictor]:
    """Opens all heads of a model, which is in memory once.

    Args:
        path: see `open_model`; and so with the others.
        preset: sizes of the checkpoint's model.
        dtype: what it computes in.
        batch_size: windows predicted at a time.

    Returns:
        Head -> what can be asked.

    Raises:
        DatasetError, ValueError: see `open_model`.
    """
    source = _find(Path(path), preset, dtype)
    loaded = source.load()
    return {
        head: _predictor(
            source,
            loaded,
            ModelCard.read(source.path, head, source.card),
            _tracks_of(source, loaded.heads, head, None),
            None,
            False,
            batch_size,
            tf32=dtype == "tf32",
        )
        for head in loaded.heads
    }


def _given_tracks(
    tracks: Sequence[PredictedTrack] | None, table: str | os.PathLike[str] | None
) -> Sequence[PredictedTrack] | None:
    if table is None:
        return tracks
    if tracks is not None:
        raise ValueError("tracks and tracks_table say the same: give one")
    from enformer_keras.formats.track_table import number_columns, read_target_table  # needs pydantic

    return [
        PredictedTrack(
            row.index,
            row.identifier,
            row.description,
            row.index if row.strand_pair is None else row.strand_pair,
            Transformation(
                row.scale if isinstance(row.scale, float) else None, row.sum_stat, row.clip_soft, row.clip
            ),
        )
        for row in number_columns(read_target_table(Path(table)))
    ]


def _find(path: Path, preset: str | None, dtype: str | None) -> _Source:
    """Finds out what kind of model it is, and what it says before it is loaded."""
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")
    if dtype == "tf32":
        check_tf32()
        dtype = "float32"
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset={preset!r} must be one of {', '.join(PRESETS)}")
    if path.is_dir():
        version = _newest_version(path)
        if preset is not None and (version is not None or (path / SAVED_MODEL).exists()):
            raise ValueError(f"{path}: says its own sizes: do without preset={preset!r}")
        if version is not None:
            card = _read_card(version / _CARD)
            heads = {head: len(data["tracks"]) for head, data in card["organisms"].items()}
            return _Source(version, heads, lambda: _load_keras(version / _TRAINABLE, dtype), card)
        if (path / SAVED_MODEL).exists():
            return _Source(path, None, lambda: _load_served(path, dtype))
        if any((path / name).exists() for name in PYTORCH_FILES):
            return _find_pytorch(path, preset, dtype)
        raise DatasetError(
            f"{path}: holds no pushed model (no <version>/{_CARD} in it), no {SAVED_MODEL} and no "
            f"{' or '.join(PYTORCH_FILES)}; train one, or give another folder"
        )
    if path.suffix == ".keras":
        if preset is not None:
            raise ValueError(f"{path}: says its own sizes: do without preset={preset!r}")
        return _Source(path, None, lambda: _load_keras(path, dtype))
    if path.suffix in _PYTORCH_SUFFIXES and path.exists():
        return _find_pytorch(path, preset, dtype)
    if path.with_name(f"{path.name}.index").exists():
        if preset is None:
            raise ValueError(f"{path}: is a checkpoint, which does not say the model's sizes: give preset=")
        return _find_checkpoint(
            path, sonnet_heads, load_sonnet_checkpoint, PRESETS[preset] | {"dtype": dtype or "float32"}
        )
    raise DatasetError(
        f"{path}: is no model; give a run's folder, a pushed version, a .keras file, a checkpoint, weights of "
        "enformer-pytorch or the folder of a SavedModel"
    )


def _find_pytorch(path: Path, preset: str | None, dtype: str | None) -> _Source:
    sizes = pytorch_arguments(path) if preset is None else PRESETS[preset]
    if sizes is None:
        raise ValueError(
            f"{path}: no config.json beside it says the model's sizes: fetch it too, or give preset="
        )
    return _find_checkpoint(path, pytorch_heads, load_pytorch_checkpoint, sizes | {"dtype": dtype or "float32"})


def _find_checkpoint(
    path: Path,
    read_heads: Callable[[Path], dict[str, int]],
    load_weights: Callable[[Enformer, Path], None],
    arguments: Mapping[str, Any],
) -> _Source:
    """Makes a source of weights alone."""
    with _readable(path):
        heads = read_heads(path)

    def load() -> _Loaded:
        model = Enformer(**arguments, heads=heads)
        with _readable(path):
            load_weights(model, path)
        return _loaded(model)

    return _Source(path, heads, load)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Says of a package that is missing, or of TensorFlow's own errors, which file it is about."""
    try:
        yield
    except ImportError as error:
        raise DatasetError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        raise DatasetError(f"{path}: cannot be read ({error}); fetch the checkpoint again") from error


def _choose_head(path: Path, heads: Mapping[str, int], head: str | None) -> str:
    if head is None and len(heads) == 1:
        return next(iter(heads))
    if head is None or head not in heads:
        asked = "none is named" if head is None else f"not {head!r}"
        raise ValueError(f"{path}: has the heads {sorted(heads)}, {asked}; name one of these")
    return head


def _tracks_of(
    source: _Source, heads: Mapping[str, int], head: str, given: Sequence[PredictedTrack] | None
) -> Sequence[PredictedTrack]:
    """Returns the tracks of a head: those that were given, else what its card says, else numbers."""
    if given is None and head in source.card.get("organisms", {}):
        given = _read_tracks(source.card["organisms"][head]["tracks"])
    if given is None:
        return [PredictedTrack(at, str(at), "", at) for at in range(heads[head])]
    if len(given) != heads[head]:
        raise ValueError(
            f"{source.path}: head {head} has {heads[head]} tracks, but {len(given)} are described; give each "
            "of them"
        )
    return given


def _read_tracks(rows: Sequence[Mapping[str, Any]]) -> list[PredictedTrack]:
    """Reads the tracks of a card; in the dataset's table they may be numbered from another number than 0."""
    place = {row["index"]: at for at, row in enumerate(rows)}
    how = [field.name for field in dataclasses.fields(Transformation)]
    return [
        PredictedTrack(
            at,
            row["identifier"],
            row["description"],
            place[row["strand_pair"]],
            Transformation(**{name: row.get(name) for name in how}),
        )
        for at, row in enumerate(rows)
    ]


def _file_units(path: Path, tracks: Sequence[PredictedTrack]) -> FileUnits:
    faults = [(track, fault) for track in tracks if (fault := track.transformation.find_fault())]
    if faults:
        track, fault = faults[0]
        raise ValueError(
            f"{path}: values cannot be given in the files' units: of track {track.index} ({track.identifier}) "
            f"{fault}, and so of {len(faults)} of {len(tracks)}; give a table of tracks that says it "
            "(tracks_table, --tracks-table), or do without"
        )
    return FileUnits([track.transformation for track in tracks])


def _predictor(
    source: _Source,
    loaded: _Loaded,
    card: ModelCard,
    tracks: Sequence[PredictedTrack],
    finish: Finish | None,
    any_genome: bool,
    batch_size: int,
    full_passes: bool = False,
    sum_strand_pairs: bool = False,
    *,
    tf32: bool = False,
) -> Predictor:
    head = str(card.head)
    if loaded.heads.get(head) != len(tracks):
        raise DatasetError(
            f"{source.path}: {_CARD} describes {len(tracks)} tracks of head {head}, but the model has "
            f"{loaded.heads.get(head, 0)}; push or fetch the model again"
        )
    if sum_strand_pairs:
        summed, before = SummedPairs(tracks), finish
        finish = summed if before is None else lambda values: summed(before(values))
        tracks = summed.tracks
    model, frame = loaded.ask(head, finish)
    return Predictor(
        model,
        frame,
        tracks,
        batch_size=loaded.batch_size or batch_size,
        card=card,
        any_genome=any_genome,
        reuse=not full_passes,
        tf32=tf32,
    )


def _newest_version(folder: Path) -> Path | None:
    """Returns the pushed version that a folder is or holds."""
    if (folder / _CARD).exists():
        return folder
    versions = folder / _PUSHED if (folder / _PUSHED).is_dir() else folder
    found = [path for path in versions.iterdir() if path.name.isdecimal() and (path / _CARD).exists()]
    return max(found, key=lambda path: int(path.name), default=None)


def _read_card(path: Path) -> Mapping[str, Any]:
    try:
        card: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for organism in card["organisms"].values():
            _read_tracks(organism["tracks"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error!r}); push or fetch the model again") from error
    return card


def _load_keras(path: Path, dtype: str | None) -> _Loaded:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; push or fetch the model again")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read as a Keras model ({error}); fetch it again") from error
    if not isinstance(model, Enformer):
        raise DatasetError(f"{path}: is a {type(model).__name__}, no Enformer; give another file")
    if dtype is not None:
        model = model.with_dtype(dtype)
    if model.tower_pieces > 1 and not model.quantized:
        # As it may have been trained on TPUs. What a window shares with another is reused of whole towers.
        model = model.with_tower_pieces(1)
    return _loaded(model)


def _loaded(model: Enformer) -> _Loaded:
    bins = model.sequence_length // BIN_SIZE if model.target_length is None else model.target_length
    frame = Frame(model.sequence_length, bins, BIN_SIZE)

    def ask(head: str, finish: Finish | None) -> tuple[keras.Model, Frame]:
        asked = model.head_model(head)
        if finish is not None:
            asked = keras.Model(asked.input, finish(asked.output), name=asked.name)
        return asked, frame

    return _Loaded(model.heads, ask)


def _load_served(path: Path, dtype: str | None) -> _Loaded:
    if dtype is not None:
        raise ValueError(f"{path}: a SavedModel computes in what it was saved in: do without dtype")
    served = open_served(path)

    def ask(head: str, finish: Finish | None) -> tuple[ServedHead, Frame]:
        return ServedHead(served, head, finish), served.frame(head)

    return _Loaded({head: tracks for head, (_, tracks) in served.heads.items()}, ask, served.batch_size)
