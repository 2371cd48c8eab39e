"""`InfraCheck`: is the model servable at all?

TFX's own InfraValidator starts a model server in Docker or Kubernetes. This one needs neither: it loads the
SavedModel in a new process (`probe.py`) and hands the Pusher the same artifact.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

_logger = logging.getLogger(__name__)

_PROBE = pathlib.Path(__file__).with_name("probe.py")
# How much of a crashed process's log the reason quotes, in characters.
_LOG_TAIL = 2000


def find_problem(saved_model: str, example_files: Sequence[str], time_limit_s: float) -> str:
    """Runs the probe in a process of its own.

    Args:
        saved_model: Folder of the SavedModel.
        example_files: TFRecord files of `tf.train.Example`.
        time_limit_s: Seconds after which the process is killed; loading TensorFlow is among them.

    Returns:
        What is wrong with the model, or an empty string.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        # -P: the script's folder is no place to import from. No GPU: the Trainer may still hold its memory.
        command = [sys.executable, "-P", str(_PROBE), str(report), saved_model, *example_files]
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
            return f"no answer within {time_limit_s:g} s"
        if process.returncode != 0 or not report.exists():
            log = process.stdout[-_LOG_TAIL:].strip()
            return f"the process ended with status {process.returncode}: {log}"
        return json.loads(report.read_text())["problem"]


@tfx.dsl.components.component
def InfraCheck(  # noqa: N802 (a component is named like a class)
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    time_limit_s: tfx.dsl.components.Parameter[int] = 600,
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Blesses a model that loads in a new process and answers one real example as it must.

    What is checked stands in `probe.probe`. A model that fails is not an error of the pipeline: the
    artifact says "not blessed", the Pusher heeds it, and the reason is logged, in the file
    `INFRA_NOT_BLESSED` and in the artifact's custom property `reason`.

    Args:
        model: The SavedModel to check, where TFX keeps the serving model.
        examples: Examples of any split; the first one is served.
        blessing: Written as TFX's InfraValidator does (`tfx/components/infra_validator/executor.py`): the
            custom property `blessed` is 1 or 0, and a file is named `INFRA_BLESSED` or `INFRA_NOT_BLESSED`.
        time_limit_s: Seconds that the check may take.
        code_fingerprint: Any text that changes with the checks. TFX's cache sees parameters, not sources.
    """
    del code_fingerprint
    problem = find_problem(
        path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)),
        [
            file
            for split in artifact_utils.decode_split_names(examples.split_names)
            for file in sorted(
                fileio.glob(io_utils.all_files_pattern(artifact_utils.get_split_uri([examples], split)))
            )
        ],
        time_limit_s,
    )
    if problem:
        _logger.error("model %s is not servable: %s", model.uri, problem)
        blessing.set_string_custom_property("reason", problem)
    blessing.set_int_custom_property("blessed", 0 if problem else 1)
    verdict = "INFRA_NOT_BLESSED" if problem else "INFRA_BLESSED"
    io_utils.write_string_file(f"{blessing.uri}/{verdict}", problem)
