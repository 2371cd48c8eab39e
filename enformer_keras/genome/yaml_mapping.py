"""Reading of a YAML file that maps fields to values."""

from pathlib import Path
from typing import Any

import yaml

from enformer_keras.genome.errors import DatasetError


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
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; give the path of a description") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); give a readable YAML file") from error
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: is not YAML; correct this: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: must be a YAML mapping of fields to values")
    return content
