"""`enformer score` of a whole file of variants: how long, and how much of it is not the model's.

    .venv/bin/python benchmarks/whole_file.py runs/demo datasets/ecoli/ecoli_536.vcf.gz \
        --fasta data/ecoli/MG1655_U00096.fasta --share-windows 1024 --output FOLDER

Takes the options of `enformer score`. The model's time is that in which the process calls what is compiled or
waits for its numbers; what it does while the device computes costs nothing and is not counted either. The rest
is imports, opening the model, reading, laying out and encoding windows, and writing.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from enformer_command.main import main
from enformer_keras.prediction.compiled import Compiler

spent = 0.0


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose time is added up."""

    def run(*arguments: Any, **options: Any) -> Any:
        global spent
        begun = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent += time.perf_counter() - begun

    return run


if __name__ == "__main__":
    compile_function = Compiler.compile
    begun = time.perf_counter()
    try:
        with (
            mock.patch.object(Compiler, "compile", lambda *given: timed(compile_function(*given))),
            mock.patch.object(keras.ops, "convert_to_numpy", timed(keras.ops.convert_to_numpy)),
        ):
            main(["score", *sys.argv[1:]])
    finally:
        total = time.perf_counter() - begun
        print(json.dumps({"seconds": round(total, 1), "not the model's": round(1 - spent / total, 3)}))
