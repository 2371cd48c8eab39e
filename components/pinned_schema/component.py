"""`PinnedSchema`: the schema of the examples, as an artifact.

TFX's ImportSchemaGen is cached under the file's path, and would keep an old schema; an Importer needs a URI
that the orchestrator can read, which a file of this project is not on Kubeflow.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import v1 as tfx
from tfx.utils import io_utils

SCHEMA_FILE = "schema.pbtxt"


@tfx.dsl.components.component
def PinnedSchema(  # noqa: N802 (a component is named like a class)
    schema: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Schema],
    text: tfx.dsl.components.Parameter[str],
) -> None:
    """Writes the schema where ExampleValidator and Transform look for one.

    Args:
        schema: gets `schema.pbtxt`.
        text: the schema, in protobuf's text format.

    Raises:
        google.protobuf.text_format.ParseError: it is no schema; the message gives line and column.
    """
    text_format.Parse(text, schema_pb2.Schema())
    io_utils.write_string_file(f"{schema.uri}/{SCHEMA_FILE}", text)
