#!/bin/sh
# All tests: the chain on TensorFlow, the library on each backend that is installed, its core on later Pythons.
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
        KERAS_BACKEND=$backend .venv/bin/python -m pytest --quiet $PARALLEL tests/model tests/training
    else
        echo "== $backend is not installed: its tests did not run"
    fi
done
# TFX holds .venv at Python 3.11; the library runs on later ones. Its core is enough to tell, and what XLA makes
# of it is tested above.
core="tests/training/test_augmentation.py tests/model/test_enformer.py tests/model/test_layers.py tests/training/test_schedules.py"
for version in 3.12 3.13; do
    sh setup/core_environment.sh "$version"
    if [ -x ".venv-$version/bin/python" ]; then
        echo "== Python $version, jax: the library's core"
        KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
            ".venv-$version/bin/python" -m pytest --quiet $PARALLEL --dist load $core
    else
        echo "== no CPython $version was found: its tests did not run"
    fi
done
