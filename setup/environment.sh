#!/bin/sh
# Builds .venv from requirements.lock. Needs CPython 3.11 with pip, and nothing else: uv, which is fast and
# makes virtual environments without the venv module, is itself a package. Run again, it does nothing until
# the lock or the stand-in packages change.
set -eu
cd "$(dirname "$0")/.."

task="make setup"
. setup/uv.sh

PYTHON=${PYTHON:-python3.11}
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
command -v "$PYTHON" >/dev/null 2>&1 || fail "no python3 on the PATH; install CPython 3.11"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$PYTHON is $("$PYTHON" -V), but TFX's set of packages works on CPython 3.11 only; set PYTHON=/path/to/python3.11"

stamp=.venv/.built-from
wanted=$(cat requirements.lock setup/uv.lock setup/uv.sh setup/environment.sh pyproject.toml compat/*/pyproject.toml compat/*/*/*/*.py | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

need_disk .venv 5000
say "make setup: building .venv from requirements.lock (about 3.4 GB)"
prepare_uv "$PYTHON"

# A virtual environment cannot be renamed into place; the stamp, written last, says that it is whole.
rm -f "$stamp"
"$uv" venv --quiet --allow-existing --python "$PYTHON" .venv || fail "uv could not make .venv"
VIRTUAL_ENV="$(pwd)/.venv"
export VIRTUAL_ENV
# --no-deps: the lock is complete, and two packages of it forbid in their metadata what works (pyproject.toml).
"$uv" pip install --quiet --no-deps --require-hashes -r requirements.lock ||
    fail "the packages of requirements.lock could not be installed: see above; is the package index reachable?"
"$uv" pip install --quiet --no-deps --no-build-isolation ./compat/tfx-bsl-sql-util --editable . ||
    fail "this project could not be installed into .venv: see above"
# Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of the dozens of processes that the tests start
# would else compile Keras or TFX anew, for 7 s and 19 s of CPU.
.venv/bin/python -m compileall -qq -j 0 .venv/lib || : # not all files of all packages are Python 3
printf '%s\n' "$wanted" >"$stamp"
