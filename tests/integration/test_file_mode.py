"""Stock HAProxies that run from what the extension service publishes in file mode, and nothing else."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from haproxy.file_mode import ABLE, FileMode
from haproxy.model import Backend, Desired, KeyPair, Route, Secret, Server, ServerState, TlsHost
from haproxy.publication import FileSet, publication
from haproxy.roll import Roller
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority
from tests.integration.live_haproxy import Answer, application, await_listening, free_port, receive, request, send

pytestmark = pytest.mark.haproxy

CERTIFICATE, KEY, BAD = Secret("c1", "site.cert"), Secret("k1", "site.key"), Secret("b1", "bad.cert")
PAIR = KeyPair(CERTIFICATE, KEY)


def desired(port: int, config: Mapping[str, object] | None = None, **more: object) -> Desired:
    servers = {
        "t1": Server("t1", 1, "127.0.0.1", port, 1, ServerState.READY),
        "t2": Server("t2", 2, "127.0.0.1", 1, 1, ServerState.PENDING),
    }
    backends = {"web": Backend("web", ("web",), expected=True, servers=servers)}
    routes = {("a.test", "/"): Route("a.test", "/", "web")}
    found = Desired("r", backends, routes, config=json.dumps(config or {}).encode())
    for name, value in more.items():
        object.__setattr__(found, name, value)
    return found


@pytest.fixture
def roller(haproxy_binary: Path, tmp_path: Path) -> Roller:
    """Certificate and key of a.test are there, apart; what it renders is for a directory of this test's."""
    secrets, run = tmp_path / "secrets", tmp_path / "run"
    secrets.mkdir()
    run.mkdir()
    issued = TestAuthority().issue("a.test")
    (secrets / CERTIFICATE.id).write_bytes(issued.certificate)
    (secrets / KEY.id).write_bytes(issued.key)
    (secrets / BAD.id).write_bytes(b"no certificate")
    mode = FileMode(f"{tmp_path}/etc/main.cfg", free_port(), free_port(), str(tmp_path))
    return Roller(mode, secrets, run, str(haproxy_binary))


@contextmanager
def stock(roller: Roller, files: FileSet, directory: Path) -> Iterator[tuple[str, int]]:
    """An HAProxy as a task of the proxy service has it: files and secrets where they are mounted."""
    contents = {path: files.files[name] for name, path in files.mounts.items()}
    contents |= {path: (roller.secrets / secret.id).read_bytes() for path, secret in files.secrets.items()}
    for path, content in contents.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    address = ("127.0.0.1", roller.mode.http_port)
    with (directory / "log").open("wb") as log:
        command = [roller.binary, *roller.mode.command[1:]]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        await_listening(address, roller.mode.settings.socket, process, directory / "log")
        yield address
    finally:
        process.terminate()
        process.wait()


def rendered(roller: Roller, state: Desired) -> FileSet:
    outcome = roller.render(state)
    assert outcome.files is not None, outcome.problems
    return outcome.files


def app_of(answer: Answer) -> str:
    return str(json.loads(answer.body)["app"])


def messages(problems: tuple[pb.Problem, ...]) -> list[str]:
    return [f"{each.service} {each.label} {each.message}" for each in problems]


def test_http_and_tls_as_live_with_certificate_and_key_as_they_are_in_secrets(
    roller: Roller, tmp_path: Path
) -> None:
    hosts = {"a.test": TlsHost("a.test", "web", PAIR)}
    with application("one") as port:
        files = rendered(roller, desired(port, tls_hosts=hosts))
        store = f"{tmp_path}/etc/tls/certificates/a.test.pem"
        assert files.secrets == {store: CERTIFICATE, f"{store}.key": KEY}
        with stock(roller, files, tmp_path) as address:
            assert app_of(request(address, "/", "Host: a.test")) == "one"
            assert request(address, "/", "Host: b.test").status == 503
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with socket.create_connection(("127.0.0.1", roller.mode.tls_port)) as plain:
                with context.wrap_socket(plain, server_hostname="a.test") as secure:
                    send(secure, "/", "Host: a.test")
                    assert app_of(receive(secure)) == "one"


def test_nothing_of_a_secret_is_in_what_is_published(roller: Roller) -> None:
    state = desired(1, tls_hosts={"a.test": TlsHost("a.test", "web", PAIR)})
    files = rendered(roller, state)
    found = publication("", state, state, ABLE, files)
    text = b"".join(found.files.values())
    assert b"PRIVATE KEY" not in text
    assert b"BEGIN" not in text
    assert found.mounts["haproxy.cfg"] == roller.mode.config_path


def test_a_bad_certificate_costs_its_host_and_a_missing_one_is_waited_for(roller: Roller, tmp_path: Path) -> None:
    hosts = {
        "a.test": TlsHost("a.test", "web", PAIR),
        "bad.test": TlsHost("bad.test", "worse", KeyPair(BAD)),
        "late.test": TlsHost("late.test", "slow", KeyPair(Secret("nowhere", "late.cert"))),
    }
    outcome = roller.render(desired(1, tls_hosts=hosts))
    assert outcome.lacking
    assert outcome.files is not None
    assert {each.name for each in outcome.files.secrets.values()} == {"site.cert", "site.key"}
    told = messages(outcome.problems)
    assert [each.partition(" ")[0] for each in told] == ["slow", "worse"]
    assert "late.cert is not attached" in told[0]


def test_what_haproxy_refuses_is_told_and_not_rolled_out(roller: Roller) -> None:
    outcome = roller.render(desired(1, {"GlobalOptions": ["no-such-keyword"]}))
    assert outcome.files is None
    (problem,) = outcome.problems
    assert "no-such-keyword" in problem.message
    assert "the one before stays" in problem.message
    assert str(roller.run_dir) not in problem.message
    assert list(roller.run_dir.iterdir()) == []


def test_where_a_password_is_asked_for_nobody_is_let_in(roller: Roller, tmp_path: Path) -> None:
    (roller.secrets / "p1").write_bytes(b"user:password\n")
    rules = {"web": pb.Rules(name="web", basic_auth=pb.Secret(id="p1", name="passwords"))}
    with application("one") as port:
        state = desired(port, rules=rules, routes={("a.test", "/"): Route("a.test", "/", "web", rules="web")})
        outcome = roller.render(state)
        assert outcome.files is not None
        assert ["nobody is let in" in each for each in messages(outcome.problems)] == [True]
        with stock(roller, outcome.files, tmp_path) as address:
            login = "Authorization: Basic dXNlcjpwYXNzd29yZA=="
            assert request(address, "/", "Host: a.test", login).status == 401
