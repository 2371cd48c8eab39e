# Sourced by the scripts here, in the repository's root, with $task for messages: uv from setup/uv.lock.

say() { printf '%s\n' "$*" >&2; }
fail() { say "$task: $*"; exit 1; }

need_disk() { # folder, MB: room for a folder that is not there yet
    free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
    [ -d "$1" ] || [ "$free_mb" -ge "$2" ] || fail "$free_mb MB of disk are free in $(pwd), $2 MB are needed"
}

prepare_uv() { # python with pip: sets $uv, and the environment that it needs
    "$1" -m pip --version >/dev/null 2>&1 || fail "$1 has no pip; install it (Debian: python3-pip)"
    uv=.setup/uv/bin/uv
    if [ ! -x "$uv" ] || ! cmp -s setup/uv.lock .setup/uv.lock; then
        rm -rf .setup/uv && mkdir -p .setup
        "$1" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target .setup/uv \
            -r setup/uv.lock || fail "pip could not fetch uv: is the package index reachable from here?"
        cp setup/uv.lock .setup/uv.lock
    fi
    # uv reads no pip configuration: hand over the index, if one is set.
    index=$(pip_setting "$1" index-url)
    [ -z "$index" ] || [ -n "${UV_DEFAULT_INDEX:-}" ] || export UV_DEFAULT_INDEX="$index"
    certificates=$(pip_setting "$1" cert)
    [ -z "$certificates" ] || [ -n "${SSL_CERT_FILE:-}" ] || export SSL_CERT_FILE="$certificates"
    export UV_NO_CONFIG=1 UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}" UV_LINK_MODE="${UV_LINK_MODE:-copy}"
}

pip_setting() { "$1" -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*[.]$2='\(.*\)'\$/\1/p" | tail -n 1; }
