"""`LastBlessedModelStrategy`: the newest model that was blessed, other than the one under judgement."""

import json
import logging
from typing import Any

import ml_metadata
from tensorflow.core.protobuf import saved_model_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components.trainer.training import MODEL_CARD

_logger = logging.getLogger(__name__)

Artifacts = dict[str, list[types.Artifact]]
# The endpoint that shows what Transform makes of an example.
_DECODE = "transform_features"


def reason_against(saved_model: str, candidate: str, endpoint: str) -> str:
    """Says why a model cannot be judged on the same examples as another, in the same way.

    The Evaluator asks both at one endpoint, and where one has none of that name it fails in the middle of its
    work. No cure would give an earlier model an endpoint; it is one that cannot judge, as one of other tracks.

    Args:
        saved_model: folder of the model.
        candidate: folder of the one under judgement.
        endpoint: name of a signature of both.

    Returns:
        What the model lacks; empty if it can be judged.
    """
    if _shape_of(saved_model) != _shape_of(candidate):
        return "it has other tracks or another window"
    endpoints, others = (_endpoints_of(model) for model in (saved_model, candidate))
    if endpoint not in endpoints:
        return f"it has no endpoint {endpoint}, at which models are judged now"
    # Examples come with their flanks, whose length each model's own decode asserts.
    if endpoints.get(_DECODE, {}).get("sequence") != others.get(_DECODE, {}).get("sequence"):
        return "it reads other flanks"
    return ""


def _endpoints_of(saved_model: str) -> dict[str, dict[str, Any]]:
    """Endpoint -> output -> its shape."""
    with fileio.open(f"{saved_model}/saved_model.pb", "rb") as content:
        graphs = saved_model_pb2.SavedModel.FromString(content.read()).meta_graphs
    return {
        name: {output: tensor.tensor_shape for output, tensor in signature.outputs.items()}
        for graph in graphs
        for name, signature in graph.signature_def.items()
    }


def _shape_of(saved_model: str) -> Any:
    """What models must have in common to be asked about the same examples; `None` for one without a card."""
    file = f"{saved_model}/{MODEL_CARD}"
    if not fileio.exists(file):
        return None
    with fileio.open(file) as content:
        card = json.load(content)
    tracks = {
        organism: [track["identifier"] for track in data["tracks"]]
        for organism, data in card["organisms"].items()
    }
    return card["window_length"], card["target_length"], card["bin_size"], tracks


def _folder(model: types.Artifact) -> str:
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


class LastBlessedModelStrategy(resolver.ResolverStrategy):
    """Picks the baseline of the Evaluator.

    TFX's own strategy takes the newest blessed model, so a second run with nothing changed would find the
    very model that it judges, and judge and push it again instead of using the cache. Nor could the Evaluator
    ask a model of other tracks about the examples of today, or one at an endpoint that it does not have.

    For a `Resolver` with the inputs `model` (all models), `model_blessing` (all blessings) and `candidate`
    (the model under judgement).

    Args:
        endpoint: at which the Evaluator asks the models.
    """

    def __init__(self, endpoint: str = "serving_default") -> None:
        self._endpoint = endpoint

    def resolve_artifacts(self, store: ml_metadata.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Chooses a model and its blessing.

        Args:
            store: not used, the inputs hold all that there is.
            input_dict: artifacts by input.

        Returns:
            `model` and `model_blessing` with one artifact each, or none where no other model was blessed;
            `candidate` as given.
        """
        candidates = {model.id for model in input_dict["candidate"]}
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in sorted(input_dict["model_blessing"], key=lambda blessing: blessing.id)
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
        }
        blessed = [model for model in input_dict["model"] if model.id in blessings.keys() - candidates]
        (candidate,) = input_dict["candidate"]
        newest = None
        for model in sorted(blessed, key=lambda model: model.id, reverse=True):
            reason = reason_against(_folder(model), _folder(candidate), self._endpoint)
            if not reason:
                newest = model
                break
            _logger.warning("%s: a blessed model that is passed over as baseline: %s", model.uri, reason)
        if blessed and newest is None:
            _logger.warning("there is no other blessed model to compare with: the thresholds alone decide")
        return {
            "model": [newest] if newest else [],
            "model_blessing": [blessings[newest.id]] if newest else [],
            "candidate": input_dict["candidate"],
        }
