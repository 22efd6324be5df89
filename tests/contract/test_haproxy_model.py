"""The model of HAProxy is held to the real one: the same commands, the same answers, the same state."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from haproxy import ops, policy
from haproxy.capabilities import Capabilities
from haproxy.model import HOLD, Balance, Desired
from haproxy.observe import read_servers
from haproxy.ops import Op
from haproxy.runtime import replies
from haproxy.runtime.client import Runtime
from haproxy.runtime.dumps import StatKind
from haproxy.runtime.replies import Reason, Refusal
from haproxy.servers import Servers
from haproxy.settings import BACKENDS_MAP, CANARY_MAP, FEATURES_MAP, MAPS, ROUTES_MAP, TCP_MAP
from tests.fakes.haproxy import ModelHAProxy, Observed
from tests.integration.live_haproxy import (
    PATIENCE,
    LiveHAProxy,
    application,
    await_true,
    capabilities_of,
    receive,
    running,
    send,
)

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(240)]

EXAMPLES = 30
SPARES = ("spare-http-0001", "spare-http-0002", "spare-http-leastconn-checked-0001", "spare-tcp-0001")
CHECK = ("check", "inter", "600000")  # so long that no check is ever made: what it finds is not the model's
LEASTCONN = policy.Policy(Balance.LEAST_CONNECTIONS, checked=True)


@dataclass
class Pair:
    """A real HAProxy and its model, which get the same commands. `fixed`: backends of the configuration that no
    command is about, and that the model does not have."""

    proxy: LiveHAProxy
    runtime: Runtime
    model: ModelHAProxy
    fixed: frozenset[str]

    def apply(self, *commands: Op) -> list[Refusal | None]:
        """What the two answered, after it was compared."""
        located = [self._locate(op) for op in commands]
        real = [result.refusal for result in self.runtime.apply(located)]
        modelled = [replies.check(op, self.model.apply(op)) for op in located]
        assert [comparable(refusal) for refusal in modelled] == [comparable(refusal) for refusal in real]
        return real

    def under_way(self, backend: str) -> int:
        (row,) = self.runtime.stat(backend, StatKind.BACKENDS)
        return row.sessions

    def _locate(self, op: Op) -> Op:
        match op:
            case ops.AddMapRow(file, key, value) | ops.SetMapRow(file, key, value):
                return type(op)(self.proxy.settings.file(file), key, value)
            case ops.DeleteMapRow(file, key):
                return ops.DeleteMapRow(self.proxy.settings.file(file), key)
            case _:
                return op

    def observed(self) -> Observed:
        """What HAProxy has, after it was compared with the model."""
        maps = {name: self.runtime.map_rows(self.proxy.settings.file(name)) for name in MAPS}
        tables = {name: dict(rows) for name, rows in maps.items() if name not in (BACKENDS_MAP, ROUTES_MAP)}
        shown = Servers()
        read_servers(self.runtime, shown)
        servers = {name: dict(rows) for name, rows in shown.items() if name not in self.fixed}
        seen = Observed(servers, dict(maps[BACKENDS_MAP]), dict(maps[ROUTES_MAP]), tables)
        assert self.model.observed() == seen
        modelled = {name: self.model.maps[self.proxy.settings.file(name)] for name in maps}
        assert {name: sorted(rows) for name, rows in modelled.items()} == {
            name: sorted(rows) for name, rows in maps.items()
        }
        return seen


def comparable(refusal: Refusal | None) -> tuple[Reason, str] | None:
    """Without what the model does not have: help on other commands, and lines of the configuration."""
    if refusal is None:
        return None
    text = "" if refusal.reason is Reason.UNSUPPORTED else refusal.text
    return refusal.reason, re.sub(r" at \S+:\d+ ", " ", text)


@contextmanager
def pair(binary: Path, directory: Path) -> Iterator[Pair]:
    for old in directory.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    with (
        running(binary, directory, Desired(), spare_backends=2, spare_backends_other=1) as proxy,
        Runtime(proxy.runtime_url) as runtime,
    ):
        model = ModelHAProxy(proxy.settings, proxy.capabilities)
        fixed = {name for name in runtime.backends() if name.startswith("l7.")} - model.backends.keys()
        yield Pair(proxy, runtime, model, frozenset(fixed))


# ---------------------------------------------------------------- any sequence

names = st.sampled_from(("t1.a", "t1.b", "t2.a", HOLD))
ids = st.sampled_from((0, 5, 5 + 2**20, 6, policy.HOLD_ID))
weights = st.sampled_from((0, 1, 64, 256))
keys = st.sampled_from(("a.test/", "a.test/api/", "b.test/", "a.test/|h=x", "shop", "shop|4C0A8"))
values = st.sampled_from(("web|", "-|404", "F1A|||| 3;x\\y", "F"))


def any_op(able: Capabilities) -> st.SearchStrategy[Op]:
    backends = st.sampled_from((*SPARES, "none") if not able.dynamic_backends else ("web", "api", "none"))
    there = backends.filter(lambda name: name != "none") if able.dynamic_backends else backends
    maps = st.sampled_from((ROUTES_MAP, ROUTES_MAP, BACKENDS_MAP, *MAPS, "none.map"))
    addresses = st.sampled_from(("127.0.0.1", "10.9.8.7", "fd00::1"))
    keywords = st.sampled_from((CHECK, (), policy.hold_keywords()))
    servers = (ops.EnableServer, ops.EnableHealth, ops.DisableServer, ops.ShutdownSessions, ops.DeleteServer)
    return st.one_of(
        st.builds(ops.AddBackend, there, st.sampled_from((policy.HTTP, LEASTCONN.name, "p-none"))),
        st.one_of(*(st.builds(kind, backends) for kind in _BACKEND_OPS)),
        st.builds(ops.AddServer, backends, names, addresses, st.just(80), ids, weights, keywords),
        st.builds(ops.AddServer, backends, names, addresses, st.just(80), ids, weights, keywords),
        st.one_of(*(st.builds(kind, backends, names) for kind in servers)),
        st.one_of(*(st.builds(kind, backends, names) for kind in servers)),
        st.builds(ops.SetWeight, backends, names, weights),
        maps.flatmap(lambda file: st.builds(ops.AddMapRow, st.just(file), keys_of(file), values)),
        maps.flatmap(lambda file: st.builds(ops.SetMapRow, st.just(file), keys_of(file), values)),
        maps.flatmap(lambda file: st.builds(ops.DeleteMapRow, st.just(file), keys_of(file))),
    )


def keys_of(file: str) -> st.SearchStrategy[str]:
    """Ports are numbers for HAProxy, too; all other keys are texts."""
    return st.sampled_from(("5432", "20000")) if file == TCP_MAP else keys


_BACKEND_OPS = (ops.PublishBackend, ops.UnpublishBackend, ops.DeleteBackend)


def test_any_commands_have_the_same_outcome_and_leave_the_same_state(haproxy_binary: Path, tmp_path: Path) -> None:
    able = capabilities_of(haproxy_binary)

    # Not shrunk: each try starts an HAProxy, and the first command that differs is in the message anyway.
    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.generate),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(commands=st.lists(any_op(able), min_size=5, max_size=40))
    @example(commands=_a_life(able))
    def same(commands: Sequence[Op]) -> None:
        with pair(haproxy_binary, tmp_path) as both:
            for op in commands:
                both.apply(op)
            both.observed()

    same()


def _a_life(able: Capabilities) -> list[Op]:
    """A backend from its making to its end, with each command where it succeeds."""
    name = "web" if able.dynamic_backends else SPARES[0]
    hold = policy.hold_server(name)
    made: list[Op] = [ops.AddBackend(name, policy.HTTP), hold, ops.PublishBackend(name)]
    gone: list[Op] = [ops.UnpublishBackend(name), ops.DeleteBackend(name)]
    return [
        *(made if able.dynamic_backends else ()),
        ops.EnableServer(name, HOLD),
        ops.AddServer(name, "t1.a", "127.0.0.1", 80, 5, 64, CHECK),
        ops.EnableServer(name, "t1.a"),
        ops.EnableHealth(name, "t1.a"),
        ops.AddMapRow(BACKENDS_MAP, "web", name),
        ops.AddMapRow(ROUTES_MAP, "a.test/", "web|"),
        ops.AddMapRow(CANARY_MAP, "a.test/|h=yes", "web"),
        ops.AddMapRow(FEATURES_MAP, "web", "FA|||||10|1"),
        ops.AddMapRow(TCP_MAP, "5432", "web"),
        ops.DeleteMapRow(TCP_MAP, "5432"),
        ops.SetWeight(name, "t1.a", 32),
        ops.SetMapRow(ROUTES_MAP, "a.test/", "-|404"),
        ops.DeleteMapRow(ROUTES_MAP, "a.test/"),
        ops.DeleteMapRow(BACKENDS_MAP, "web"),
        ops.DisableServer(name, "t1.a"),
        ops.DeleteServer(name, "t1.a"),
        ops.DisableServer(name, HOLD),
        ops.DeleteServer(name, HOLD),
        *(gone if able.dynamic_backends else ()),
    ]


def test_each_command_of_a_life_succeeds(haproxy_binary: Path, tmp_path: Path) -> None:
    with pair(haproxy_binary, tmp_path) as both:
        for op in _a_life(both.proxy.capabilities):
            assert both.apply(op) == [None], op
            both.observed()


# ---------------------------------------------------------------- connections


@pytest.fixture
def served(haproxy_binary: Path, tmp_path: Path) -> Iterator[tuple[Pair, str, socket.socket, threading.Event]]:
    """A pair whose server has a request under way: the pair, its backend, the client's side, and the gate."""
    gate = threading.Event()
    with application("app", gate) as port, pair(haproxy_binary, tmp_path) as both:
        backend = "web" if both.proxy.capabilities.dynamic_backends else SPARES[0]
        if both.proxy.capabilities.dynamic_backends:
            both.apply(ops.AddBackend(backend, policy.HTTP), ops.PublishBackend(backend))
        both.apply(
            ops.AddServer(backend, "t1.a", "127.0.0.1", port, 5, 64),
            ops.EnableServer(backend, "t1.a"),
            ops.AddMapRow(BACKENDS_MAP, "web", backend),
            ops.AddMapRow(ROUTES_MAP, "a.test/", "web|"),
        )
        with socket.create_connection(both.proxy.address, timeout=PATIENCE) as connection:
            send(connection, "/wait", "host: a.test")
            await_true(lambda: both.under_way(backend) == 1, "a request under way")
            both.model.open_connection(backend, "t1.a")
            yield both, backend, connection, gate
        gate.set()


def test_a_request_under_way_outlives_maintenance_and_blocks_deletion(
    served: tuple[Pair, str, socket.socket, threading.Event],
) -> None:
    both, backend, connection, gate = served
    both.apply(ops.DisableServer(backend, "t1.a"))
    (refused,) = both.apply(ops.DeleteServer(backend, "t1.a"))
    assert refused is not None
    assert refused.reason is Reason.BUSY
    gate.set()
    assert receive(connection).status == 200
    both.model.close_connections(backend, "t1.a")
    await_true(lambda: both.under_way(backend) == 0, "no request under way")
    assert both.apply(ops.DeleteServer(backend, "t1.a")) == [None]
    both.observed()


def test_a_shutdown_frees_the_server(served: tuple[Pair, str, socket.socket, threading.Event]) -> None:
    both, backend, connection, _ = served
    both.apply(ops.DisableServer(backend, "t1.a"), ops.ShutdownSessions(backend, "t1.a"))
    assert receive(connection).status in {0, 502, 503}
    await_true(lambda: both.under_way(backend) == 0, "no request under way")
    assert both.apply(ops.DeleteServer(backend, "t1.a")) == [None]
    both.observed()
