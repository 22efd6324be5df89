"""What an audit, a COMPLETE and one event cost the sidecar of a full cluster: its own part, on a model of HAProxy.

python -m pytest benchmarks/micro/test_sidecar.py --benchmark-group-by=param:size

Dumps are handed over in chunks as large as those that HAProxy's socket gives. Times are of the CPU.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from haproxy import admission
from haproxy.accepting import Passed
from haproxy.capabilities import capabilities
from haproxy.checks import check_of
from haproxy.model import ServerRow
from haproxy.ops import Op
from haproxy.probe import Target
from haproxy.reconcile import AuditKind
from haproxy.runtime.client import Result
from haproxy.runtime.dumps import Info
from haproxy.runtime.replies import check
from haproxy.settings import Settings
from haproxy.sidecar import Options, Sidecar
from l7.kit import logs
from l7.kit.errors import Rejected
from l7.kit.metrics import Metrics
from l7.v1 import sync_pb2 as pb
from tests.fakes.haproxy import SERVERS_STATE, ModelHAProxy, servers_state_row

pytestmark = pytest.mark.benchmark(timer=time.process_time)

SIZES = {"1000x100": (1000, 100), "1x5000": (1, 5000)}
"""Backends and servers in each."""
CHUNK = 16384
ROUTES = 10_000
V34 = capabilities((3, 4, 7))
SETTINGS = Settings(run_dir="/run/l7")


class Thread:
    """Runtime and its thread in one, on a model. Text of a row is made when the row changes, as HAProxy's time is
    not ours."""

    def __init__(self, model: ModelHAProxy) -> None:
        self.model = model
        self._texts: dict[tuple[str, str], tuple[ServerRow, bytes]] = {}
        self.render()

    @property
    def runtime(self) -> Thread:
        return self

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def apply(self, ops: Sequence[Op]) -> list[Result]:
        return [Result(op, check(op, self.model.apply(op))) for op in ops]

    def info(self) -> Info:
        return Info((3, 4, 7), 1, 1, False, {})

    def backends(self) -> tuple[str, ...]:
        return tuple(self.model.backends)

    def stream_servers_state(self, backend: str | None = None) -> Iterator[bytes]:
        if backend is not None and backend not in self.model.backends:
            raise Rejected("show servers state", "Can't find backend.")
        dump = self._whole if backend is None else self.dump([backend])
        for at in range(0, len(dump), CHUNK):
            yield dump[at : at + CHUNK]

    def render(self) -> None:
        """What a dump of all will say from now on."""
        self._whole = self.dump(self.model.backends)

    def dump(self, backends: Sequence[str] | dict[str, Any]) -> bytes:
        rows = (row for name in backends for row in self.model.backends[name].servers.values())
        return SERVERS_STATE + b"".join(map(self._text, rows)) + b"\n"

    def _text(self, row: ServerRow) -> bytes:
        known = self._texts.get((row.backend, row.name))
        if known is None or known[0] is not row:
            known = self._texts[row.backend, row.name] = row, servers_state_row(row)
        return known[1]

    def map_rows(self, file: str) -> tuple[tuple[str, str], ...]:
        return tuple(self.model.maps[file])

    def get_map_row(self, file: str, key: str) -> str | None:
        return next((value for name, value in self.model.maps[file] if name == key), None)

    def certificates(self) -> Any:
        return self.model.stores.certificates()

    def authorities(self) -> Any:
        return self.model.stores.authorities()


class World:
    """A sidecar that has converged: all tasks are in rotation."""

    def __init__(self, backends: int, servers: int) -> None:
        self.backends, self.servers = backends, servers
        options = Options(core="127.0.0.1:1", instance="proxy")
        self.loop = asyncio.new_event_loop()
        self.sidecar = self.loop.run_until_complete(self._made(options))
        self.thread = Thread(ModelHAProxy(SETTINGS, V34))
        self.loop.run_until_complete(self.sidecar.reconciler.start(self.thread))  # type: ignore[arg-type]
        self.take(self.complete("r1"))
        self._run(self._accept)
        self.thread.render()
        self.audit()

    async def _made(self, options: Options) -> Sidecar:
        return Sidecar(options, SETTINGS, Metrics("sidecar", "bench"), "bench")

    def complete(self, revision: str, odd: int = 0) -> bytes:
        """`odd`: one in so many backends has a server more; 0: none."""
        backends = [self._backend(n, self.servers + bool(odd and n % odd == 0)) for n in range(self.backends)]
        routes = [
            pb.Route(host=f"{n}.test", path="/", backend=f"shop-{n % self.backends}") for n in range(ROUTES)
        ]
        changes = pb.Changes(backends=backends, routes=routes)
        return pb.SyncResponse(kind=1, results_in=revision, last=True, changes=changes).SerializeToString()

    def event(self, revision: str, state: int) -> bytes:
        """One task of a service is in another state."""
        changes = pb.Changes(backends=[pb.Backend(name="shop-0", servers=[_server(0, 7, state)])])
        start = self.sidecar.mirror.revision
        update = pb.SyncResponse(kind=2, applies_to=start, results_in=revision, last=True, changes=changes)
        return update.SerializeToString()

    def _backend(self, number: int, servers: int) -> pb.Backend:
        settings = pb.BackendSettings(services=[f"shop-{number}"], expected=True)
        return pb.Backend(
            name=f"shop-{number}", settings=settings, servers=[_server(number, n) for n in range(servers)]
        )

    def take(self, data: bytes) -> None:
        """As it comes from core, parsing included, until HAProxy has it."""
        self._run(lambda: self.sidecar._update(pb.SyncResponse.FromString(data), data))

    def audit(self) -> None:
        self._run(lambda: self.sidecar.reconciler.audit(AuditKind.SERVERS))

    def _accept(self) -> None:
        """All that is wanted accepts connections."""
        for key, backend in self.sidecar.mirror.backends.items():
            for name, server in self.sidecar.reconciler.wanted(key).items():
                passed = Passed(server.task, check_of(backend, server))
                self.sidecar.reconciler.admission._accepted(Target(key, name, passed))

    def _run(self, what: Callable[[], None]) -> None:
        async def until_converged() -> None:
            what()
            while self.sidecar.reconciler._wake.is_set():
                await self.sidecar.reconciler.converge(self.thread)  # type: ignore[arg-type]

        self.loop.run_until_complete(until_converged())


def _server(backend: int, number: int, state: int = 2) -> pb.Server:
    address = f"10.{backend >> 8}.{backend & 255}.{number % 250 + 1}"
    task = f"t{backend:05}x{number:05}" + "a" * 13
    return pb.Server(task=task, id=number + 1, address=address, port=80 + number // 250, weight=64, state=state)


@pytest.fixture(scope="module", params=SIZES, ids=str)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    logs.configure("error")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission.Prober, "want", lambda self, backend, targets: None)
        patch.setattr(Sidecar, "_capabilities", lambda self: V34)
        patch.setattr(Sidecar, "_save", lambda self: None)
        made = World(*SIZES[request.param])
        yield made
        made.loop.close()


def test_audit_of_servers(benchmark: BenchmarkFixture, world: World) -> None:
    benchmark.pedantic(world.audit, rounds=20, warmup_rounds=2)


def test_complete_that_changes_nothing(benchmark: BenchmarkFixture, world: World) -> None:
    data = world.complete("r1")
    benchmark.pedantic(world.take, (data,), rounds=10, warmup_rounds=1)


def test_complete_with_one_backend_in_a_hundred(benchmark: BenchmarkFixture, world: World) -> None:
    """A server more, and gone again, by turns."""
    data = iter([world.complete("r2", odd=100), world.complete("r1")] * 5)
    benchmark.pedantic(lambda: world.take(next(data)), rounds=10)
    assert world.sidecar.revision == "r1"


def test_one_event(benchmark: BenchmarkFixture, world: World) -> None:
    """A task that leaves, and one that runs, by turns: from the message to HAProxy's last answer."""
    numbers = iter(range(1000))

    def once() -> None:
        number = next(numbers)
        world.take(world.event(f"e{number}", 2 + (number % 2 == 0)))

    benchmark.pedantic(once, rounds=20, warmup_rounds=2)
    assert world.sidecar.revision == world.sidecar.mirror.revision
