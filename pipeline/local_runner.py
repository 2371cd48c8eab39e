"""Runs the pipeline on this machine, component after component.

As a file (`python pipeline/local_runner.py`) or through `tfx pipeline create --engine=local
--pipeline_path=pipeline/local_runner.py` and `tfx run create --engine=local --pipeline_name=enformer-ecoli`.
"""

import sys
from pathlib import Path

# A runner's own folder comes first on the path, where pipeline.py would hide the package it belongs to.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.startup import start_tensorflow  # noqa: E402

start_tensorflow()

from tfx import v1 as tfx  # noqa: E402

from pipeline.environment import pipeline_from_environment  # noqa: E402

if __name__ == "__main__":
    tfx.orchestration.LocalDagRunner().run(pipeline_from_environment())
