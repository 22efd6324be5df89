"""Whatever is edited, scaled and removed, in any order: HAProxy ends as one that was started on the last state.

The real build behind the real gRPC server, the real sidecar and a real HAProxy; only Swarm is told, not run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from haproxy import policy
from haproxy.settings import AUTH_MAP, CERTIFICATES_LIST, Settings
from l7.kit.metrics import Metrics
from l7.serve.grpc_api import Endpoint, SyncApi
from l7.serve.grpc_api import Server as GrpcServer
from l7.status import Extensions
from l7.store import Store
from l7.swarm.cache import Kind
from testbed.certificates import TestAuthority
from tests.fakes.swarm_state import PREFIX, World, service, spec, task
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import (
    Proxy,
    Secrets,
    eventually,
    proxy,
    proxy_settings,
    secrets_up,
    until,
)

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(600)]

SERVICES = ("a", "b", "c")
MOST = 4
DECLARED, OUTSIDE = 0, 1
"""TCP ports of a test, by index: one that the proxies listen on from the start, and one that they do not."""

VALUES: dict[str, tuple[str, ...]] = {
    "hosts": ("x.test", "x.test y.test", "*.test", "a.x.test"),
    "context_root": ("/app", "/app/v1", "/"),
    "context_root_rewrite": ("true",),
    "default_backend": ("true",),
    "redirects": ("http://old.test,http://x.test", "old.test/app,https://y.test/new"),
    "sticky_session_cookie": ("session",),
    "ip_hash": ("true",),
    "balance": ("leastconn", "random", "first", "uri", "header:X-User"),
    "weight": ("0", "10", "90"),
    "canary_header": ("x-canary", "x-canary=yes"),
    "canary_cookie": ("canary=1",),
    "health_check_path": ("/healthz", "/other"),
    "health_check_status": ("200", "200,204"),
    "health_check_interval": ("500ms",),
    "slow_start": ("100ms",),
    "max_connections": ("50",),
    "max_fails": ("3",),
    "retry_on": ("safe", "all"),
    "drain_timeout": ("1s",),
    "timeout_server": ("10s", "20s"),
    "timeout_tunnel": ("1m",),
    "header_request_X-Env": ("production", "a b; c|d"),
    "header_response_X-Team": ("shop", ""),
    "https_redirect": ("true",),
    "hsts": ("3600",),
    "allow": ("127.0.0.0/8", "10.0.0.0/9, 127.0.0.1/32"),
    "rate_limit": ("1000/s", "5000/m"),
    "max_body_size": ("1m",),
    "compression": ("true",),
    "cors_origins": ("https://app.test", "*"),
    "tcp_port": ("declared", "outside"),
    "ssl_cert": ("certificate-1", "certificate-2"),
    "ssl_passthrough": ("true",),
    "ssl_only": ("true",),
    "ssl_client_ca": ("ca-1", "ca-2"),
    "ssl_client_verify": ("optional", "required"),
    "basic_auth": ("users-1", "users-2"),
}
"""Certificates are good ones for every host: what a host has instead of a bad one depends on what it had before."""

TLS = (*(name for name in VALUES if name.startswith("ssl_")), "basic_auth", "hosts", "balance", "canary_header")
"""Labels about it, and such as move routes."""

CERTIFIED = ("x.test", "y.test", "*.test", "a.x.test")

@dataclass(frozen=True)
class Step:
    """A service gets these labels and so many tasks, or goes (None); `wait`: until the proxy has it."""

    name: str
    labels: Mapping[str, int] | None
    tasks: int
    wait: bool


def steps_of(names: Iterable[str]) -> st.SearchStrategy[list[Step]]:
    """With these labels."""
    labels = st.dictionaries(st.sampled_from(sorted(names)), st.integers(0, 4), max_size=6)
    given = st.one_of(labels, labels, labels, st.none())
    step = st.builds(Step, st.sampled_from(SERVICES), given, st.integers(0, MOST), st.booleans())
    return st.lists(step, min_size=3, max_size=12)


@dataclass
class Stage:
    """Core without Swarm, and applications on loopback that answer on every address of it."""

    world: World
    ports: tuple[int, int]
    tcp: tuple[int, int]
    secrets: Secrets
    store: Store = field(init=False)
    server: GrpcServer = field(init=False)
    first_uses: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        labels = {"type": "com.docker.interlock.core.extension", "com.docker.l7.cluster": ""}
        made = spec({**labels, "com.docker.l7.port": str(self.secrets.port)})
        self.world.put(service("extension", made), task("ext", "extension", addresses=(("front", "127.0.0.1"),)))
        self.world.store(*self.secrets.contents)
        self.secrets.contents = {f"id-{name}": content for name, content in self.secrets.contents.items()}
        self.store = Store(self.world.build.snapshot)
        self.store.put("")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        api = SyncApi(self.store, ("",), Extensions(), Metrics("core", "test"))
        self.server = GrpcServer(api, [Endpoint("127.0.0.1:0", None)])
        await self.server.start()
        try:
            yield self.server.ports[0]
        finally:
            await self.server.stop(grace=0.2)

    def take(self, step: Step) -> None:
        name, have = step.name, set(self.world.cache.tasks_of(f"id-{step.name}"))
        if step.labels is None:
            self._put(self.world.remove(Kind.SERVICE, f"id-{name}"))
        else:
            given = {PREFIX + "hosts": "x.test", PREFIX + "port": str(self.ports[0])}
            given |= {PREFIX + label: self._value(label, number) for label, number in step.labels.items()}
            made = service(name, spec(given, replicas=step.tasks), created=SERVICES.index(name) + 1)
            version = 1 + max((each.version for each in self.world.cache.services.values()), default=0)
            self._put(self.world.put(replace(made, version=version)))
        wanted = {f"{name}{number}" for number in range(step.tasks if step.labels is not None else 0)}
        for gone in sorted(have - wanted):
            self._put(self.world.remove(Kind.TASK, gone))
        for new in sorted(wanted - have):
            number = SERVICES.index(name) * 10 + int(new[1:]) + 1
            self._put(self.world.put(task(new, name, addresses=(("front", f"127.0.1.{number}"),))))

    def _value(self, label: str, number: int) -> str:
        value = VALUES[label][number % len(VALUES[label])]
        return str(self.tcp[("declared", "outside").index(value)]) if label == "tcp_port" else value

    def _put(self, deltas: Mapping[str, Any]) -> None:
        for cluster, delta in deltas.items():
            self.store.put(cluster, delta)

    def outside(self) -> bool:
        """Whether a TCP port is in use that the proxies did not listen on from the start."""
        return (f":{self.tcp[OUTSIDE]}", "/") in self.world.snapshot().routes


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """200 to whatever is asked, once per connection."""
    if await reader.read(10_000):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    writer.close()


def settings_of(directory: Path, tcp: tuple[int, int]) -> Settings:
    tls = (f"127.0.0.1:{free_port()}",)
    return proxy_settings(directory, tcp_ports=(tcp[DECLARED],), spare_backends=6, tls_bind=tls)


def contents() -> dict[str, bytes]:
    """Of secrets, by name."""
    authority = TestAuthority()
    certificates = {f"certificate-{number}": authority.issue(*CERTIFIED).combined for number in (1, 2)}
    authorities = {f"ca-{number}": TestAuthority(f"ca {number}").certificate for number in (1, 2)}
    return certificates | authorities | {f"users-{number}": b"me:pass%d\n" % number for number in (1, 2)}


async def read_back(running: Proxy) -> dict[str, Any]:
    """Everything that HAProxy has which a label can change; names of spare backends replaced by their kind."""
    maps = {}
    homes = {physical: logical for logical, physical in (await running.map("backends.map")).items()}
    for file in sorted(Path(running.settings.run_dir).glob("*.map")):
        text = await running.command(f"show map {file}")
        rows = [line.split(" ", 2)[1:] for line in text.splitlines() if line]
        if file.name == AUTH_MAP:  # each proxy has a key of its own
            rows = [[key.partition("|")[0], value if "|" in key else ""] for key, value in rows]
        counted = Counter((rename(key, homes), rename(value, homes)) for key, value in rows)
        maps[file.name] = sorted(counted.items())
    servers = {}
    text = await running.command("show servers state")
    for columns in (line.split() for line in text.splitlines() if line and line[0].isdigit() and " " in line):
        backend, name, address, state, admin, weight = (columns[i] for i in (1, 3, 4, 5, 6, 7))
        if backend in homes:
            low = int(columns[2]) % policy.HOLD_ID
            enabled = not int(admin) & ~4
            servers[homes[backend], name] = (address, columns[18], weight, low, enabled, state)
    return {"maps": maps, "servers": servers, "tls": await read_back_tls(running)}


async def read_back_tls(running: Proxy) -> dict[str, Any]:
    """Stores with the fingerprints of their certificates, and lines of the crt-list."""
    begin = running.settings.file("tls/")
    text = await running.command("show ssl cert") + await running.command("show ssl ca-file")
    lines = await running.command(f"show ssl crt-list {running.settings.file(CERTIFICATES_LIST)}")
    found: dict[str, Any] = dict(Counter(line.replace(begin, "") for line in lines.splitlines()[1:]))
    for name in (line.removeprefix(begin) for line in text.splitlines() if line.startswith(begin)):
        shown = await running.command(f"show ssl cert {begin}{name}")
        found[name] = [line for line in shown.splitlines() if line.startswith("SHA1")]
    return found


def rename(text: str, homes: Mapping[str, str]) -> str:
    physical, bar, rest = text.partition("|")
    return f"<{homes[physical]}>{bar}{rest}" if physical in homes else text


async def play(binary: Path, sequence: list[Step]) -> None:
    async with applications() as ports, secrets_up() as secrets:
        secrets.contents = contents()
        stage = Stage(World(), ports, (free_port(), free_port()), secrets)
        async with stage.serving() as core:
            with TemporaryDirectory(prefix="l7-") as one, TemporaryDirectory(prefix="l7-") as two:
                async with proxy(binary, settings_of(Path(one), stage.tcp), core) as lived:
                    reloads = await live(stage, lived, sequence)
                    async with proxy(binary, settings_of(Path(two), stage.tcp), core) as fresh:
                        await has_all(stage, fresh)
                        await eventually_equal(lived, fresh)
                    growths = lived.sidecar.metrics.reloads.labels("spare-pool")._value.get()
                    assert lived.sidecar.reloads == reloads + growths


async def live(stage: Stage, running: Proxy, sequence: list[Step]) -> int:
    """Takes all steps; how many reloads they are worth."""
    used, first = False, 0
    await has_all(stage, running)
    for step in sequence:
        stage.take(step)
        if step.wait or stage.outside() != used:
            await has_all(stage, running)
        if stage.outside() and not used:
            used, first = True, 1
    await has_all(stage, running)
    return first


async def has_all(stage: Stage, running: Proxy) -> None:
    await until(
        lambda: running.sidecar.revision == stage.store.revision(""),
        f"{stage.store.revision('')} in effect; {running.sidecar.reconciler._refusals.reasons}",
    )


async def eventually_equal(lived: Proxy, fresh: Proxy) -> None:
    """What leaves may take a moment, and so may what has just started: a probe, a slow start."""

    async def difference() -> dict[str, Any]:
        have, want = await read_back(lived), await read_back(fresh)
        rows = ((kind, key) for kind in want for key in want[kind].keys() | have[kind].keys())
        found = {(kind, key): (have[kind].get(key), want[kind].get(key)) for kind, key in rows}
        return {str(row): values for row, values in found.items() if values[0] != values[1]}

    none: dict[str, Any] = {}
    await eventually(difference, none)


@asynccontextmanager
async def applications() -> AsyncIterator[tuple[int, int]]:
    servers = [await asyncio.start_server(answer, "0.0.0.0", 0) for _ in range(2)]
    try:
        first, second = (server.sockets[0].getsockname()[1] for server in servers)
        yield first, second
    finally:
        for server in servers:
            server.close()


sequences = settings(
    max_examples=12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@sequences
@given(steps_of(VALUES))
def test_any_sequence_ends_like_a_fresh_start(haproxy_binary: Path, sequence: list[Step]) -> None:
    asyncio.run(play(haproxy_binary, sequence))


@sequences
@given(steps_of(TLS))
def test_any_sequence_of_tls_ends_like_a_fresh_start(haproxy_binary: Path, sequence: list[Step]) -> None:
    asyncio.run(play(haproxy_binary, sequence))
