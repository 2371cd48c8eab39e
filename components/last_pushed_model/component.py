"""`LastPushedModel`: the newest pushed model, other than the one under judgement.

It stands for `LastBlessedModelStrategy` where a component cannot ask ML Metadata, as on Kubeflow: what was
blessed and found servable lies where the Pusher put it.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import logging
import shutil
from pathlib import Path

from tfx import v1 as tfx
from tfx.utils import path_utils

from components.last_blessed_model.strategy import reason_against
from components.pusher.push import list_versions

# TensorFlow writes a random id into it at each save.
_IDENTITY = "fingerprint.pb"
# Custom property of an artifact that stands for none: a component on Kubeflow cannot give an empty list.
ABSENT = "absent"
_logger = logging.getLogger(__name__)


@tfx.dsl.components.component
def LastPushedModel(  # noqa: N802 (a component is named like a class)
    candidate: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    versions: tfx.dsl.components.Parameter[str],
    endpoint: tfx.dsl.components.Parameter[str] = "serving_default",
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Picks the baseline of the Evaluator among the versions that the Pusher keeps.

    As it has the candidate as input, a cache asks it once for each new model. A model of other tracks or
    another window cannot judge the same examples and is passed over, and so is one without the endpoint.

    Args:
        candidate: the model under judgement; its own pushed copy is no baseline for it.
        model: gets a copy of the newest other version; if there is none, the custom property `absent` is 1.
        versions: folder of the pushed versions; it need not exist yet.
        endpoint: at which the Evaluator asks the models.
        code_fingerprint: of the choice's code, so that the cache sees a change.
    """
    del code_fingerprint
    judged = Path(path_utils.serving_model_path(candidate.uri))
    folder = Path(versions)
    passed_over = False
    for version in reversed(list_versions(folder) if folder.is_dir() else []):
        if (version / _IDENTITY).read_bytes() == (judged / _IDENTITY).read_bytes():
            continue
        reason = reason_against(str(version), str(judged), endpoint)
        if not reason:
            _logger.info("%s is the last pushed model", version)
            shutil.copytree(version, path_utils.serving_model_path(model.uri), dirs_exist_ok=True)
            return
        _logger.warning("%s: a pushed model that is passed over as baseline: %s", version, reason)
        passed_over = True
    if passed_over:
        _logger.warning("there is no other pushed model to compare with: the thresholds alone decide")
    else:
        _logger.info("no other model was pushed to %s", versions)
    model.set_int_custom_property(ABSENT, 1)
