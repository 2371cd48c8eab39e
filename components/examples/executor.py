"""What the executors of all ExampleGens share: where the examples go, and how they are written."""

import abc
from pathlib import Path
from typing import Any

import apache_beam as beam
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.artifact import Artifact

from components.examples.description import description_path
from components.examples.records import WriteRecords, split_pattern

# Split -> organism -> serialized `tf.train.Example`s.
Examples = dict[str, dict[str, beam.PCollection]]


class ExamplesExecutor(BaseExampleGenExecutor):
    """Builds the examples of the description named in `custom_config` and writes them by split.

    TFX's own `Do` hashes examples into splits and writes files that can only be read from their beginning.
    """

    @abc.abstractmethod
    def read_examples(self, description: Path, folder: str) -> beam.PTransform:
        """Checks the data and makes the steps that read it.

        Args:
            description: path of the YAML file.
            folder: of the artifact, where the account of the build goes.

        Returns:
            Pipeline -> `Examples`.

        Raises:
            DatasetError: the data cannot be used.
        """

    def GetInputSourceToExamplePTransform(self) -> None:  # noqa: N802, TFX's name
        """Not asked for: `read_examples` knows the splits itself."""

    def Do(  # noqa: N802, TFX's name
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the examples, and beside the folders of the splits the account of how they were built.

        Args:
            input_dict: empty.
            output_dict: `examples`, an artifact.
            exec_properties: `input_base` (folder) and `custom_config` (see `description.py`) are read.

        Raises:
            DatasetError: the data cannot be used.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        with self._make_beam_pipeline() as pipeline:
            read = self.read_examples(description_path(exec_properties), artifact.uri)
            splits = pipeline | "ReadExamples" >> read
            artifact.split_names = artifact_utils.encode_split_names(list(splits))
            # For TFX's components; those that do not look at it read every file (`evaluator.executor`).
            patterns = {split: split_pattern(f"Split-{split}") for split in splits}
            artifact.set_string_custom_property(
                *examples_utils.get_custom_split_patterns_key_and_property(patterns)
            )
            for split, organisms in splits.items():
                folder = artifact_utils.get_split_uri([artifact], split)
                # What a killed build left there would be read with what this one writes.
                if fileio.exists(folder):
                    fileio.rmtree(folder)
                for organism, examples in organisms.items():
                    _ = examples | f"Write {split} of {organism}" >> WriteRecords(folder, organism)
