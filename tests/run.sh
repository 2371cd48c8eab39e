#!/bin/sh
# All tests: the chain on TensorFlow, the library on each backend that is installed.
set -eu
cd "$(dirname "$0")/.."
export TF_CPP_MIN_LOG_LEVEL=2
# Much of the time goes to imports and compilation, each on one core. A file stays in one process.
PARALLEL="--numprocesses 2 --dist loadfile"

echo "== TensorFlow: everything"
KERAS_BACKEND=tensorflow .venv/bin/python -m pytest --quiet $PARALLEL tests
for backend in jax torch; do
    if .venv/bin/python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$backend') is None)"; then
        echo "== $backend: the library"
        KERAS_BACKEND=$backend .venv/bin/python -m pytest --quiet $PARALLEL tests/enformer_keras
    else
        echo "== $backend is not installed: its tests did not run"
    fi
done
