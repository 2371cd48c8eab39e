"""Loads a SavedModel with TensorFlow alone and asks it what its users would ask.

A script of its own, run by `components.infra_check.component` in a new process: it imports neither Keras,
TFX nor this project, so a model that needs any of them at serving time is found out.

    python probe.py REPORT TOLERANCE SAVED_MODEL EXAMPLE_FILE...

writes `{"problem": "" or the reason, "peak_memory_mb": of this process}` to REPORT as JSON.
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

ENDPOINTS = (
    "serving_default",
    "serving_averaged",
    "transform_features",
    "predict_sequences",
    "predict_on_batch",
)
# What the Trainer wrote beside the model: windows, and what the trainable model predicts for them.
PREDICTIONS = pathlib.Path("assets.extra") / "predictions.npz"

Predictions = dict[str, np.ndarray]


class ProbeError(Exception):
    """The model does not serve as it must; the message says why."""


def probe(saved_model: str, example_files: list[str], tolerance: float) -> None:
    """Checks a SavedModel against one real example and against the Trainer's numbers.

    Args:
        saved_model: Folder of the SavedModel.
        example_files: TFRecord files (GZIP where the name ends in `.gz`) of `tf.train.Example`; the first
            record found is used.
        tolerance: How far an answer may be from the Trainer's, for each track: the norm of the difference over
            the norm of the track.

    Raises:
        ProbeError: If the Trainer's predictions or an endpoint are missing; if an answer has values that are
            not finite, another shape than [1, target_length, tracks], or differs from the Trainer's by more
            than the tolerance; if no head fits the example's target; if `serving_default` differs from
            `predict_sequences` on the example's central window; if a sequence of another length or with a
            letter that is no base, or a track that is not there, is accepted.
    """
    sequences, known = _read_predictions(saved_model)
    model = tf.saved_model.load(saved_model)
    endpoints = (*ENDPOINTS, *(f"predict_tracks_{head}" for head in known))
    missing = [name for name in endpoints if name not in model.signatures]
    if missing:
        raise ProbeError(f"endpoints are missing: {missing}; the model has {sorted(model.signatures)}")
    published = getattr(getattr(model, "model", None), "predict_on_batch", None)
    if published is None:
        raise ProbeError("model.predict_on_batch is missing, which users of the published model call")

    def predict_sequence(sequence: bytes) -> Predictions:
        return _answer("predict_sequences", model.signatures["predict_sequences"], sequences=[sequence])

    for index, sequence in enumerate(sequences):
        expected = {head: values[index : index + 1] for head, values in known.items()}
        _compare("predict_sequences", predict_sequence(sequence), expected, tolerance)
    _check_one_hot(model, published, sequence, expected, tolerance)
    _check_tracks(model, sequence, expected, tolerance)
    _check_example(model, predict_sequence, _first_example(example_files), len(sequence))

    for wrong, given in {
        "a sequence that is one base short": sequence[:-1],
        "a sequence that is one base long": sequence + b"A",
        "the letter X": sequence[:-1] + b"X",
    }.items():
        _must_refuse(f"predict_sequences accepts {wrong}", predict_sequence, given)


def _check_one_hot(
    model: Any, published: Callable[..., Any], sequence: bytes, expected: Predictions, tolerance: float
) -> None:
    """`predict_on_batch` as an endpoint, and as users of the published model call it."""
    window = _one_hot(sequence)
    flank = np.zeros_like(window[:, : len(sequence) // 2])
    for what, endpoint, one_hot in (
        ("predict_on_batch", model.signatures["predict_on_batch"], window),
        ("model.predict_on_batch", published, window),
        (
            "model.predict_on_batch on twice the window",
            published,
            np.concatenate([flank, window, flank], axis=1),
        ),
    ):
        _compare(what, _answer(what, endpoint, one_hot=one_hot), expected, tolerance)
    _must_refuse(
        "model.predict_on_batch accepts one base less than its window", lambda: published(window[:, :-1])
    )


def _check_tracks(model: Any, sequence: bytes, expected: Predictions, tolerance: float) -> None:
    """`predict_tracks_<head>` of every head, on its last and first track."""
    for head, values in expected.items():
        what = f"predict_tracks_{head}"
        count = values.shape[-1]

        def predict(*tracks: int, what: str = what) -> Predictions:
            return _answer(
                what, model.signatures[what], sequences=[sequence], tracks=np.array(tracks, np.int32)
            )

        _compare(what, predict(count - 1, 0), {head: values[..., [count - 1, 0]]}, tolerance)
        for wrong in (count, -1):
            _must_refuse(f"{what} accepts track {wrong} of {count}", predict, wrong)


def _check_example(
    model: Any, predict_sequence: Callable[[bytes], Predictions], example: bytes, window: int
) -> None:
    """The endpoints for examples on one of them, whose window must give what its bases give."""
    features = tf.train.Example.FromString(example).features.feature
    (sequence,), (target,) = (features[key].bytes_list.value for key in ("sequence", "target"))
    if len(sequence) < window:
        raise ProbeError(f"the example has {len(sequence)} bp, the model reads {window}")
    served = _answer("serving_default", model.signatures["serving_default"], examples=[example])
    target_values = len(target) // 2  # float16
    if target_values not in [values[0].size for values in served.values()]:
        shapes = {head: values.shape for head, values in served.items()}
        raise ProbeError(f"no head fits the example's target of {target_values} values: {shapes}")
    averaged = _answer("serving_averaged", model.signatures["serving_averaged"], examples=[example])
    both = [{head: values.shape for head, values in answer.items()} for answer in (served, averaged)]
    if both[0] != both[1]:
        raise ProbeError(f"serving_default gives {both[0]}, serving_averaged {both[1]}")
    transformed = model.signatures["transform_features"](examples=tf.constant([example]))
    if not np.array_equal(transformed["sequence"], _one_hot(sequence)):
        raise ProbeError("transform_features gives another sequence than the example's")
    start = (len(sequence) - window) // 2  # the rest is flanks, which training uses for shifts
    for head, values in predict_sequence(sequence[start : start + window]).items():
        if not np.allclose(values, served[head], rtol=1e-3, atol=1e-5):
            raise ProbeError(f"serving_default and predict_sequences differ for head {head!r}")


def _read_predictions(saved_model: str) -> tuple[list[bytes], Predictions]:
    """Returns windows, and head -> what the trainable model predicts, [windows, target_length, tracks]."""
    file = pathlib.Path(saved_model) / PREDICTIONS
    if not file.exists():
        raise ProbeError(f"{PREDICTIONS} is missing, which the Trainer writes")
    with np.load(file) as stored:
        heads = {name.removeprefix("head_"): stored[name] for name in stored if name.startswith("head_")}
        return list(stored["sequences"]), heads


def _first_example(files: list[str]) -> bytes:
    for file in files:
        compression = "GZIP" if file.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(file, compression_type=compression).take(1):
            return record.numpy()
    raise ProbeError(f"no example in {files}")


def _one_hot(sequence: bytes) -> np.ndarray:
    """[1, letters, 4] in the order A, C, G, T; what is none of them is zeros."""
    letters = np.frombuffer(sequence.upper(), np.uint8)
    return (letters[:, None] == np.frombuffer(b"ACGT", np.uint8)).astype(np.float32)[None]


def _answer(what: str, endpoint: Callable[..., Any], **arguments: Any) -> Predictions:
    """Calls an endpoint on one window; returns finite arrays [1, target_length, tracks] by head."""
    answer = endpoint(**{name: tf.constant(value) for name, value in arguments.items()})
    answer = {head: values.numpy() for head, values in answer.items()}
    for head, values in answer.items():
        if values.dtype != np.float32 or values.ndim != 3 or values.shape[0] != 1:
            raise ProbeError(f"{what}: head {head!r} is {values.dtype} {values.shape}, not float32 [1, T, C]")
        if not np.isfinite(values).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise ProbeError(f"{what}: head {head!r} has {bad} of {values.size} values that are not finite")
    return answer


def _compare(what: str, answer: Predictions, expected: Predictions, tolerance: float) -> None:
    shapes = {head: values.shape for head, values in answer.items()}
    wanted = {head: values.shape for head, values in expected.items()}
    if shapes != wanted:
        raise ProbeError(f"{what} gives {shapes}, the trainable model {wanted}")
    for head, values in expected.items():
        difference = np.sqrt(np.sum((answer[head] - values) ** 2, axis=(0, 1)))
        size = np.sqrt(np.sum(values**2, axis=(0, 1)))
        wrong = np.flatnonzero(~(difference <= tolerance * size))
        if len(wrong):
            track = wrong[np.argmax(difference[wrong])]
            raise ProbeError(
                f"{what}: {len(wrong)} of {len(size)} tracks of head {head!r} are not the Trainer's within "
                f"{tolerance:g} of their norm; track {track} of norm {size[track]:.3g} is off by "
                f"{difference[track]:.3g}"
            )


def _must_refuse(problem: str, call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except tf.errors.InvalidArgumentError:
        return
    raise ProbeError(problem)


def _peak_memory_mb() -> float:
    """The most memory that this process held, in MB (2**20 bytes)."""
    # Not resource.getrusage, whose maximum begins with that of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def main(report: str, tolerance: str, saved_model: str, *example_files: str) -> None:
    """Writes the outcome of `probe` to a file; any other exception ends the process with status 1."""
    try:
        probe(saved_model, list(example_files), float(tolerance))
        problem = ""
    except ProbeError as error:
        problem = str(error)
    found = {"problem": problem, "peak_memory_mb": _peak_memory_mb()}
    pathlib.Path(report).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
