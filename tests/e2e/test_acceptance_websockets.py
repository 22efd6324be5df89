"""Long connections, WebSockets above all: acceptance items 74 to 76 and 92, on a real Swarm."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import pytest

from testbed.sessions import mask
from tests.e2e.answers import connected
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm]

ORIGIN = "https://app.example.org"


def exchanged(l7: Installation, host: str, path: str) -> list[tuple[str, bytes]]:
    """Of each proxy: the head of its answer to an upgrade, and what comes back for a message."""
    places = [l7.places(proxy) for proxy in range(len(l7.services))]
    return l7.outside(lambda: [_exchange(each, host, path) for each in places])


def _exchange(places: Sequence[tuple[str, int]], host: str, path: str) -> tuple[str, bytes]:
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\nOrigin: {ORIGIN}"
    with connected(places) as connection, connection.makefile("rb") as answer:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n\r\n".encode())
        head = "".join(iter(lambda: answer.readline().decode(), "\r\n"))
        connection.sendall(b"\x81\x85mask" + mask(b"hello", b"mask"))
        return head, answer.read(7)


@pytest.mark.acceptance(74)
@pytest.mark.acceptance(76)
@pytest.mark.timeout(300)
def test_websockets_on_every_path(l7: Installation, create: Create) -> None:
    create("sockets74", "sockets74.local", labels={"websocket_endpoints": "/ws"})
    l7.published("sockets74", "sockets74.local")
    for endpoints in ("/ws", "/", None):
        l7.label("sockets74", websocket_endpoints=endpoints)
        l7.converged()
        for path in ("/ws", "/", "/elsewhere"):
            for head, message in exchanged(l7, "sockets74.local", path):
                assert head.startswith("HTTP/1.1 101 ")
                assert f"\r\nx-origin: {ORIGIN}\r\n" in head.lower()
                assert message == b"\x81\x05hello"
    l7.solved("sockets74")


class Changes:
    """What happens to other services meanwhile, one after the other."""

    def __init__(self, l7: Installation, create: Create, chance: random.Random) -> None:
        self.l7, self.create, self.chance = l7, create, chance
        self.there: list[str] = []
        self.done = 0

    def one(self) -> None:
        kinds: list[Callable[[], None]] = [self.come, self.scale, self.edit, self.go]
        (self.come if not self.there else self.chance.choice(kinds))()
        self.done += 1

    def come(self) -> None:
        name = f"other75x{self.done}"
        self.create(name, f"{name}.local")
        self.there.append(name)
        self.l7.published(name, f"{name}.local")

    def scale(self) -> None:
        replicas = self.chance.randint(1, 4)
        self.l7.scale(self.there[0], replicas)
        self.l7.running(self.there[0], replicas)

    def edit(self) -> None:
        label, values = self.chance.choice(EDITS)
        self.l7.label(self.there[-1], **{label: self.chance.choice(values)})
        self.l7.converged()

    def go(self) -> None:
        self.l7.remove(self.there.pop(0))


EDITS: list[tuple[str, tuple[str | None, ...]]] = [
    ("sticky_session_cookie", ("session", None)),
    ("balance", ("leastconn", "random", "uri", None)),
    ("health_check_path", ("/healthz", None)),
    ("hosts", ("moved75.local", "moved75.local back75.local")),
    ("rate_limit", ("100/s", None)),
    ("weight", ("10", "0", None)),
]


@pytest.mark.acceptance(75)
@pytest.mark.acceptance(92)
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(30, marks=pytest.mark.timeout(300)),
        pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(1200)]),
    ],
)
def test_no_socket_is_cut_by_what_happens_to_others(l7: Installation, create: Create, seconds: int) -> None:
    create("sockets75", "sockets75.local", 2)
    l7.reach("sockets75.local", l7.published("sockets75", "sockets75.local", 2))
    changes = Changes(l7, create, random.Random(75))
    proxies = [l7.task_ids(name) for name in l7.services]
    with l7.sessions("sockets75.local", websockets=20, downloads=1) as reports:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            changes.one()
        l7.converged()
    assert changes.done > 10
    assert [l7.task_ids(name) for name in l7.services] == proxies
    for report in reports:
        assert (report.opened, report.cut) == (21, 0), report.reasons
        assert report.echoes > 20
