"""`LastBlessedModelStrategy`: the newest model that was blessed, other than the one under judgement."""

import ml_metadata
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver

Artifacts = dict[str, list[types.Artifact]]


class LastBlessedModelStrategy(resolver.ResolverStrategy):
    """Picks the baseline of the Evaluator.

    TFX's own strategy takes the newest blessed model, so a second run with nothing changed would find the
    very model that it judges, and judge and push it again instead of using the cache.

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
        newest = max(blessed, key=lambda model: model.id, default=None)
        return {
            "model": [newest] if newest else [],
            "model_blessing": [blessings[newest.id]] if newest else [],
            "candidate": input_dict["candidate"],
        }
