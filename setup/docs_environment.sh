#!/bin/sh
# Builds .venv-docs from setup/docs.lock: what makes the site of docs/. After setup/environment.sh; run again, it does
# nothing until the lock changes.
set -eu
cd "$(dirname "$0")/.."

task="make docs"
. setup/uv.sh

stamp=.venv-docs/.built-from
wanted=$(cat setup/docs.lock setup/uv.lock setup/uv.sh setup/docs_environment.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv-docs/bin/python -c '' 2>/dev/null; then
    exit 0
fi
need_disk .venv-docs 300
say "$task: building .venv-docs from setup/docs.lock (about 100 MB)"
prepare_uv .venv/bin/python
rm -rf .venv-docs
"$uv" venv --quiet --python .venv/bin/python .venv-docs || fail "uv could not make .venv-docs"
VIRTUAL_ENV="$(pwd)/.venv-docs" "$uv" pip install --quiet --no-deps --require-hashes -r setup/docs.lock ||
    fail "the packages of setup/docs.lock could not be installed: see above; is the package index reachable?"
printf '%s\n' "$wanted" >"$stamp"
