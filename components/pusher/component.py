"""`Pusher`: a model that passed its judges becomes the newest version of those that are served.

TFX's own Pusher names a version by the second, so that two of one second are one; copies into a folder that
readers see already; and never removes a version. This one hands on the same artifact.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
import logging
from pathlib import Path

from tfx import v1 as tfx
from tfx.components.util import model_utils
from tfx.utils import path_utils

from components.pusher.push import push

_logger = logging.getLogger(__name__)


@tfx.dsl.components.component
def Pusher(  # noqa: N802 (a component is named like a class)
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    infra_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    pushed_model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.PushedModel],
    destination: tfx.dsl.components.Parameter[str],
    keep_versions: tfx.dsl.components.Parameter[int],
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Pushes a model that has both blessings; else does nothing.

    Args:
        model: The model to push, where TFX keeps the serving model.
        model_blessing: The Evaluator's verdict.
        infra_blessing: The infra check's verdict.
        pushed_model: As TFX's Pusher writes it: the custom property `pushed` is 1 or 0; if 1,
            `pushed_destination` is the folder of the version and `pushed_version` its name. The artifact's own
            folder stays empty: TFX's Pusher puts a second copy of the model there.
        destination: Folder of the versions.
        keep_versions: How many of the newest stay.
        code_fingerprint: Any text that changes with the push. TFX's cache sees parameters, not sources.
    """
    del code_fingerprint
    verdicts = {
        "Evaluator": model_utils.is_model_blessed(model_blessing),
        "infra check": model_utils.is_infra_validated(infra_blessing),
    }
    refused = [judge for judge, blessed in verdicts.items() if not blessed]
    pushed_model.set_int_custom_property("pushed", 0 if refused else 1)
    if refused:
        _logger.warning("not pushed: not blessed by %s", " and ".join(refused))
        return
    saved_model = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    version = push(Path(saved_model), Path(destination), keep_versions)
    pushed_model.set_string_custom_property("pushed_destination", str(version))
    pushed_model.set_string_custom_property("pushed_version", version.name)
    _logger.info("pushed as %s", version)
