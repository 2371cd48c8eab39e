"""Pushes beside real readers, other pushers and deaths, in processes of their own."""

import json
import multiprocessing
import signal
import subprocess
import sys

import pytest

from components.pusher.push import list_versions, push

PUSHER = """
import os, signal, sys
from pathlib import Path
from components.pusher.push import push
{between}
for _ in range({times}):
    print(push(Path(sys.argv[1]), Path(sys.argv[2]), keep=1000).name, flush=True)
"""
# After the copy and before the version appears.
DIES = "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)"
WAITS = """
def wait(handle):
    print("copied", flush=True)
    sys.stdin.read()  # until the test closes it
os.fsync = wait
"""


def start(model, versions, between="", times=1):
    return subprocess.Popen(
        [sys.executable, "-c", PUSHER.format(between=between, times=times), model, versions],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model", 0)


def write_model(folder, content):
    """A folder like a SavedModel's; all files say the same."""
    for name in ("saved_model.pb", "variables/variables.data", "assets.extra/model.json"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return folder


def read_model(folder):
    contents = {json.loads(file.read_text()) for file in folder.rglob("*") if file.is_file()}
    assert len([file for file in folder.rglob("*") if file.is_file()]) == 3
    (content,) = contents
    return content


def others(versions):
    """What is in the folder of versions and is none."""
    return sorted({path.name for path in versions.iterdir()} - {path.name for path in list_versions(versions)})


def read_in_a_loop(versions, passed, ended, failures):
    """What a server does: picks the newest version, reads all of it; and at the end tells its last."""
    last, at_last = (0, -1), False
    while not at_last:
        at_last = ended.is_set()
        try:
            newest = list_versions(versions)[-1]
            read = (int(newest.name), read_model(newest))
            assert read >= last, f"{read} after {last}"
            last = read
        except Exception as error:
            failures.put(repr(error))
        passed.set()
    failures.put(last)


def test_a_reader_in_a_loop_sees_no_failure(tmp_path, model):
    versions = tmp_path / "versions"
    first = push(model, versions, keep=3)
    context = multiprocessing.get_context("spawn")
    passed, ended, failures = context.Event(), context.Event(), context.SimpleQueue()
    reader = context.Process(target=read_in_a_loop, args=(versions, passed, ended, failures))
    reader.start()
    try:
        for number in range(1, 201):
            push(write_model(model, number), versions, keep=3)
            # The reader reads on meanwhile, but one that took longer than `keep` pushes might fail.
            assert passed.wait(60)
            passed.clear()
    finally:
        ended.set()
        reader.join()
    newest = list_versions(versions)
    assert failures.get() == (int(newest[-1].name), 200)
    assert [read_model(version) for version in newest] == [198, 199, 200]
    assert int(newest[-1].name) >= int(first.name) + 200
    assert others(versions) == [".lock"]


def test_pushers_at_the_same_time(tmp_path, model):
    versions = tmp_path / "versions"
    pushers = [start(model, versions, times=20) for _ in range(2)]
    pushed = [[int(version) for version in pusher.communicate()[0].split()] for pusher in pushers]
    for one in pushed:
        assert len(one) == 20
        assert one == sorted(one)
    together = [int(version.name) for version in list_versions(versions)]
    assert sorted(pushed[0] + pushed[1]) == together
    assert len(set(together)) == 40
    assert all(read_model(version) == 0 for version in list_versions(versions))
    assert others(versions) == [".lock"]


def test_what_a_killed_push_leaves_is_removed_by_the_next(tmp_path, model, caplog):
    versions = tmp_path / "versions"
    before = push(model, versions, keep=2)
    killed = start(model, versions, DIES)
    assert killed.wait() == -signal.SIGKILL
    assert list_versions(versions) == [before]
    (leftover,) = set(others(versions)) - {".lock"}
    assert len([file for file in (versions / leftover / "model").rglob("*") if file.is_file()]) == 3
    after = push(model, versions, keep=2)
    assert list_versions(versions) == [before, after]
    assert others(versions) == [".lock"]
    assert "removed what 1 pushes left that did not end" in caplog.text


def test_a_push_that_is_still_going_on_is_left_alone(tmp_path, model, caplog):
    versions = tmp_path / "versions"
    slow = start(model, versions, WAITS)
    assert slow.stdout.readline() == "copied\n"
    quick = push(model, versions, keep=2)
    later, _ = slow.communicate("")
    assert slow.returncode == 0
    assert [version.name for version in list_versions(versions)] == [quick.name, later.split()[-1]]
    assert not caplog.text


def test_a_version_of_the_future_is_exceeded(tmp_path, model):
    versions = tmp_path / "versions"
    (versions / "9999999999").mkdir(parents=True)
    assert push(model, versions, keep=2).name == "10000000000"


def test_a_push_that_cannot_be_leaves_nothing(tmp_path, model):
    versions = tmp_path / "versions"
    served = push(model, versions, keep=1)
    (model / "saved_model.pb").unlink()
    (model / "saved_model.pb").symlink_to("nowhere")
    with pytest.raises(OSError, match=r"saved_model\.pb"):
        push(model, versions, keep=1)
    assert list_versions(versions) == [served]
    assert others(versions) == [".lock"]
    with pytest.raises(FileNotFoundError, match="no such model"):
        push(tmp_path / "nowhere", versions, keep=1)
    with pytest.raises(ValueError, match="keep=0"):
        push(model, versions, keep=0)
