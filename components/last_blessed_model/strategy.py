"""`LastBlessedModelStrategy`: the newest model that was blessed, other than the one under judgement."""

import json
import logging
from typing import Any

import ml_metadata
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components.trainer.training import MODEL_CARD

_logger = logging.getLogger(__name__)

Artifacts = dict[str, list[types.Artifact]]


def shape_of(saved_model: str) -> Any:
    """Reads what models must have in common to be asked about the same examples.

    Args:
        saved_model: folder of the model.

    Returns:
        Any value that can be compared; `None` for a model without a card.
    """
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


def _shape(model: types.Artifact) -> Any:
    return shape_of(path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model)))


class LastBlessedModelStrategy(resolver.ResolverStrategy):
    """Picks the baseline of the Evaluator.

    TFX's own strategy takes the newest blessed model, so a second run with nothing changed would find the
    very model that it judges, and judge and push it again instead of using the cache. Nor could the Evaluator
    ask a model of other tracks about the examples of today.

    For a `Resolver` with the inputs `model` (all models), `model_blessing` (all blessings) and `candidate`
    (the model under judgement).
    """

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
        shapes = [_shape(model) for model in input_dict["candidate"]]
        newest = None
        for model in sorted(blessed, key=lambda model: model.id, reverse=True):
            if _shape(model) in shapes:
                newest = model
                break
            _logger.warning(
                "%s: a blessed model of other tracks or another window; it cannot judge these examples and is "
                "passed over",
                model.uri,
            )
        return {
            "model": [newest] if newest else [],
            "model_blessing": [blessings[newest.id]] if newest else [],
            "candidate": input_dict["candidate"],
        }
