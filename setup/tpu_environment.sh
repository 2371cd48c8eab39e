#!/bin/sh
# Builds .venv-tpu: requirements.lock with TensorFlow's build for TPUs (setup/tpu.lock) in the place of its own, as
# `DEVICES=tpu` of kubeflow/Dockerfile does. After setup/environment.sh; run again, it does nothing until a lock, the
# stand-in packages or pyproject.toml change.
set -eu
cd "$(dirname "$0")/.."

task="make tpu-setup"
. setup/uv.sh

venv=.venv-tpu
stamp=$venv/.built-from
wanted=$(cat requirements.lock setup/tpu.lock setup/uv.lock setup/uv.sh setup/tpu_environment.sh pyproject.toml compat/*/pyproject.toml compat/*/*/*/*.py | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

need_disk "$venv" 6000
say "$task: building $venv from requirements.lock and setup/tpu.lock (about 3.9 GB)"
# Where uv's cache is on the same disk, what .venv was made of is there already, and stays there once.
UV_LINK_MODE="${UV_LINK_MODE:-hardlink}"
prepare_uv .venv/bin/python
rm -rf "$venv"
"$uv" venv --quiet --python .venv/bin/python "$venv" || fail "uv could not make $venv"
VIRTUAL_ENV="$(pwd)/$venv"
export VIRTUAL_ENV
install="$uv pip install --quiet --no-deps"
$install --require-hashes -r requirements.lock ||
    fail "the packages of requirements.lock could not be installed: see above; is the package index reachable?"
# Both builds are the folder tensorflow/: the one must be gone before the other comes.
"$uv" pip uninstall --quiet tensorflow && $install --require-hashes -r setup/tpu.lock ||
    fail "the packages of setup/tpu.lock could not be installed: see above; is the package index reachable?"
$install --no-build-isolation ./compat/tfx-bsl-sql-util --editable . ||
    fail "this project could not be installed into $venv: see above"
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || : # as setup/environment.sh does, and why
printf '%s\n' "$wanted" >"$stamp"
