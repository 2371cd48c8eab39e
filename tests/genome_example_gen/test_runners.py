"""The same examples from every way to run Beam that is at hand, and from a build that was killed and run again:
nothing is left out, written twice or cut."""

import json
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from components.examples import records
from components.examples.account import ACCOUNT_FILE
from tests.beam_services import job_service
from tests.datasets.tiny_genome import build_tiny_genome
from tests.genome_example_gen.test_genome_example_gen import build_examples

pytestmark = pytest.mark.full

# A server that has imported TFX, and run nothing with it, forks a process for each build.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.genome_example_gen.test_genome_example_gen"])
SPLITS = ("train", "valid", "test")


def content_of(folder):
    """All that a build leaves: each split's records in an order that no worker decides, and the account."""
    read = {}
    for split in SPLITS:
        # As TFX's readers do: all files of the folder, whatever their names.
        files = sorted(map(str, Path(folder, f"Split-{split}").iterdir()))
        read[split] = sorted(map(records.read_record, records.find_records(files)))
    return read, json.loads(Path(folder, ACCOUNT_FILE).read_text())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return build_tiny_genome(tmp_path_factory.mktemp("genome")).path


@pytest.fixture(scope="module")
def expected(path, tmp_path_factory):
    content = content_of(build_examples(path, tmp_path_factory.mktemp("expected")).uri)
    assert [len(content[0][split]) for split in SPLITS] == [78, 11, 11]
    return content


@pytest.fixture
def job_endpoint():
    with job_service() as address:
        yield address


def test_several_processes_give_the_same_examples(path, tmp_path, expected):
    several = ("--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
    examples = build_examples(path, tmp_path / "several", *several)
    assert content_of(examples.uri) == expected
    assert len(list(Path(examples.uri, "Split-train").iterdir())) == 2  # each worker wrote a shard


def test_the_portable_job_service_gives_the_same_examples(path, tmp_path, expected, job_endpoint):
    portable = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK")
    assert content_of(build_examples(path, tmp_path / "portable", *portable).uri) == expected


def build_until_killed(path, folder, moment):
    """Builds many small shards in this process, which ends by SIGKILL while it writes or renames them."""
    records._SHARD_BYTES = 4096
    calls = 0
    # Beam renames in several threads: here the last call allowed ends before the next one kills.
    one_at_a_time = threading.Lock()

    def dying(function, last_call):
        def call(*arguments):
            nonlocal calls
            with one_at_a_time:
                calls += 1
                if calls > last_call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)

        return call

    if moment == "writing":
        records.encode_record = dying(records.encode_record, 50)
    else:
        FileSystems.rename = dying(FileSystems.rename, 1)
    build_examples(path, folder)


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_killed_build_leaves_no_partial_shard_and_can_be_run_again(path, tmp_path, expected, moment):
    folder = tmp_path / "killed"
    process = processes.Process(target=build_until_killed, args=(path, folder, moment))
    process.start()
    process.join(timeout=1200)  # the server imports TFX first
    status = process.exitcode
    process.kill()
    assert status == -signal.SIGKILL  # its own doing, in time
    assert [file for file in folder.rglob("beam-temp-*/*") if file.is_file()]  # it was in the middle
    shards = list(folder.rglob("Split-*/*.gz"))
    assert bool(shards) == (moment == "renaming")
    for shard in shards:
        assert records.find_records([str(shard)])
    assert content_of(build_examples(path, folder).uri) == expected
