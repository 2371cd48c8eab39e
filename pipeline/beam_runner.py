"""Runs the pipeline on this machine as a Beam pipeline whose steps are the components.

As a file (`python pipeline/beam_runner.py`) or through `tfx pipeline create --engine=beam
--pipeline_path=pipeline/beam_runner.py` and `tfx run create --engine=beam --pipeline_name=enformer-ecoli`.
"""

import sys
from pathlib import Path

# A runner's own folder comes first on the path, where pipeline.py would hide the package it belongs to.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.startup import start_tensorflow  # noqa: E402

start_tensorflow()

from apache_beam.options.pipeline_options import StandardOptions  # noqa: E402
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner  # noqa: E402

from pipeline.environment import pipeline_from_environment  # noqa: E402

if __name__ == "__main__":
    # The pipeline of components runs in this process; Beam's default would fetch a runner binary first.
    StandardOptions.DEFAULT_RUNNER = "FnApiRunner"
    BeamDagRunner().run(pipeline_from_environment())
