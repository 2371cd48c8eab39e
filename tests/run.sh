#!/bin/sh
# The tests: `quick` is what `make test` runs, `rest` all others, and `quick rest` everything. A group that fails or
# has no test fails the run, but only once the others have had their turn; the last line is the sum of all.
set -eu
cd "$(dirname "$0")/.."
for part in "$@"; do
    case $part in quick | rest) ;; *) echo "tests/run.sh: no part '$part'; give quick, rest or both" >&2 && exit 2 ;; esac
done
[ $# -gt 0 ] || { echo "tests/run.sh: say what to run: quick, rest or both" >&2 && exit 2; }

export TF_CPP_MIN_LOG_LEVEL=2
# What XLA has compiled for JAX is kept: a second run, and a second model of the same sizes, finds it there.
export JAX_COMPILATION_CACHE_DIR="$PWD/.pytest_cache/xla"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
reports=build/tests
rm -rf "$reports" && mkdir -p "$reports"
failed=

group() { # backend, python, title, arguments of pytest
    backend=$1 python=$2 title=$3
    shift 3
    echo "== $title"
    report=$reports/$(echo "$title" | tr -cs 'A-Za-z0-9.\n' -).xml
    # Much of the time goes to imports and tracing, each on one core. A file stays in one process, for what its
    # tests share; tests/conftest.py puts the longest files first.
    KERAS_BACKEND=$backend "$python" -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder \
        --junitxml="$report" "$@" || failed="$failed
    $title"
}

# On TensorFlow tests/conftest.py marks the library's tests as `full`, but for the golden ones.
library="tests/model tests/training tests/prediction tests/checkpoints"
# TFX holds .venv at Python 3.11; the library runs on later ones. Its core is enough to tell, and what XLA makes
# of it is tested above.
core="tests/training/test_augmentation.py tests/model/test_enformer.py tests/model/test_layers.py tests/training/test_schedules.py"

quick() {
    group tensorflow .venv/bin/python "TensorFlow: readers, golden data, components and the chain" -m "not full" tests
    group jax .venv/bin/python "JAX: the library" -m "not full" $library
}

rest() {
    group tensorflow .venv/bin/python "TensorFlow: the library, and what takes long" -m full tests
    group tensorflow .venv/bin/python "The pipeline as Kubeflow runs it, and on two hosts" \
        tests/kubeflow/proof.py tests/trainer/proof.py
    if [ -x .venv-tpu/bin/python ]; then
        group tensorflow .venv/bin/python "TensorFlow's build for TPUs, on its CPU" tests/tpu/proof.py
    else
        echo "== there is no .venv-tpu (make tpu-setup): its tests did not run"
    fi
    group jax .venv/bin/python "JAX: the library, what takes long" -m full $library
    if .venv/bin/python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"; then
        group torch .venv/bin/python "torch: the library" $library
    else
        echo "== torch is not installed: its tests did not run"
    fi
    for version in 3.12 3.13; do
        sh setup/core_environment.sh "$version"
        if [ -x ".venv-$version/bin/python" ]; then
            export JAX_DISABLE_MOST_OPTIMIZATIONS=1
            group jax ".venv-$version/bin/python" "Python $version, JAX: the library's core" --dist load $core
            unset JAX_DISABLE_MOST_OPTIMIZATIONS
        else
            echo "== no CPython $version was found: its tests did not run"
        fi
    done
}

for part in "$@"; do "$part"; done
[ -z "$failed" ] || echo "== failed:$failed"
.venv/bin/python tests/sum_reports.py "$reports"
[ -z "$failed" ]
