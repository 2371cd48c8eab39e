"""BasenjiExampleGen: the TFX component that turns Basenji folders into split examples."""

from pathlib import Path

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec

from components.basenji_example_gen.description import load_basenji_description
from components.basenji_example_gen.executor import Executor
from components.examples.description import described_input
from enformer_keras import datasets, formats


class BasenjiExampleGen(FileBasedExampleGen):
    """Ingests the Basenji folders of one organism or several, as described by a YAML file.

    Output `examples`: the splits of the description (`description.BasenjiDescription`), gzipped TFRecords of
    the features of GenomeExampleGen (`examples.example.make_example`): what follows is the same.
    Examples of several organisms lie in the same splits, in files of their own. Beside the
    examples `build.json` says what was written (`examples.account.Account`).

    Args:
        description: path of the YAML file. Only the file itself is read here, so that a pipeline can be
            compiled where the data is not.
        data_fingerprint: `description.basenji_fingerprint` of the same file.

    Raises:
        DatasetError: the YAML file cannot be used.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, description: str | Path, data_fingerprint: str) -> None:
        path = Path(description)
        super().__init__(
            **described_input(
                path,
                load_basenji_description(path).splits,
                data_fingerprint=data_fingerprint,
                code=[
                    Path(__file__).parent,
                    *(Path(folder) for room in (datasets, formats) for folder in room.__path__),
                ],
            )
        )
