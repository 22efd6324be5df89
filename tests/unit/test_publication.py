"""What is published of a state: readable, complete, and without anything secret or short-lived."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haproxy.capabilities import Capabilities, capabilities
from haproxy.mirror import Mirror
from haproxy.model import Backend, Desired, KeyPair, Route, Secret, Server, ServerState, TlsHost
from haproxy.publication import Publication, publication
from l7.kit.bundle import STATE
from l7.v1 import sync_pb2 as pb

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
READY = Server("t1", 8, "10.0.0.1", 80, state=ServerState.READY)
WEB = Backend("web", services=("web",), servers={"t1": READY})
PAIR = KeyPair(Secret("x1", "web.crt", False), Secret("x2", "web.key", False))
STATE_1 = Desired(
    "r1",
    {"web": WEB, "db": Backend("db", services=("db",), tcp=True)},
    {("a.test", "/"): Route("a.test", "/", "web"), (":5432", "/"): Route(":5432", "/", "db")},
    tls_hosts={"a.test": TlsHost("a.test", "web", PAIR), "*": TlsHost("*", "", PAIR)},
    challenges={"token": "token.thumb"},
    secret_sources=("10.0.0.7:8081",),
)


def published(desired: Desired = STATE_1, able: Capabilities = NEW, cluster: str = "") -> Publication:
    return publication(cluster, desired, desired, able)


def servers(*states: ServerState) -> Desired:
    """STATE_1 with other tasks."""
    tasks = {f"n{number}": replace(READY, task=f"n{number}", state=state) for number, state in enumerate(states)}
    return replace(STATE_1, revision="r2", backends={**STATE_1.backends, "web": replace(WEB, servers=tasks)})


@pytest.mark.parametrize("able", [OLD, NEW])
def test_a_backend_has_the_name_of_what_it_is_for(able: Capabilities) -> None:
    files = published(able=able).files
    config = files["haproxy.cfg"].decode()
    assert "\nbackend web from " in config
    assert "spare" not in config
    assert files["routes.map"] == b"a.test/ web|\n"
    assert files["backends.map"] == b"db db\nweb web\n"
    assert files["tcp.map"] == b"5432 db\n"
    assert ":5432" in config, "the port is open"


def test_a_server_that_is_ready_takes_requests() -> None:
    config = published(servers(ServerState.READY, ServerState.PENDING)).files["haproxy.cfg"].decode()
    ready, pending = (line for line in config.splitlines() if line.startswith("  server n"))
    assert not ready.endswith(" disabled")
    assert pending.endswith(" disabled")


def test_hosts_with_tls_are_in_the_list_and_no_certificate_is_in_a_file() -> None:
    files = published().files
    assert files["tls/certificates.list"] == b"/run/l7/tls/certificates/a.test.pem a.test\n"
    assert not any(name.endswith(".pem") for name in files)


def test_the_state_is_complete_but_for_what_is_true_for_a_moment_only() -> None:
    found = published()
    update = pb.SyncResponse.FromString(found.files[STATE])
    mirror = Mirror()
    assert mirror.apply(update) is not None
    assert mirror.desired == replace(STATE_1, revision=found.configuration, challenges={}, secret_sources=())
    assert b"thumb" not in b"".join(found.files.values())
    assert b"10.0.0.7" not in b"".join(found.files.values())


def test_the_configuration_is_the_same_whatever_tasks_there_are() -> None:
    one, other = published(), published(servers(ServerState.READY, ServerState.LEAVING))
    assert one.configuration == other.configuration
    assert one.content != other.content
    idle = replace(STATE_1, backends={**STATE_1.backends, "web": replace(WEB, expected=False)})
    assert published(idle).configuration == one.configuration


@pytest.mark.parametrize(
    "changed",
    [
        replace(STATE_1, routes={}),
        replace(STATE_1, config=b'{"MaxConnections": 5}'),
        replace(STATE_1, rules={"web": pb.Rules(name="web", hsts="max-age=1")}),
        replace(STATE_1, tls_hosts={}),
        replace(STATE_1, backends={"web": WEB}),
    ],
)
def test_anything_else_makes_another_configuration(changed: Desired) -> None:
    assert published(changed).configuration != published().configuration


def test_clusters_have_configurations_of_their_own() -> None:
    assert published().configuration != published(cluster="east").configuration


def test_same_in_same_out_and_what_lasts_for_a_moment_is_no_change() -> None:
    moment = replace(STATE_1, revision="r9", challenges={}, secret_sources=())
    assert published().content == published(moment).content


def test_it_says_how_much_there_is() -> None:
    assert published().counts == {"routes": 2, "services": 2, "servers": 1, "certificates": 2}
