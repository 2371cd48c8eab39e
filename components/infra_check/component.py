"""`InfraCheck`: is the model servable at all?

TFX's own InfraValidator starts a model server in Docker or Kubernetes. This one needs neither: it loads the
SavedModel in a new process (`probe.py`) and hands the Pusher the same artifact.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.examples.records import split_pattern

_logger = logging.getLogger(__name__)

_PROBE = pathlib.Path(__file__).with_name("probe.py")
# How much of a crashed process's log the reason quotes, in characters.
_LOG_TAIL = 2000


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the probe came to.

    Attributes:
        problem: what is wrong with the model; empty if nothing is.
        seconds: that the process took; loading TensorFlow is among them.
        peak_memory_mb: the most memory that it held, in MB (2**20 bytes); 0 if it did not live to tell.
    """

    problem: str
    seconds: float
    peak_memory_mb: float = 0.0


def examine(
    saved_model: str,
    example_files: Sequence[str],
    time_limit_s: float,
    memory_limit_mb: float,
    tolerance: float,
) -> Finding:
    """Runs the probe in a process of its own.

    Args:
        saved_model: Folder of the SavedModel.
        example_files: TFRecord files of `tf.train.Example`.
        time_limit_s: Seconds after which the process is killed.
        memory_limit_mb: The most memory that it may have held, in MB (2**20 bytes).
        tolerance: See `probe.probe`.

    Returns:
        The finding.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        # -P: the script's folder is no place to import from. No GPU: the Trainer may still hold its memory.
        command = [sys.executable, "-P", str(_PROBE), str(report), str(tolerance), saved_model, *example_files]
        start = time.monotonic()
        try:
            process = subprocess.run(
                command,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=time_limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Finding(f"no answer within {time_limit_s:g} s", time.monotonic() - start)
        seconds = time.monotonic() - start
        if process.returncode != 0 or not report.exists():
            log = process.stdout[-_LOG_TAIL:].strip()
            return Finding(f"the process ended with status {process.returncode}: {log}", seconds)
        found = json.loads(report.read_text())
    peak = found["peak_memory_mb"]
    if not found["problem"] and peak > memory_limit_mb:
        return Finding(f"it took {peak:.0f} MB of memory, {memory_limit_mb:g} MB are allowed", seconds, peak)
    return Finding(found["problem"], seconds, peak)


@tfx.dsl.components.component
def InfraCheck(  # noqa: N802 (a component is named like a class)
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    time_limit_s: tfx.dsl.components.Parameter[int],
    memory_limit_mb: tfx.dsl.components.Parameter[int],
    tolerance: tfx.dsl.components.Parameter[float],
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Blesses a model that loads in a new process, answers as it must, and stays within time and memory.

    What is checked stands in `probe.probe`. A model that fails is not an error of the pipeline: the
    artifact says "not blessed", the Pusher heeds it, and the reason is logged, in the file
    `INFRA_NOT_BLESSED` and in the artifact's custom property `reason`.

    Args:
        model: The SavedModel to check, where TFX keeps the serving model.
        examples: Examples of any split; the first one is served.
        blessing: Written as TFX's InfraValidator does (`tfx/components/infra_validator/executor.py`): the
            custom property `blessed` is 1 or 0, and a file is named `INFRA_BLESSED` or `INFRA_NOT_BLESSED`.
            The custom properties `seconds` and `peak_memory_mb` are what the check took.
        time_limit_s: Seconds that the check may take, loading TensorFlow among them.
        memory_limit_mb: The most memory that the process may hold, in MB (2**20 bytes).
        tolerance: How far an answer may be from the Trainer's, for each track: the norm of the difference over
            the norm of the track.
        code_fingerprint: Any text that changes with the checks. TFX's cache sees parameters, not sources.
    """
    del code_fingerprint
    finding = examine(
        path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)),
        [
            file
            for split in artifact_utils.decode_split_names(examples.split_names)
            for file in sorted(fileio.glob(split_pattern(artifact_utils.get_split_uri([examples], split))))
        ],
        time_limit_s,
        memory_limit_mb,
        tolerance,
    )
    _logger.info("the model took %.0f s and %.0f MB to serve", finding.seconds, finding.peak_memory_mb)
    if finding.problem:
        _logger.error("model %s is not servable: %s", model.uri, finding.problem)
        blessing.set_string_custom_property("reason", finding.problem)
    blessing.set_int_custom_property("blessed", 0 if finding.problem else 1)
    blessing.set_float_custom_property("seconds", finding.seconds)
    blessing.set_float_custom_property("peak_memory_mb", finding.peak_memory_mb)
    verdict = "INFRA_NOT_BLESSED" if finding.problem else "INFRA_BLESSED"
    io_utils.write_string_file(f"{blessing.uri}/{verdict}", finding.problem)
