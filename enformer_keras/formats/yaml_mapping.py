"""Reading of a YAML file that maps fields to values."""

from pathlib import Path
from typing import Any

from enformer_keras.extras import from_extra
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.text_file import read_text

with from_extra("genome"):
    import yaml


class _Loader(yaml.SafeLoader):
    """Refuses a field that is given twice, of which YAML's other loaders silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping",
                    node.start_mark,
                    f"field {key.value} is given twice",
                    key.start_mark,
                )
        return super().construct_mapping(node, deep)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file.

    Args:
        path: the file.

    Returns:
        Its fields.

    Raises:
        DatasetError: the file is missing, is not YAML, or is no mapping.
    """
    try:
        content = yaml.load(read_text(path), _Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: is not YAML; correct this: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: must be a YAML mapping of fields to values")
    return content
