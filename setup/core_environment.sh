#!/bin/sh
# Builds .venv-VERSION from setup/core.lock: the library on JAX, without TFX, for a CPython that TFX does not
# run on. Where this machine has no such Python there is no .venv-VERSION afterwards, and that is no error.
# After setup/environment.sh; run again, it does nothing until the lock changes.
set -eu
cd "$(dirname "$0")/.."

version=$1
task="setup/core_environment.sh $version"
. setup/uv.sh

venv=.venv-$version
stamp=$venv/.built-from
wanted=$(cat setup/core.lock setup/uv.lock setup/uv.sh setup/core_environment.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

prepare_uv .venv/bin/python
# A pyenv shim may be on the PATH and refuse to run: so pyenv's own folders too, and every candidate is tried.
# Builds without the GIL have another ABI, for which the lock has no wheels.
is_it="import sys; sys.exit(('cpython', '$version', '') != (
    sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.abiflags))"
found=
for candidate in "python$version" \
    "$("$uv" python find --quiet --offline --managed-python --no-python-downloads "$version" 2>/dev/null || :)" \
    "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/"python$version"; do
    if "$candidate" -c "$is_it" >/dev/null 2>&1; then
        found=$candidate
        break
    fi
done
rm -rf "$venv"
[ -n "$found" ] || exit 0

need_disk "$venv" 1000
say "$task: building $venv from setup/core.lock (about 600 MB)"
"$uv" venv --quiet --no-python-downloads --python "$found" "$venv" || fail "uv could not make $venv"
VIRTUAL_ENV="$(pwd)/$venv" "$uv" pip install --quiet --no-deps --require-hashes -r setup/core.lock ||
    fail "the packages of setup/core.lock could not be installed: see above; is the package index reachable?"
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || : # as setup/environment.sh does, and why
printf '%s\n' "$wanted" >"$stamp"
