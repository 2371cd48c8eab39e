"""How an ExampleGen learns of its YAML description: packed by the component, read by the executor."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from components.fingerprint import code_fingerprint


def described_input(
    description: Path, splits: Iterable[str], *, data_fingerprint: str, code: Iterable[Path]
) -> dict[str, Any]:
    """Makes the arguments of TFX's FileBasedExampleGen.

    TFX's own fingerprint of the input sees size and time of the YAML file alone. So the data's and the
    code's are part of `custom_config`, and with it of the cache key: changed data or code run anew.

    Args:
        description: path of the YAML file.
        splits: names of the splits that the executor makes.
        data_fingerprint: of all files that the description names.
        code: folders of the code that reads them.

    Returns:
        `input_base`, `input_config`, `output_config` and `custom_config`.
    """
    options = struct_pb2.Struct()
    options.update(
        {
            "description": description.name,
            "data_fingerprint": data_fingerprint,
            "code_fingerprint": code_fingerprint(*code, Path(__file__).parent),
        }
    )
    custom_config = example_gen_pb2.CustomConfig()
    custom_config.custom_config.Pack(options)
    # The executor makes the splits; TFX takes their names from here and wants a bucket count above 0.
    output = example_gen_pb2.SplitConfig(
        splits=[example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=1) for name in splits]
    )
    return {
        "input_base": str(description.parent),
        "input_config": example_gen_pb2.Input(
            splits=[example_gen_pb2.Input.Split(name="description", pattern=description.name)]
        ),
        "output_config": example_gen_pb2.Output(split_config=output),
        "custom_config": custom_config,
    }


def description_path(exec_properties: dict[str, Any]) -> Path:
    """Finds the YAML file.

    Args:
        exec_properties: of an executor whose component was made with `described_input`.

    Returns:
        Its path.
    """
    custom_config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], custom_config)
    options = struct_pb2.Struct()
    custom_config.custom_config.Unpack(options)
    return Path(exec_properties[standard_component_specs.INPUT_BASE_KEY]) / options["description"]
