import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyBigWig
import pysam
import pytest

from enformer_keras.formats.bigwig import BigWig
from enformer_keras.formats.fasta import Genome
from enformer_keras.formats.handle import Handle
from enformer_keras.formats.intervals import Interval


class Opened:
    """A file that knows which process opened it."""

    def __init__(self):
        self.process = os.getpid()
        self.closed = False

    def close(self):
        self.closed = True


def test_threads_take_turns_at_one_file():
    handle = Handle(Opened)
    got = threading.Event()

    def use():
        with handle.turn() as file:
            files.append(file)
            got.set()

    files = []
    with handle.turn() as file:
        thread = threading.Thread(target=use)
        thread.start()
        assert not got.wait(0.05)
    thread.join()
    assert files == [file]


def fork_a_child():
    handle = Handle(Opened)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)

    def use():
        with handle.turn() as file:
            sender.send((file.process, os.getpid()))

    with handle.turn() as file:
        child = fork.Process(target=use)
        child.start()
        assert receiver.poll(30)
        child.join(30)
        assert receiver.recv() == (child.pid, child.pid)
        assert child.exitcode == 0
    with handle.turn() as again:
        assert again is file
        assert not file.closed


def test_a_forked_child_opens_the_file_for_itself_whoever_has_a_turn():
    """In a process of its own: one that has run TensorFlow and gRPC has threads, and may never end a fork."""
    code = f"import {__name__} as test; test.fork_a_child()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("copied", [lambda handle: pickle.loads(pickle.dumps(handle)), copy.deepcopy])
def test_a_copy_opens_the_file_for_itself(copied):
    handle = Handle(Opened)
    with handle.turn() as file:
        other = copied(handle)  # while somebody reads
        with other.turn() as own:
            assert own is not file
    handle.close()
    assert file.closed
    assert not own.closed
    with pytest.raises(ValueError, match="the file was closed"), handle.turn():
        pass
    with other.turn() as still:
        assert still is own


def test_a_file_that_cannot_be_opened_is_tried_again():
    answers = [OSError("gone"), Opened()]

    def open_file():
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    handle = Handle(open_file)
    with pytest.raises(OSError, match="gone"), handle.turn():
        pass
    with handle.turn() as file:
        assert isinstance(file, Opened)


@pytest.fixture
def files(tmp_path):
    """A genome of one contig, its letters, and a bigWig that has a value of its own at every bp."""
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), 200_000).tobytes()
    (tmp_path / "x.fa").write_bytes(b">c\n" + letters + b"\n")
    pysam.tabix_compress(str(tmp_path / "x.fa"), str(tmp_path / "x.fa.gz"))
    file = pyBigWig.open(str(tmp_path / "x.bw"), "w")
    file.addHeader([("c", len(letters))])
    file.addEntries("c", 0, values=np.arange(len(letters), dtype=float), span=1, step=1)
    file.close()
    return Genome(tmp_path / "x.fa.gz"), letters, BigWig(tmp_path / "x.bw", {"c": len(letters)}, {})


def is_right(files, start):
    genome, letters, signal = files
    place = Interval("c", start, start + 20_000)
    right = genome.sequence(place) == letters[place.start : place.end]
    return right and bool((signal.values(place)[0] == np.arange(place.start, place.end)).all())


def test_threads_read_a_packed_genome_and_a_bigwig(files):
    starts = np.random.default_rng(1).integers(0, 180_000, 300).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda start: is_right(files, start), starts))


def test_copies_of_a_genome_and_a_bigwig(files):
    copies = [pickle.loads(pickle.dumps(files)), copy.deepcopy(files)]
    files[0].close()
    files[2].close()
    assert all(is_right(copied, 77) for copied in copies)
