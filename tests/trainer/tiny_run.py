"""`run_fn` on a real Transform graph: on this host alone, or as one of two on loopback."""

import json
import os
import resource
import socket
import subprocess
import sys
import types

from components.examples.account import write_accounts
from components.trainer.run_fn import run_fn
from pipeline.environment import show_progress
from tests.trainer import tiny_served

STEPS, PARTS, BATCH = 12, 3, 4
EXAMPLES = 7
# Bytes of a file: more than TensorFlow's temporary ones, which hold generated code, less than a checkpoint.
LIMIT = 32_768
# float32 would hide small errors behind rounding.
COMPARABLE = {"dtype": "float64"}


def write_inputs(folder):
    """What run_fn reads."""
    for split in ("train", "valid"):
        (folder / f"Split-{split}").mkdir()
        for head in tiny_served.HEADS:
            file = folder / f"Split-{split}" / f"{head}-00000-of-00001.gz"
            tiny_served.write_examples(file, EXAMPLES, head)
    write_accounts(str(folder), tiny_served.ACCOUNTS)
    tiny_served.transform_graph(folder / "transform")


def fn_args(inputs, folder, **training):
    model = {
        "channels": 24,
        "num_transformer_layers": 1,
        "num_heads": 1,
        "key_size": 4,
        "heads": tiny_served.HEADS,
        "sequence_length": tiny_served.WINDOW,
        "target_length": tiny_served.TARGET_LENGTH,
        "filters_divisible_by": 4,
        **COMPARABLE,
    }
    training = {
        "steps": STEPS,
        "epochs": PARTS,
        "batch_size": BATCH,
        "warm_up_steps": 2,
        "steps_per_execution": 2,
        "learning_rate": 1e-3,
        "clip_norm": 0.01,
        "seed": 3,
        **training,
    }
    return types.SimpleNamespace(
        train_files=[f"{inputs}/Split-train/*"],
        eval_files=[f"{inputs}/Split-valid/*"],
        transform_output=f"{inputs}/transform",
        serving_model_dir=f"{folder}/model",
        model_run_dir=f"{folder}/logs",
        data_accessor=print,  # TFX's holds functions too
        custom_config={
            **tiny_served.CONFIG,
            "model": model,
            "training": training,
            "warm_start": "",
            "pushed": f"{folder}/pushed",
            "checkpoints": f"{folder}/checkpoints",
        },
    )


def cluster_of_two():
    """TF_CONFIG of each, on ports that were free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        hosts = [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, other)]
    return [
        json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]


def run(inputs, folder, tf_config=""):
    """Calls run_fn, as the Trainer does, with `folder/log` as stdout and stderr."""
    os.environ["TF_CONFIG"] = tf_config
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    show_progress()
    run_fn(fn_args(inputs, folder))


def start_other_host(tf_config):
    """Starts the command of the hosts that are not the chief; here it cannot write a checkpoint or a model."""
    return subprocess.Popen(
        [sys.executable, "-m", "components.trainer.host"],
        env={**os.environ, "TF_CONFIG": tf_config},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )
