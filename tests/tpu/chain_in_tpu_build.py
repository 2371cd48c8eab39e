"""Run by `.venv-tpu` as a program: the tiny pipeline of tests/pipeline, in the folder that it is given.

What the pushed model answers there goes to `answers.npz`, what else is asked about the run to `told.json`.
"""

import dataclasses
import json
import sys
from pathlib import Path

from components.startup import start_tensorflow

start_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from pipeline.environment import show_progress  # noqa: E402
from tests.pipeline.conftest import Chain  # noqa: E402
from tests.tpu.asking import ask  # noqa: E402


def main(folder):
    show_progress()
    chain = Chain(folder)
    # As the pipeline's own settings ask for XLA, which this build cannot give a CPU.
    training = dataclasses.replace(chain.settings.training, jit_compile=True)
    executed = chain.run(training=training)
    outcome = chain.outcome()
    told = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "executed": sorted(executed),
        "blessed": outcome.blessed,
        "servable": outcome.servable,
        "reason": outcome.reason,
        "pushed": str(outcome.pushed),
    }
    (folder / "told.json").write_text(json.dumps(told))
    np.savez(folder / "answers.npz", **ask(outcome.pushed, chain.settings.dataset.parent))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
