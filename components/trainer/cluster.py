"""The hosts of a training: who they are, and how they meet before TensorFlow starts; without TensorFlow."""

import contextlib
import dataclasses
import json
import logging
import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TextIO

_logger = logging.getLogger(__name__)

_JOBS = ("chief", "worker")
_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
_RETRY_S = 1.0
_LOG_EVERY_S = 60
_ANSWER_S = 10  # for a host that has connected to say who it is, or that it is still there
_STILL_THERE = {"still": "there"}


class ClusterError(RuntimeError):
    """The hosts cannot train together; the message says which one, and why."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The hosts of a training, and which of them this one is.

    Attributes:
        hosts: `host:port` of each, the chief first.
        rank: index of this host among them.
    """

    hosts: tuple[str, ...]
    rank: int

    @property
    def is_chief(self) -> bool:
        """Whether this host writes checkpoints, logs and model."""
        return self.rank == 0


def read_cluster() -> Cluster | None:
    """Reads TF_CONFIG from the environment.

    It is JSON: `cluster` has a list of `host:port` for `worker`, and one more for `chief` if there is a chief;
    without one, the first worker is the chief. `task` has `type` and `index` of this host.

    Returns:
        The hosts; `None` where TF_CONFIG is not set or names none.

    Raises:
        ValueError: TF_CONFIG makes no sense; quotes it.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return None

    def malformed(problem: str) -> ValueError:
        return ValueError(f"TF_CONFIG={text!r}: {problem}; it should be like {_EXAMPLE}")

    try:
        config = json.loads(text)
    except ValueError as error:
        raise malformed(f"is no JSON ({error})") from None
    if not isinstance(config, Mapping) or not isinstance(config.get("cluster", {}), Mapping):
        raise malformed("has no mapping 'cluster'")
    jobs = config.get("cluster", {})
    if not jobs:
        return None
    if set(jobs) - set(_JOBS):
        raise malformed(f"hosts train as {_JOBS}, not as {sorted(set(jobs) - set(_JOBS))}")
    for job, addresses in jobs.items():
        if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
            raise malformed(f"cluster.{job} must be a list of 'host:port', a name or an IPv4 address each")
    if len(jobs.get("chief", [])) > 1:
        raise malformed("there can be one chief")
    hosts = tuple(address for job in _JOBS for address in jobs.get(job, []))
    if len(set(hosts)) < len(hosts):
        raise malformed("a host comes twice")
    task = config.get("task")
    if not isinstance(task, Mapping) or task.get("type") not in jobs:
        raise malformed(f"task.type must be one of {sorted(jobs)}")
    index = task.get("index")
    if not isinstance(index, int) or not 0 <= index < len(jobs[task["type"]]):
        raise malformed(f"task.index must be from 0 to {len(jobs[task['type']]) - 1}")
    return Cluster(hosts, hosts.index(jobs[task["type"]][index]))


def call_together(
    cluster: Cluster, arguments: Mapping[str, Any], setup: Mapping[str, Any], wait_s: float
) -> None:
    """Waits on the chief for all other hosts, and tells them what to train; ends when all know.

    Hosts meet before TensorFlow joins them, for there no line says whom a host waits for. One that came and has
    gone is waited for again: before any is told, all have said once more that they are there. The port is the
    chief's in TF_CONFIG, free again afterwards.

    Args:
        cluster: the hosts, of which this is the chief.
        arguments: JSON values for all hosts.
        setup: JSON values in which all hosts must agree with this one.
        wait_s: seconds to wait.

    Raises:
        ClusterError: a host did not come, or it is set up otherwise, or the port is in use.
    """
    deadline, logged = time.monotonic() + wait_s, time.monotonic()
    expected = _greeting(cluster, setup)
    missing = dict(enumerate(cluster.hosts[1:], start=1))
    there: dict[int, _Host] = {}

    def wait_again_for(gone: set[int]) -> None:
        for rank in gone:
            there.pop(rank).close()
            missing[rank] = cluster.hosts[rank]
            _logger.warning("%s came and has gone: waiting for it again", cluster.hosts[rank])

    _logger.info("chief %s waits for %s", cluster.hosts[0], ", ".join(missing.values()))
    port = int(cluster.hosts[0].rpartition(":")[2])
    try:
        server = socket.create_server(("", port), backlog=len(cluster.hosts))
    except OSError as error:
        raise ClusterError(f"port {port} of the chief {cluster.hosts[0]} cannot be used: {error}") from None
    with server:
        server.settimeout(_RETRY_S)
        while True:
            wait_again_for({rank for rank, host in there.items() if host.has_gone()})
            if not missing:
                wait_again_for({rank for rank, host in there.items() if not host.answers()})
            if not missing:
                break
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"no word from {', '.join(missing.values())} within {wait_s:g} s: start "
                    "`python -m components.trainer.host` there, with the TF_CONFIG of this host but for `task`"
                )
            if time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                _logger.info("still waiting for %s", ", ".join(missing.values()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            connection.settimeout(_ANSWER_S)
            _notice_when_gone(connection)
            host = _Host(connection, connection.makefile("rw"))
            greeting = _receive(host.stream)
            rank = greeting.pop("rank", None)
            if rank not in range(1, len(cluster.hosts)):
                host.close()  # not of this training: a probe, say
                continue
            if greeting != expected:
                problem = (
                    f"{cluster.hosts[rank]} has {greeting}, the chief {expected}: hosts must have the same "
                    "TF_CONFIG but for `task`, as many devices, and the same code"
                )
                _send(host.stream, {"refused": problem})
                host.close()
                raise ClusterError(problem)
            if rank in there:  # a host that was started anew takes its own place
                there[rank].close()
            there[rank] = host
            missing.pop(rank, None)
        for host in there.values():
            _send(host.stream, {"arguments": arguments})
            host.close()
    _logger.info("all %d hosts are there", len(cluster.hosts))


def answer_call(cluster: Cluster, setup: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
    """Waits on another host for the chief.

    Args:
        cluster: the hosts, of which this is not the chief.
        setup: as for `call_together`.
        wait_s: seconds to wait.

    Returns:
        The arguments that the chief gave.

    Raises:
        ClusterError: the chief did not come, or is set up otherwise.
    """
    deadline, logged = time.monotonic() + wait_s, time.monotonic()
    chief = cluster.hosts[0]
    _logger.info("%s waits for the chief %s", cluster.hosts[cluster.rank], chief)
    name, _, port = chief.rpartition(":")
    problem = ""
    while time.monotonic() < deadline:
        if time.monotonic() - logged > _LOG_EVERY_S:
            logged = time.monotonic()
            _logger.info("still waiting for the chief %s%s", chief, problem)
        try:
            with socket.create_connection((name, int(port)), _ANSWER_S) as connection:
                _notice_when_gone(connection)
                problem = ""
                stream = connection.makefile("rw")
                _send(stream, {"rank": cluster.rank, **_greeting(cluster, setup)})
                connection.settimeout(max(deadline - time.monotonic(), _RETRY_S))
                answer = _receive(stream)
                while answer == _STILL_THERE:
                    _send(stream, _STILL_THERE)
                    answer = _receive(stream)
        except OSError as error:
            answer, problem = {}, f": {error}"
        if "refused" in answer:
            raise ClusterError(answer["refused"])
        if "arguments" in answer:
            return answer["arguments"]
        time.sleep(_RETRY_S)
    raise ClusterError(f"the chief {chief} did not call within {wait_s:g} s{problem}")


class _Host(NamedTuple):
    """A host that has come to the chief, and waits to be told what to train."""

    connection: socket.socket
    stream: TextIO

    def has_gone(self) -> bool:
        """Says whether the other side has closed the connection; one that waits says nothing unasked."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def answers(self) -> bool:
        """Asks whether it is still there: a host without power has closed nothing."""
        _send(self.stream, _STILL_THERE)
        return _receive(self.stream) == _STILL_THERE

    def close(self) -> None:
        """Closes the connection."""
        with self.connection, contextlib.suppress(OSError):  # what could not be sent, closing sends again
            self.stream.close()


def _notice_when_gone(connection: socket.socket) -> None:
    """Has a host that went without a word found out within two minutes, not after days."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _greeting(cluster: Cluster, setup: Mapping[str, Any]) -> dict[str, Any]:
    return {"hosts": list(cluster.hosts), **setup}


def _is_address(address: Any) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and "[" not in host and port.isdecimal() and 0 < int(port) < 65_536


def _send(stream: TextIO, message: Mapping[str, Any]) -> None:
    """Writes a line; whoever has gone meanwhile is missed later, when TensorFlow joins the hosts."""
    try:
        stream.write(json.dumps(message) + "\n")
        stream.flush()
    except OSError as error:
        _logger.warning("a host cannot be reached: %s", error)


def _receive(stream: TextIO) -> dict[str, Any]:
    """Reads a line; nothing if none comes, or another language is spoken."""
    try:
        message = json.loads(stream.readline())
    except (OSError, ValueError):
        return {}
    return message if isinstance(message, dict) else {}
