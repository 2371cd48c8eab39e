"""Parts on Beam: with numbers alone, on every way to run Beam that is at hand."""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.io import filesystem
from apache_beam.testing.util import assert_that

from enformer_keras.formats.errors import DatasetError
from enformer_keras.prediction import beam as on_beam
from enformer_keras.prediction.beam import Parts, _cause_of, _wait_for, check_flags, work_on_beam
from enformer_keras.prediction.handover import moved
from enformer_keras.prediction.parts import PartsFolder, work
from tests.beam_services import job_service, workers_in
from tests.kubeflow.beam_prism import prism

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
NUM_PARTS = 12


@dataclasses.dataclass
class Squares:
    """Multiplies numbers in a file; each process that opens it adds a line to a file beside it."""

    numbers: Path
    seen: str
    fault: int = -1
    question: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"what": "squares"})
    num_parts: int = NUM_PARTS

    @contextlib.contextmanager
    def open(self):
        with Path(self.seen).open("a") as file:
            file.write(f"{os.getpid()}\n")
        self.values = np.loadtxt(self.numbers)
        yield self

    def part(self, index):
        if index == self.fault:
            raise ValueError(f"{self.numbers.name}: line {index + 1} is odd")
        return {"squares": self.values[index : index + 1] ** 2, "name": np.array(f"part {index}")}


@pytest.fixture
def job(tmp_path):
    np.savetxt(tmp_path / "numbers.txt", np.arange(NUM_PARTS))
    return Squares(tmp_path / "numbers.txt", str(tmp_path / "seen"))


def folder_of(job, path):
    return PartsFolder(path, job.question, job.num_parts)


def check(parts):
    for index in range(NUM_PARTS):
        arrays = parts.read(index)
        assert arrays["squares"].tolist() == [index**2]
        assert str(arrays["name"]) == f"part {index}"


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_one_process_does_what_is_missing_and_opens_the_job_once(job, tmp_path):
    one, other = (folder_of(job, tmp_path / name) for name in ("one", "other"))
    assert list(work(job, one)) == list(range(NUM_PARTS))
    for index in (0, 5):
        other.write(index, one.read(index))
    flags = ("--direct_running_mode=multi_threading", "--direct_num_workers=3")
    found = list(work_on_beam(job, other, flags))
    assert sorted(found) == [index for index in range(NUM_PARTS) if index not in (0, 5)]
    check(other)
    assert names(tmp_path / "other") == names(tmp_path / "one")
    assert Path(job.seen).read_text() == f"{os.getpid()}\n" * 2  # `work`, and Beam's three threads
    assert list(work_on_beam(job, other)) == []


def test_one_of_several_machines_does_its_parts(job, tmp_path):
    parts = folder_of(job, tmp_path / "parts")
    assert sorted(work_on_beam(job, parts, shard=(2, 3))) == [1, 4, 7, 10]


def test_in_a_pipeline_of_ones_own(job):
    def right(found):
        assert sorted(found) == [(index, [index**2]) for index in (3, 4, 9)]

    with beam.Pipeline(options=check_flags(())) as pipeline:
        parts = pipeline | beam.Create([3, 4, 9]) | Parts(job)
        assert_that(parts | beam.MapTuple(lambda index, arrays: (index, arrays["squares"].tolist())), right)


def test_a_worker_that_fails_is_told_with_its_part_and_others_stay(job, tmp_path):
    parts = folder_of(job, tmp_path / "parts")
    with pytest.raises(DatasetError, match=r"^part 7: numbers.txt: line 8 is odd$"):
        list(work_on_beam(dataclasses.replace(job, fault=7), parts))
    assert 7 in parts.missing()
    assert [name for name in names(tmp_path / "parts") if name.startswith((".partial", "asked"))] == []
    assert sorted(work_on_beam(job, parts)) == parts.missing() or not parts.missing()
    check(parts)
    assert not list((tmp_path / "parts").glob("failed*"))


class Slow(Squares):
    """Stays at its second part until it may go on."""

    def part(self, index):
        BEGUN.append(index)
        if len(BEGUN) > 1:
            GO_ON.wait(20)
        return super().part(index)


# Not in the test itself: classes in functions are carried to Beam's workers as copies.
BEGUN, GO_ON = [], threading.Event()


def test_work_that_is_broken_off_stops_after_the_part_that_it_is_at(job, tmp_path, monkeypatch):
    monkeypatch.setattr(on_beam, "_LOOK_SECONDS", 0.01)
    parts = folder_of(job, tmp_path / "parts")
    running = work_on_beam(Slow(job.numbers, job.seen), parts)
    first = next(running)
    until = time.monotonic() + 60
    while len(BEGUN) < 2 and time.monotonic() < until:  # a worker is at the next one
        time.sleep(0.01)
    threading.Timer(1, GO_ON.set).start()
    running.close()
    assert first == BEGUN[0]
    assert len(BEGUN) == 2
    assert sorted(work_on_beam(job, parts)) == sorted(set(range(NUM_PARTS)) - set(BEGUN))
    check(parts)


class HandedOn:
    """A lock that threads queue for: whoever lets go of it gets it no more."""

    def __init__(self):
        self.free = True

    def acquire(self, timeout=-1):
        if not self.free and timeout < 0:
            raise AssertionError("waits for other threads' parts")
        free, self.free = self.free, False
        return free

    def release(self):
        pass

    __enter__ = acquire

    def __exit__(self, *error):
        self.release()


def test_who_ends_a_run_does_not_queue_for_the_lock_twice(job):
    """Threads that wait for their part would come between: each part takes minutes."""
    opened = on_beam._opened_in_process("key", lambda: on_beam._Opened(job))
    opened.part(3)
    opened._lock = HandedOn()
    on_beam._close("key")
    assert opened._worker is None
    opened._worker = "at a part"
    opened.close(0.0)  # another has the lock
    assert opened._worker == "at a part"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--runner=NoRunner",), "cannot be"),
        (("--direct_num_workers=many",), "cannot be"),
        (("--runner=DataflowRunner",), "Missing GCS path option: temp_location."),
        (("--runner=PortableRunner", "--job_endpoint=localhost:1"), "no job service answers at localhost:1"),
        (("--runner=PortableRunner", "--job_endpoint=nowhere"), "no job service answers at nowhere"),
    ],
)
def test_flags_that_cannot_be(job, tmp_path, flags, problem, monkeypatch):
    monkeypatch.setattr(on_beam, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(DatasetError, match=f"^Beam's flags {' '.join(flags)}: {problem}"):
        list(work_on_beam(job, folder_of(job, tmp_path / "parts"), flags))


def test_a_place_that_would_be_a_pattern(job, tmp_path):
    with pytest.raises(DatasetError, match=r"place\*: would be read as a pattern"):
        list(work_on_beam(job, folder_of(job, tmp_path / "parts"), (), f"{tmp_path}/place*"))


class Written(io.BytesIO):
    def __init__(self, files, path):
        super().__init__()
        self.files, self.path = files, path

    def close(self):
        if not self.closed:
            self.files[self.path] = self.getvalue()
        super().close()


class Store(filesystem.FileSystem):
    """Files in memory, under `store://`."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    @classmethod
    def scheme(cls):
        return "store"

    def join(self, basepath, *paths):
        return "/".join((basepath, *paths))

    def split(self, path):
        return path.rsplit("/", 1)

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        for path, content in list(self.files.items()):
            if path.startswith(dir_or_prefix):
                yield filesystem.FileMetadata(path, len(content))

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return Written(self.files, path)

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return io.BytesIO(self.files[path])

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            self.files[target] = self.files.pop(source)

    def exists(self, path):
        return path in self.files

    def size(self, path):
        return len(self.files[path])

    def last_updated(self, path):
        return 0

    def checksum(self, path):
        return ""

    def metadata(self, path):
        return filesystem.FileMetadata(path, len(self.files[path]))

    def delete(self, paths):
        for path in paths:
            del self.files[path]


class Watched(Squares):
    """Notes what it is opened with."""

    def open(self):
        OPENED.append((self.numbers, names(self.numbers.parent)))
        return super().open()


OPENED = []


def test_files_are_handed_over_to_a_store_and_fetched(job, tmp_path):
    (tmp_path / "numbers.txt.idx").write_text("an index")
    parts = folder_of(job, tmp_path / "parts")
    found = work_on_beam(Watched(job.numbers, job.seen), parts, (), "store://bucket/x/")
    assert sorted(found) == list(range(NUM_PARTS))
    check(parts)
    ((path, beside),) = OPENED
    assert path != job.numbers
    assert beside == {"numbers.txt", "numbers.txt.idx"}
    assert not path.parent.exists()
    assert Store.files == {}


def test_paths_are_found_wherever_they_are_in_a_job():
    job = {"open": functools.partial(np.load, Path("a/b.npy"), mmap_mode="r"), "files": [(Path("c"), "d")]}
    found = moved(job, lambda path: Path("/e") / path.name)
    assert found["open"].args == (Path("/e/b.npy"),)
    assert found["open"].keywords == {"mmap_mode": "r"}
    assert found["files"] == [(Path("/e/c"), "d")]


def test_files_that_are_not_there_cannot_be_handed_over(job, tmp_path):
    gone = dataclasses.replace(job, numbers=tmp_path / "gone")
    with pytest.raises(DatasetError, match="gone: no such file or folder, to be handed over"):
        list(work_on_beam(gone, folder_of(job, tmp_path / "parts"), (), str(tmp_path / "place")))


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ('<_Rendezvous of RPC:\n\tstatus = UNAVAILABLE\n\tdetails = "Socket closed"\n>', "Socket closed"),
        ("Traceback\nValueError: odd [while running 'DoPart']\n\n", "ValueError: odd"),
        ("", "OSError"),
    ],
)
def test_the_cause_is_found_in_what_beam_says(said, cause):
    assert _cause_of(OSError(said)) == cause


@pytest.mark.full
def test_processes_open_the_job_once_each(job, tmp_path):
    parts = folder_of(job, tmp_path / "parts")
    assert sorted(work_on_beam(job, parts, PROCESSES)) == list(range(NUM_PARTS))
    check(parts)
    pids = Path(job.seen).read_text().split()
    assert len(pids) == len(set(pids)) == 2
    assert str(os.getpid()) not in pids


@pytest.mark.full
def test_the_job_service_with_workers_in_this_process(job, tmp_path):
    parts = folder_of(job, tmp_path / "parts")
    with job_service() as jobs:
        flags = ("--runner=PortableRunner", f"--job_endpoint={jobs}", "--environment_type=LOOPBACK")
        assert sorted(work_on_beam(job, parts, flags)) == list(range(NUM_PARTS))
    check(parts)
    assert Path(job.seen).read_text() == f"{os.getpid()}\n"


@pytest.mark.full
@pytest.mark.parametrize("engine", [job_service, prism])
def test_workers_elsewhere(job, tmp_path, engine, monkeypatch, caplog):
    """In a process with a working directory of its own, which finds no relative path."""
    monkeypatch.chdir(tmp_path)
    job = dataclasses.replace(job, numbers=Path("numbers.txt"))
    (tmp_path / "elsewhere").mkdir()
    with engine() as jobs, workers_in(tmp_path / "elsewhere") as workers:
        _wait_for(workers, "workers")  # Prism does not
        flags = (
            *("--runner=PortableRunner", f"--job_endpoint={jobs}"),
            *("--environment_type=EXTERNAL", f"--environment_config={workers}"),
        )
        for name, place in (("there", None), ("handed_over", "place")):
            parts = folder_of(job, Path(name))
            with caplog.at_level(logging.INFO):
                assert sorted(work_on_beam(job, parts, flags, place)) == list(range(NUM_PARTS))
            assert f"{NUM_PARTS} of {NUM_PARTS} parts are done" in caplog.text
            check(parts)
        assert not names(tmp_path / "place")
        parts = folder_of(job, Path("fails"))
        with pytest.raises(DatasetError, match=r"^part 7: numbers.txt: line 8 is odd$"):
            list(work_on_beam(dataclasses.replace(job, fault=7), parts, flags, "place"))
        assert not names(tmp_path / "place")
    assert not names(tmp_path / "elsewhere")


def test_what_workers_do_not_see_is_said(job, tmp_path, monkeypatch):
    """As if each had another disk."""
    exists = on_beam.FileSystems.exists
    monkeypatch.setattr(on_beam.FileSystems, "exists", lambda path: "asked-" not in path and exists(path))
    with pytest.raises(OSError, match=r"parts: a worker of Beam's does not see it.*--beam-files"):
        list(work_on_beam(job, folder_of(job, tmp_path / "parts")))
