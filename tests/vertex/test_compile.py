"""The pipeline compiles for Vertex AI. It was never run there."""

import json
from pathlib import Path

from tfx import v1 as tfx

from pipeline.configs import small
from pipeline.pipeline import create_pipeline


def test_compiles(tmp_path):
    settings = small(run=Path("/gcs/bucket/run"))
    tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image="registry/enformer:1"),
        output_dir=str(tmp_path),
        output_filename="vertex.json",
    ).run(pipeline := create_pipeline(settings, "0" * 64))
    job = json.loads((tmp_path / "vertex.json").read_text())
    assert set(job["pipelineSpec"]["root"]["dag"]["tasks"]) == {node.id for node in pipeline.components}
    images = {
        each["container"]["image"] for each in job["pipelineSpec"]["deploymentSpec"]["executors"].values()
    }
    assert images == {"registry/enformer:1"}
