"""GenomeExampleGen: the TFX component that turns a genome dataset into split examples."""

from pathlib import Path

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec

from components.examples.description import described_input
from components.genome_example_gen.executor import Executor
from enformer_keras import datasets, formats
from enformer_keras.datasets.description import load_descriptions


class GenomeExampleGen(FileBasedExampleGen):
    """Ingests a genome and its tracks, as described by a YAML file (`datasets.description.DatasetDescription`).

    A file of several organisms gives examples of all of them, told apart by the feature `organism`.

    Output `examples`: one split for each of the description's, gzipped TFRecords of the features that
    `examples.example.make_example` documents. Beside them `build.json` says what was left out
    (`examples.account.Account`).

    Args:
        description: path of the YAML file. Only the file itself is read here, so that a pipeline can be
            compiled where the data is not.
        data_fingerprint: `Dataset.fingerprint()` of the same dataset, or `dataset.fingerprint_of` several.

    Raises:
        DatasetError: the YAML file cannot be used.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, description: str | Path, data_fingerprint: str) -> None:
        path = Path(description)
        super().__init__(
            **described_input(
                path,
                load_descriptions(path)[0].splits.names,
                data_fingerprint=data_fingerprint,
                code=[
                    Path(__file__).parent,
                    *(Path(folder) for room in (datasets, formats) for folder in room.__path__),
                ],
            )
        )
