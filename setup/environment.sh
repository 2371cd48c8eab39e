#!/bin/sh
# Builds .venv from requirements.lock. Needs CPython 3.11 with pip, and nothing else: uv, which is fast and
# makes virtual environments without the venv module, is itself a package. Run again, it does nothing until
# the lock or the stand-in packages change.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
fail() { say "make setup: $*"; exit 1; }

PYTHON=${PYTHON:-python3.11}
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
command -v "$PYTHON" >/dev/null 2>&1 || fail "no python3 on the PATH; install CPython 3.11"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$PYTHON is $("$PYTHON" -V), but TFX's set of packages works on CPython 3.11 only; set PYTHON=/path/to/python3.11"

stamp=.venv/.built-from
wanted=$(cat requirements.lock setup/uv.lock setup/environment.sh pyproject.toml compat/*/pyproject.toml compat/*/*/*/*.py | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

need_mb=5000
free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
[ -d .venv ] || [ "$free_mb" -ge "$need_mb" ] ||
    fail "$free_mb MB of disk are free in $(pwd), $need_mb MB are needed"

"$PYTHON" -m pip --version >/dev/null 2>&1 || fail "$PYTHON has no pip; install it (Debian: python3-pip)"
say "make setup: building .venv from requirements.lock (about 3.4 GB)"
uv=.setup/uv/bin/uv
if [ ! -x "$uv" ] || ! cmp -s setup/uv.lock .setup/uv.lock; then
    rm -rf .setup/uv && mkdir -p .setup
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target .setup/uv \
        -r setup/uv.lock || fail "pip could not fetch uv: is the package index reachable from here?"
    cp setup/uv.lock .setup/uv.lock
fi

# uv reads no pip configuration: hand over the index, if one is set.
setting() { "$PYTHON" -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*[.]$1='\(.*\)'\$/\1/p" | tail -n 1; }
index=$(setting index-url)
[ -z "$index" ] || [ -n "${UV_DEFAULT_INDEX:-}" ] || export UV_DEFAULT_INDEX="$index"
certificates=$(setting cert)
[ -z "$certificates" ] || [ -n "${SSL_CERT_FILE:-}" ] || export SSL_CERT_FILE="$certificates"
export UV_NO_CONFIG=1 UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}" UV_LINK_MODE="${UV_LINK_MODE:-copy}"

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
printf '%s\n' "$wanted" >"$stamp"
