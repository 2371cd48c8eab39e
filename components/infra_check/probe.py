"""Loads a SavedModel with TensorFlow alone and asks it what a server would ask.

A script of its own, run by `components.infra_check.component` in a new process: it imports neither Keras,
TFX nor this project, so a model that needs any of them at serving time is found out.

    python probe.py REPORT SAVED_MODEL EXAMPLE_FILE...

writes `{"problem": "" or the reason}` to REPORT as JSON.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

ENDPOINTS = ("serving_default", "transform_features", "predict_sequences", "predict_on_batch")


class ProbeError(Exception):
    """The model does not serve as it must; the message says why."""


def probe(saved_model: str, example_files: list[str]) -> None:
    """Checks a SavedModel against one real example.

    Args:
        saved_model: Folder of the SavedModel.
        example_files: TFRecord files (GZIP where the name ends in `.gz`) of `tf.train.Example`; the first
            record found is used.

    Raises:
        ProbeError: If an endpoint is missing; if an answer has values that are not finite or a shape other
            than [1, target_length, tracks], which must fit the example's target for one head; if
            `predict_sequences` differs from `serving_default` on the example's central window, or accepts a
            sequence of another length or with a letter that is no base.
    """
    model = tf.saved_model.load(saved_model)
    missing = [name for name in ENDPOINTS if name not in model.signatures]
    if missing:
        raise ProbeError(f"endpoints are missing: {missing}; the model has {sorted(model.signatures)}")

    record, sequence, target_values = _first_example(example_files)
    served = _answer(model, "serving_default", record)
    if target_values not in [values[0].size for values in served.values()]:
        shapes = {head: values.shape for head, values in served.items()}
        raise ProbeError(f"no head fits the example's target of {target_values} values: {shapes}")

    window = _window_length(model)
    start = (len(sequence) - window) // 2  # the rest is flanks, which training uses for shifts
    central = sequence[start : start + window]
    if len(central) != window:
        raise ProbeError(f"the example has {len(sequence)} bp, the model reads {window}")
    direct = _answer(model, "predict_sequences", central)
    for head, values in served.items():
        if head not in direct or not np.allclose(values, direct[head], rtol=1e-3, atol=1e-5):
            raise ProbeError(f"serving_default and predict_sequences differ for head {head!r}")

    for wrong, sequences in {
        "a sequence that is one base short": central[:-1],
        "a sequence that is one base long": central + b"A",
        "the letter X": central[: window // 2] + b"X" + central[window // 2 + 1 :],
    }.items():
        try:
            _answer(model, "predict_sequences", sequences)
        except tf.errors.InvalidArgumentError:
            continue
        raise ProbeError(f"predict_sequences accepts {wrong}")


def _first_example(files: list[str]) -> tuple[bytes, bytes, int]:
    """Returns a record, its sequence and the number of float16 values in its target."""
    for file in files:
        compression = "GZIP" if file.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(file, compression_type=compression).take(1):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            (sequence,), (target,) = (features[key].bytes_list.value for key in ("sequence", "target"))
            return record.numpy(), sequence, len(target) // 2
    raise ProbeError(f"no example in {files}")


def _window_length(model: tf.Module) -> int:
    """Returns the window's length in bp, from the one-hot input [B, L, 4] of `predict_on_batch`."""
    _, inputs = model.signatures["predict_on_batch"].structured_input_signature
    shapes = [spec.shape.as_list() for spec in inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 3 or not shapes[0][1]:
        raise ProbeError(f"predict_on_batch must declare one input [B, L, 4] of a fixed L, has {shapes}")
    return shapes[0][1]


def _answer(model: tf.Module, endpoint: str, value: bytes) -> dict[str, np.ndarray]:
    """Calls an endpoint on one string; returns finite arrays [1, target_length, tracks] by head."""
    signature = model.signatures[endpoint]
    (name,) = signature.structured_input_signature[1]
    answer = {head: values.numpy() for head, values in signature(**{name: tf.constant([value])}).items()}
    for head, values in answer.items():
        if values.dtype != np.float32 or values.ndim != 3 or values.shape[0] != 1:
            raise ProbeError(
                f"{endpoint}: head {head!r} is {values.dtype} {values.shape}, not float32 [1, T, C]"
            )
        if not np.isfinite(values).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise ProbeError(f"{endpoint}: head {head!r} has {bad} of {values.size} values that are not finite")
    return answer


def main(report: str, saved_model: str, *example_files: str) -> None:
    """Writes the outcome of `probe` to a file; any other exception ends the process with status 1."""
    try:
        probe(saved_model, list(example_files))
        problem = ""
    except ProbeError as error:
        problem = str(error)
    pathlib.Path(report).write_text(json.dumps({"problem": problem}))


if __name__ == "__main__":
    main(*sys.argv[1:])
