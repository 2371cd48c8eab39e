"""GenomeExampleGen: the TFX component that turns a genome dataset into split examples."""

from pathlib import Path

from google.protobuf import struct_pb2
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.fingerprint import code_fingerprint
from components.genome_example_gen.executor import Executor
from enformer_keras import genome
from enformer_keras.genome.description import load_descriptions


class GenomeExampleGen(FileBasedExampleGen):
    """Ingests a genome and its tracks, as described by a YAML file (`description.DatasetDescription`).

    A file of several organisms gives examples of all of them, told apart by the feature `organism`.

    Output `examples`: one split for each of the description's, gzipped TFRecords of the features that
    `example.make_example` documents. Beside them `build.json` says what was left out (`account.Account`).

    TFX's own fingerprint of the input sees size and time of the YAML file alone. So the data's and the
    code's are part of `custom_config`, and with it of the cache key: changed data or code run anew.

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
        options = struct_pb2.Struct()
        options.update(
            {
                "description": path.name,
                "data_fingerprint": data_fingerprint,
                "code_fingerprint": code_fingerprint(Path(__file__).parent, Path(genome.__file__).parent),
            }
        )
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(options)
        # The executor makes the splits; TFX takes their names from here and wants a bucket count above 0.
        splits = [
            example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=1)
            for name in load_descriptions(path)[0].splits.names
        ]
        super().__init__(
            input_base=str(path.parent),
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name="description", pattern=path.name)]
            ),
            output_config=example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits)),
            custom_config=custom_config,
        )
