"""The schema as an artifact."""

import pytest
from google.protobuf import text_format
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.pinned_schema import component
from pipeline.configs import Settings

TEXT = Settings.__dataclass_fields__["schema"].default.read_text()


def write(folder, text):
    schema = standard_artifacts.Schema()
    schema.uri = str(folder)
    component.PinnedSchema_Executor().Do({}, {"schema": [schema]}, {"text": text})


def test_it_lies_where_tfx_reads_it(tmp_path):
    write(tmp_path, TEXT)
    read = io_utils.SchemaReader().read(str(tmp_path / component.SCHEMA_FILE))
    assert "sequence" in [feature.name for feature in read.feature]


def test_what_is_no_schema_is_refused(tmp_path):
    with pytest.raises(text_format.ParseError, match=r"1:1 .*features"):
        write(tmp_path, "features {}")
    assert not list(tmp_path.iterdir())
