"""TF_CONFIG, and how the hosts that it names meet."""

import contextlib
import json
import socket
import threading
import time

import numpy as np
import pytest

from components.trainer.cluster import Cluster, ClusterError, answer_call, call_together, read_cluster
from components.trainer.input_data import Share, evaluation_batches, training_batches
from components.trainer.run_fn import run_fn
from components.trainer.strategy import make_strategy
from tests.trainer import tiny_run
from tests.trainer.tiny_training import FLANK, WINDOW, decode, head_examples, write_examples

TWO = {"worker": ["a:1", "b:2"]}
WAIT_S = 30


def configure(monkeypatch, cluster, kind="worker", index=0):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "hosts", "rank"),
    [
        (TWO, "worker", 0, ("a:1", "b:2"), 0),
        (TWO, "worker", 1, ("a:1", "b:2"), 1),
        ({**TWO, "chief": ["c:3"]}, "chief", 0, ("c:3", "a:1", "b:2"), 0),
        ({**TWO, "chief": ["c:3"]}, "worker", 0, ("c:3", "a:1", "b:2"), 1),
    ],
)
def test_the_chief_comes_first(monkeypatch, cluster, kind, index, hosts, rank):
    configure(monkeypatch, cluster, kind, index)
    assert read_cluster() == Cluster(hosts, rank)
    assert read_cluster().is_chief == (rank == 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is no JSON"),
        ("[]", "has no mapping 'cluster'"),
        ('{"cluster": {"ps": ["a:1"]}}', "not as \\['ps'\\]"),
        ('{"cluster": {"worker": "a:1"}}', "list of 'host:port'"),
        ('{"cluster": {"worker": ["a"]}}', "list of 'host:port'"),
        ('{"cluster": {"worker": ["a:1", "b:65536"]}}', "list of 'host:port'"),
        ('{"cluster": {"worker": ["[::1]:2222"]}}', "an IPv4 address"),
        ('{"cluster": {"chief": ["a:1", "b:2"]}}', "one chief"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "comes twice"),
        ('{"cluster": {"worker": ["a:1"]}}', "task.type"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "from 0 to 0"),
    ],
)
def test_what_is_malformed_is_quoted(monkeypatch, text, problem):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=problem) as error:
        make_strategy("auto")
    assert text in str(error.value)


@pytest.mark.parametrize(
    "text", ["", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}']
)
def test_several_hosts_must_be_there_if_asked_for(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RuntimeError, match="names no second host") as error:
        make_strategy("multi_worker")
    assert repr(text) in str(error.value)
    assert make_strategy("auto").num_replicas_in_sync == 1


def test_a_batch_that_the_hosts_cannot_divide_is_refused_before_they_meet(monkeypatch, tmp_path):
    configure(monkeypatch, TWO)
    with pytest.raises(
        ValueError, match=r"batch_size=3 must be a multiple of the 2 replicas .*TF_CONFIG=.*a:1"
    ):
        run_fn(tiny_run.fn_args(tmp_path, tmp_path, batch_size=3))


def test_a_host_that_is_not_the_chief_does_not_run_the_pipeline(monkeypatch, tmp_path):
    configure(monkeypatch, TWO, index=1)
    with pytest.raises(RuntimeError, match=r"is not the chief's.*run `python -m components\.trainer\.host`"):
        run_fn(tiny_run.fn_args(tmp_path, tmp_path))


def meet(hosts, devices):
    """What both hosts say: results or errors, the chief's first."""
    said = [None, None]

    def say(rank, act, *arguments):
        try:
            said[rank] = act(Cluster(hosts, rank), *arguments)
        except ClusterError as error:
            said[rank] = error

    threads = [
        threading.Thread(
            target=say, args=(0, call_together, {"model": {"channels": 24}}, {"devices": devices[0]}, WAIT_S)
        ),
        threading.Thread(target=say, args=(1, answer_call, {"devices": devices[1]}, WAIT_S)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def two_hosts():
    return tuple(json.loads(tiny_run.cluster_of_two()[0])["cluster"]["worker"])


def test_the_chief_tells_what_to_train():
    assert meet(two_hosts(), devices=(1, 1)) == [None, {"model": {"channels": 24}}]


def test_hosts_that_differ_do_not_train():
    said = meet(two_hosts(), devices=(1, 2))
    assert all(isinstance(error, ClusterError) for error in said)
    assert all("'devices': 2}, the chief" in str(error) for error in said)


def test_whoever_does_not_come_is_named():
    hosts = two_hosts()
    with pytest.raises(ClusterError, match=f"no word from {hosts[1]} within 0 s"):
        call_together(Cluster(hosts, 0), {}, {}, wait_s=0)
    with pytest.raises(ClusterError, match=f"the chief {hosts[0]} did not call"):
        answer_call(Cluster(hosts, 1), {}, wait_s=0)
    with pytest.raises(ClusterError, match=r"nowhere\.invalid:1 did not call within 0\.1 s: \[Errno"):
        answer_call(Cluster(("nowhere.invalid:1", "b:1"), 1), {}, wait_s=0.1)


def test_a_host_that_came_and_went_is_waited_for_again_and_named(caplog):
    hosts = (*two_hosts(), "c:3")
    said = []

    def come_and_go(ranks):
        """Greets the chief for these hosts, all of which leave again when the last has come."""
        connections = []
        for rank in ranks:
            connection = None
            while connection is None:
                with contextlib.suppress(ConnectionRefusedError):
                    connection = socket.create_connection(hosts[0].split(":"))
            connection.sendall(json.dumps({"rank": rank, "hosts": hosts}).encode() + b"\n")
            connections.append(connection)
        time.sleep(0.2)
        for connection in connections:
            connection.close()

    def call():
        try:
            call_together(Cluster(hosts, 0), {}, {}, wait_s=10)
        except ClusterError as error:
            said.append(str(error))

    chief = threading.Thread(target=call)
    chief.start()
    come_and_go([1])
    come_and_go([1, 2])  # now all have come, and none is there
    chief.join()
    assert said[0].startswith(f"no word from {hosts[1]}, c:3 within 10 s")
    assert f"{hosts[1]} came and has gone: waiting for it again" in caplog.text


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} of the chief 127.0.0.1:{port} cannot be used"):
            call_together(Cluster((f"127.0.0.1:{port}", "b:2"), 0), {}, {}, wait_s=0)


@pytest.fixture
def examples(tmp_path):
    write_examples(tmp_path, tiny=11)
    return head_examples(tmp_path)


SMALL = {"window_length": WINDOW, "batch_size": 4}


@pytest.mark.parametrize("devices", [1, 2])
def test_the_hosts_rows_are_those_of_the_whole_batches(examples, devices):
    arguments = {**SMALL, "max_shift": FLANK, "reverse_complement": True, "seed": 1}

    def read(share, elements):
        dataset = training_batches({"tiny": examples}, decode, **arguments, first_step=3, share=share)
        return [np.concatenate((x["tiny"], y["tiny"]), axis=None) for x, y in dataset.unbatch().take(elements)]

    steps = 5
    whole = read(None, 4 * steps)
    shares = [
        np.reshape(read(Share(2 * devices, rank * devices, devices), 2 * steps), (steps, 2, -1))
        for rank in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1).reshape(4 * steps, -1), whole)


@pytest.mark.parametrize(("batch_size", "devices"), [(2, 1), (4, 1), (4, 2), (8, 2), (16, 1)])
def test_validation_is_dealt_to_all_replicas_in_as_many_steps(examples, batch_size, devices):
    arguments = {**SMALL, "batch_size": batch_size}
    whole = np.concatenate([x for x, _ in evaluation_batches(examples, decode, **arguments)])
    shares = [
        [x.numpy() for x, _ in evaluation_batches(examples, decode, **arguments, share=share)]
        for share in (Share(2 * devices, rank * devices, devices) for rank in range(2))
    ]
    assert len(shares[0]) == len(shares[1]) == max(1, 11 // batch_size) * devices
    assert all(len(x) > 0 for share in shares for x in share)
    windows = sorted(window.tobytes() for share in shares for x in share for window in x)
    assert windows == sorted(window.tobytes() for window in whole)


def test_validation_with_fewer_examples_than_replicas_is_refused(examples):
    with pytest.raises(ValueError, match="11 validation examples are too few for 12 replicas"):
        evaluation_batches(examples, decode, **SMALL, share=Share(12, 0, 6))
