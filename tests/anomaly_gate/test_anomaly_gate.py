"""The schema against examples that are and are not as it says, through TFX's own components."""

import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from components.anomaly_gate.component import AnomalyGate
from components.examples.example import make_example
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.intervals import Interval
from pipeline.configs import Settings
from pipeline.pipeline import SCALARS


def write_examples(folder, target):
    window = Window(interval=Interval("chrom", 100, 108), target=Interval("chrom", 102, 106), split="train")
    example = make_example(
        organism="tiny", window=window, sequence=b"NACGTACGTN", flank_length=1, target=np.float16(target)
    )
    split = folder / "Split-train"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "examples.gz"), "GZIP") as writer:
        for _ in range(3):
            writer.write(example.SerializeToString())
    return str(folder)


def run(folder, target):
    import tensorflow_data_validation as tfdv

    schema_folder = Settings.__dataclass_fields__["schema"].default.parent
    examples = tfx.dsl.Importer(
        write_examples(folder / "examples", target),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train"]'},
    ).with_id("examples")
    schema = tfx.dsl.Importer(str(schema_folder), artifact_type=tfx.types.standard_artifacts.Schema).with_id(
        "schema"
    )
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["result"], stats_options=tfdv.StatsOptions(feature_allowlist=list(SCALARS))
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["result"]
    )
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="validate",
            pipeline_root=str(folder / "root"),
            components=[examples, schema, statistics, validator, gate],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
                str(folder / "metadata.sqlite")
            ),
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )


def test_good_examples_pass(tmp_path):
    run(tmp_path, [[0.5, 1.0]])


def test_negative_signal_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="split train, feature mean_signal: "):
        run(tmp_path, [[-0.5, -1.0]])
