"""Puts another executor's Beam workers elsewhere: it runs on copies of its artifacts that they can reach."""

import argparse
import copy
import itertools
from collections.abc import Iterator
from typing import Any

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types.artifact import Artifact
from tfx.utils import import_utils

from components.handover.files import handed_over, rename_all

# Among Beam's flags, the only words for an executor that every orchestrator passes on.
_EXECUTOR = "--handover_executor"
_PLACE = "--handover_place"


def hand_over(component: BaseBeamComponent, place: str) -> None:
    """Lets a component's executor read and write copies of its artifacts.

    Args:
        component: its artifacts stay where they are.
        place: folder or URI that Beam's workers read and write under the same name.
    """
    spec = BeamExecutorSpec(HandingOver)
    spec.add_extra_flags(component.executor_spec.extra_flags)
    spec.add_beam_pipeline_args(component.executor_spec.beam_pipeline_args)
    spec.add_beam_pipeline_args([f"{_EXECUTOR}={component.executor_spec.class_path}", f"{_PLACE}={place}"])
    component.executor_spec = spec


class HandingOver(BaseBeamExecutor):
    """Runs the executor that its flags name.

    Args:
        context: of that executor, with the flags of `hand_over` among those of Beam.
    """

    def __init__(self, context: BaseBeamExecutor.Context) -> None:
        super().__init__()  # whatever Beam's flags do, they do in the other executor
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument(_EXECUTOR, dest="executor", required=True)
        parser.add_argument(_PLACE, dest="place", required=True)
        own, others = parser.parse_known_args(context.beam_pipeline_args)
        context = copy.copy(context)
        context.beam_pipeline_args = others
        self._place = own.place
        self._executor = import_utils.import_class_by_path(own.executor)(context)

    def Do(  # noqa: N802, TFX's name
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Hands the artifacts over, runs the executor, and takes back what it wrote.

        Args:
            input_dict: the executor's.
            output_dict: the executor's; nothing in it names the place afterwards.
            exec_properties: the executor's.
        """
        inputs, outputs = list(_all(input_dict)), list(_all(output_dict))
        read, written = ([artifact.uri for artifact in artifacts] for artifacts in (inputs, outputs))
        with handed_over(read, written, self._place) as folders:
            for artifact in (*inputs, *outputs):
                artifact.uri = folders[artifact.uri]
            try:
                self._executor.Do(input_dict, output_dict, exec_properties)
            finally:
                new = {folder: path for path, folder in folders.items()}
                # An executor that is a function leaves other artifacts there than it got.
                for artifact in (*_all(input_dict), *_all(output_dict)):
                    _rename(artifact, new)


def _all(artifacts: dict[str, list[Artifact]]) -> Iterator[Artifact]:
    return itertools.chain.from_iterable(artifacts.values())


def _rename(artifact: Artifact, new: dict[str, str]) -> None:
    artifact.uri = rename_all(artifact.uri, new)
    for properties in (artifact.mlmd_artifact.properties, artifact.mlmd_artifact.custom_properties):
        for value in properties.values():
            if value.WhichOneof("value") == "string_value":
                value.string_value = rename_all(value.string_value, new)
