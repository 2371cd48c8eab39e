"""`AnomalyGate`: bad data ends the run before training, not after it.

TFX's ExampleValidator writes down what it finds and lets the pipeline go on.
"""

# No `from __future__ import annotations`: TFX reads the component's annotations as objects.
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.types import artifact_utils


class AnomalyError(ValueError):
    """The examples are not as the schema says."""


def describe_anomalies(file: Path, split: str) -> list[str]:
    """Reads what ExampleValidator wrote for a split.

    Args:
        file: the serialized `tensorflow_metadata.proto.v0.Anomalies`.
        split: name of the split.

    Returns:
        A line for each anomaly: split, feature, what is wrong.
    """
    anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
    lines = [
        f"split {split}, feature {feature}: {info.description}"
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    return lines


@tfx.dsl.components.component
def AnomalyGate(  # noqa: N802 (a component is named like a class)
    anomalies: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ExampleAnomalies],
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Fails if ExampleValidator found anything in any split.

    Args:
        anomalies: ExampleValidator's output.
        code_fingerprint: of the gate's code, so that the cache sees a change.

    Raises:
        AnomalyError: lists all anomalies.
    """
    del code_fingerprint
    lines = [
        line
        for split in artifact_utils.decode_split_names(anomalies.split_names)
        for line in describe_anomalies(Path(anomalies.uri) / f"Split-{split}" / "SchemaDiff.pb", split)
    ]
    if lines:
        raise AnomalyError(
            "the examples are not as the schema says; correct the data, or the schema if the data is "
            "right:\n  " + "\n  ".join(lines)
        )
