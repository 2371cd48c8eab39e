"""SavedModels that answer as the authors' published one does: `model.predict_on_batch(one_hot)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.model.enformer import BIN_SIZE
from enformer_keras.prediction.transformation import Finish
from enformer_keras.prediction.windows import Frame

SAVED_MODEL = "saved_model.pb"
# Windows that are tried where the model does not say its own: those of the published models.
_WINDOWS = (393_216, 196_608)


class ServedHead:
    """One head of a SavedModel, asked as a Keras model is; there are no gradients and no layers.

    Args:
        served: the model.
        head: which.
        finish: what is done to its predictions; `None`: nothing.
    """

    def __init__(self, served: ServedModel, head: str, finish: Finish | None = None) -> None:
        self._served = served
        self._head = head
        self._finish = finish

    def predict_on_batch(self, one_hot: np.ndarray) -> np.ndarray:
        """Predicts windows: float32 [batch, bins, tracks]."""
        found = np.asarray(self._served.predict(one_hot)[self._head], dtype=np.float32)
        if self._finish is None:
            return found
        return np.asarray(keras.ops.convert_to_numpy(self._finish(found)))

    @property
    def weights(self) -> list[np.ndarray]:
        """What tells it from others: the bytes of the files that hold its variables."""
        files = sorted((self._served.path / "variables").glob("variables.data-*"))
        return [np.fromfile(file, dtype=np.uint8) for file in files]


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A SavedModel.

    Attributes:
        path: its folder.
        predict: from one-hot float32 [batch, window_length, 4] to head -> [batch, bins, tracks].
        window_length: bp that it takes. The published model takes 393,216 bp and reads the inner half.
        batch_size: windows that it takes at a time; `None`: any number.
        heads: head -> bins, tracks.
    """

    path: Path
    predict: Callable[[Any], Mapping[str, Any]]
    window_length: int
    batch_size: int | None
    heads: Mapping[str, tuple[int, int]]

    def frame(self, head: str) -> Frame:
        """Says where a head's bins lie: about the centre of the window that the model takes."""
        return Frame(self.window_length, self.heads[head][0], BIN_SIZE)


def open_served(path: Path) -> ServedModel:
    """Opens a SavedModel; TensorFlow is imported.

    Window, heads, bins and tracks are those of its signature; what that leaves open one call finds out.

    Args:
        path: the folder.

    Raises:
        DatasetError: it cannot be read, does not answer so, or TensorFlow is missing.
    """
    try:
        with from_extra("tensorflow"):
            import tensorflow as tf
    except ImportError as error:
        raise DatasetError(
            f"{path}: is a SavedModel, which TensorFlow alone can read; install enformer-keras[tensorflow]"
        ) from error
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DatasetError(f"{path}: cannot be read as a SavedModel ({error}); fetch it again") from error
    model = getattr(loaded, "model", loaded)
    function = getattr(model, "predict_on_batch", None)
    if function is None:
        raise DatasetError(
            f"{path}: has no model.predict_on_batch, as the published Enformer has; give a SavedModel that has"
        )
    signatures = [_signature_of(concrete) for concrete in getattr(function, "concrete_functions", ())]
    taken = [(spec, outputs) for spec, outputs in signatures if spec is not None]
    # Of several lengths the published one, else the longest.
    taken.sort(key=lambda one: (one[0][1] in _WINDOWS, one[0][1] or 0), reverse=True)
    (batch_size, length, _), outputs = taken[0] if taken else ((None, None, 4), None)

    def predict(one_hot: Any) -> Mapping[str, Any]:
        # By way of what was loaded, which holds the variables.
        found: Mapping[str, Any] = getattr(loaded, "model", loaded).predict_on_batch(tf.constant(one_hot))
        return found

    if length is None or outputs is None:
        length, outputs = _try(path, predict, (length,) if length else _WINDOWS, batch_size or 1, tf)
    problem = next((f"{head} is {shape}" for head, shape in outputs.items() if len(shape) != 3), None)
    if problem is None:
        problem = next(
            (
                f"{head} has {bins} bins of {BIN_SIZE} bp, which do not lie about the centre of {length} bp"
                for head, (_, bins, _) in outputs.items()
                if bins * BIN_SIZE > length or (length - bins * BIN_SIZE) % 2
            ),
            None,
        )
    if problem or not outputs:
        raise DatasetError(
            f"{path}: predict_on_batch must give head -> [batch, bins, tracks], but {problem or 'gives none'}; "
            "give another model"
        )
    heads = {head: (bins, tracks) for head, (_, bins, tracks) in outputs.items()}
    return ServedModel(path, predict, length, batch_size, heads)


def _signature_of(concrete: Any) -> tuple[tuple[Any, ...] | None, Mapping[str, tuple[int, ...]] | None]:
    """Returns the shape that a function takes, if it is one-hot, and the shapes that it gives, if all known."""
    arguments, keywords = concrete.structured_input_signature
    shapes = [tuple(spec.shape) for spec in (*arguments, *keywords.values()) if hasattr(spec, "shape")]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] != 4:
        return None, None
    outputs = concrete.structured_outputs
    if not isinstance(outputs, Mapping):
        return shapes[0], None
    given = {head: tuple(spec.shape) if spec.shape.rank else () for head, spec in outputs.items()}
    return shapes[0], given if all(shape and None not in shape[1:] for shape in given.values()) else None


def _try(
    path: Path,
    predict: Callable[[Any], Mapping[str, Any]],
    lengths: tuple[int, ...],
    batch_size: int,
    tf: Any,
) -> tuple[int, Mapping[str, tuple[int, ...]]]:
    """Predicts a window of N of each length until one is taken; returns it, and the shapes that came."""
    problems = []
    for length in lengths:
        try:
            found = predict(np.zeros((batch_size, length, 4), dtype=np.float32))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            problems.append(f"{length} bp: {str(error).splitlines()[0]}")
            continue
        if isinstance(found, Mapping):
            return length, {head: tuple(values.shape) for head, values in found.items()}
        problems.append(f"{length} bp: gives no dict of heads")
    raise DatasetError(f"{path}: predict_on_batch takes no window ({'; '.join(problems)}); give another model")
