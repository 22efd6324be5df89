"""Core, Swarm's secrets and an ACME client, as far as getting certificates needs them; scripted by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from l7.acme.client import Certificate, Challenge
from l7.kit.errors import Rejected, Unavailable
from l7.model import StoredSecret


class Core:
    """`have`: how many of `connected` proxies answer to what is shown, by cluster; all, unless told otherwise."""

    def __init__(self) -> None:
        self.hosts: dict[str, dict[str, str]] | None = {"": {}}
        self.shown: dict[str, Mapping[str, str]] = {}
        self.history: list[tuple[str, tuple[str, ...]]] = []
        self.connected: dict[str, int] = {"": 2}
        self.have: dict[str, int] | None = None
        self.on_show: Callable[[], None] = lambda: None
        self.changes = 0

    def wanted(self) -> Mapping[str, Mapping[str, str]] | None:
        return None if self.hosts is None else {cluster: dict(hosts) for cluster, hosts in self.hosts.items()}

    def show(self, cluster: str, challenges: Mapping[str, str]) -> None:
        self.shown[cluster] = challenges
        self.history.append((cluster, tuple(challenges)))
        self.on_show()

    def proxies(self, cluster: str, token: str) -> tuple[int, int]:
        connected = self.connected.get(cluster, 0)
        have = connected if self.have is None else self.have[cluster]
        return (have if token in self.shown.get(cluster, ()) else 0), connected

    def changed(self) -> None:
        self.changes += 1


class Secrets:
    """`attached`: ids that cannot be removed. `data`: content by name. `lost`: how many of the next requests to
    make one fail, the last of them after it was made."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredSecret] = {}
        self.data: dict[str, bytes] = {}
        self.attached: set[str] = set()
        self.away = False
        self.lost = 0
        self._next = 0

    async def secrets(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]:
        if self.away:
            raise Unavailable("no leader")
        return tuple(self.stored.values())

    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str:
        self.lost, lost = max(0, self.lost - 1), self.lost
        if lost > 1:
            raise Unavailable("no leader")
        if name in self.data:
            raise Rejected("POST /secrets/create", "name conflicts with an existing object")
        self._next += 1
        id_ = f"id{self._next}"
        self.stored[id_] = StoredSecret(id_, 1, name, False, tuple(sorted(labels.items())))
        self.data[name] = data
        if lost:
            raise Unavailable("timed out")
        return id_

    async def remove_secret(self, id_: str) -> None:
        if id_ in self.attached:
            raise Rejected("DELETE /secrets", "is in use by the following service")
        del self.stored[id_]


class Client:
    """`errors`: raised, by step ("connect", "order", "validated"), once each in turn. Certificates are valid from
    now on for `life` seconds."""

    def __init__(self, clock: Callable[[], float], life: int = 9000) -> None:
        self.clock = clock
        self.life = life
        self.errors: dict[str, list[Exception]] = {}
        self.orders: list[str] = []
        self.answered: list[str] = []
        self.connected = False
        self.on_answer: Callable[[], None] = lambda: None

    def connect(self) -> None:
        self.fail("connect")
        self.connected = True

    def forget(self) -> None:
        self.connected = False

    def order(self, host: str) -> Any:
        self.orders.append(host)
        self.fail("order")
        return Order(self, host)

    def fail(self, step: str) -> None:
        if waiting := self.errors.get(step):
            raise waiting.pop(0)


class Order:
    def __init__(self, client: Client, host: str) -> None:
        self.client = client
        self.host = host
        token = f"token-{len(client.orders)}"
        self.challenges = (Challenge(token, f"{token}.thumbprint", cast(Any, None)),)

    def answer(self, challenge: Challenge) -> None:
        self.client.answered.append(challenge.token)
        self.client.on_answer()

    def validated(self) -> float:
        self.client.fail("validated")
        return 0.0

    def finalize(self) -> None:
        self.client.fail("finalize")

    def issued(self) -> Certificate | None:
        self.client.fail("issued")
        begin = int(self.client.clock())
        pem = f"PEM {self.host} {len(self.client.orders)}".encode()
        return Certificate(self.host, pem, begin, begin + self.client.life)

    def close(self) -> None:
        """Has nothing to end."""
