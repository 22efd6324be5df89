"""The health check of the containers: what it asks, what it says, and how often."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haproxy.process import START_TIMEOUT
from l7.deploy import healthcheck as specs
from l7.healthcheck import part_of

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "l7/healthcheck.py"
INFO = b"Name: HAProxy\nVersion: 2.6.12\n\n"

Answers = Callable[[str, bytes], None]


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    """A unix socket of this name gives this answer to the first who asks."""
    threads = []

    def listen(name: str, answer: bytes) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / name))
        listener.listen()

        def serve() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    yield listen
    for thread in threads:
        thread.join(10)


def check(directory: Path, *words: str) -> tuple[int, str]:
    """Exit status and output, of the program as the image has it."""
    environment = {"L7_HAPROXY_RUN_DIR": str(directory), "L7_ADMIN_SOCKET": str(directory / "admin.sock")}
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", PROGRAM, *words],
        env=os.environ | environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.strip()


def test_a_proxy_is_healthy_while_haproxy_answers(tmp_path: Path, answers: Answers) -> None:
    (tmp_path / "ready").touch()
    answers("cli.sock", INFO)
    assert check(tmp_path, "proxy") == (0, "")


def test_a_proxy_that_had_no_state_yet_is_not_healthy(tmp_path: Path) -> None:
    assert check(tmp_path, "proxy") == (1, "no complete state of the cluster has been applied yet")


def test_a_proxy_whose_haproxy_is_gone_or_says_nothing_is_not_healthy(tmp_path: Path, answers: Answers) -> None:
    (tmp_path / "ready").touch()
    status, reason = check(tmp_path, "proxy")
    assert (status, "No such file" in reason) == (1, True)
    answers("cli.sock", b"")
    assert check(tmp_path, "proxy") == (1, "HAProxy gives no answer")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nready\n", (0, "")),
        (b"HTTP/1.0 503 No\r\nx: y\r\n\r\nSwarm was not seen yet\n", (1, "Swarm was not seen yet")),
        (b"", (1, "gives no answer")),
    ],
)
def test_core_says_itself_whether_it_is_ready(
    tmp_path: Path, answers: Answers, answer: bytes, outcome: tuple[int, str]
) -> None:
    answers("admin.sock", answer)
    status, reason = check(tmp_path, "core")
    assert (status, reason[-len(outcome[1]) :] if outcome[1] else reason) == outcome


def test_an_unknown_part_is_said(tmp_path: Path) -> None:
    assert check(tmp_path, "prxoy") == (1, "'prxoy' is no part: say core or proxy")


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("/sbin/docker-init -- /usr/local/bin/l7 haproxy run", "proxy"),
        ("/usr/bin/python3 /usr/local/bin/l7 haproxy sidecar --core core:8080", "proxy"),
        ("/sbin/docker-init -- /usr/local/bin/l7 core", "core"),
        ("/usr/bin/python3 /usr/local/bin/l7 -D run -c /config.toml", "core"),
        ("/usr/bin/python3 /usr/local/bin/l7 haproxy service", ""),
        ("/sbin/docker-init -- python3 -m haproxy.service", ""),
        ("sleep infinity", ""),
    ],
)
def test_the_part_is_found_by_the_containers_command(command: str, part: str) -> None:
    assert part_of(shlex.split(command)) == part


def test_haproxy_has_its_time_to_come_back_before_the_task_is_replaced() -> None:
    assert specs.INTERVAL * specs.RETRIES / 1e9 >= START_TIMEOUT
