#!/bin/sh
# Builds the image's file tree without Docker and without its registry, and says how large it is:
#   sh benchmarks/image.sh FOLDER [DEVICES]        as root; FOLDER gets 20 GB; DEVICES as the Dockerfile has them
# The very Dockerfile, by buildah in a chroot, on Debian 12 with Debian's own CPython 3.11 in the place of the
# official image, and its health command as the image's user. Needs buildah and mmdebstrap (Debian's packages).
set -eu
cd "$(dirname "$0")/.."
folder=$(realpath "$1")
devices=${2:-cpu}
mkdir -p "$folder/tmp"
export TMPDIR="$folder/tmp"
buildah="buildah --root $folder/root --runroot $folder/run --storage-driver overlay"
base=localhost/python-slim

if [ ! -e "$folder/base.tar" ]; then
    mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,libpython3.11-dev,ca-certificates bookworm \
        "$folder/base.tar"
    container=$($buildah from scratch)
    $buildah add --quiet "$container" "$folder/base.tar" /
    $buildah commit --quiet --rm "$container" $base
fi
# pip's own settings, and the certificate that they name.
settings="--secret id=pip,src=$folder/pip.conf"
python3 -m pip config list | sed -n "s/^[a-z:]*[.]\(index-url\|cert\)='\(.*\)'\$/\1 = \2/p" |
    { echo "[global]"; sort --unique; } >"$folder/pip.conf"
certificate=$(sed -n 's/^cert = //p' "$folder/pip.conf" | tail -n 1)
[ -z "$certificate" ] || settings="$settings --volume $certificate:$certificate:ro"
# shellcheck disable=SC2086
$buildah bud --isolation chroot --layers=false --format docker --build-arg PYTHON_IMAGE=$base --build-arg DEVICES="$devices" $settings \
    --file kubeflow/Dockerfile --ignorefile kubeflow/Dockerfile.dockerignore --tag "enformer-keras:$devices" .

container=$($buildah from --pull-never "enformer-keras:$devices")
tree=$($buildah mount "$container")
(cd "$tree" && find . -xdev -type f -print0 | sort --zero-terminated | xargs --null sha256sum) >"$folder/files.sha256"
du --summarize --apparent-size --block-size=MB "$tree"
du --summarize --apparent-size --block-size=MB "$tree/app/.venv"
$buildah run --isolation chroot "$container" -- python kubeflow/health.py
$buildah umount "$container" >/dev/null
$buildah rm "$container" >/dev/null
