"""States of a service cluster of any size, and changes to them, as core's model has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from l7.model import Backend, BackendChange, BackendSettings, Changes, Route, Server, Snapshot


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks by number, 0 and up: each has an id and an address of its own on loopback, answered at `port`."""

    port: int

    def server(self, number: int) -> Server:
        """The task with this number, as long as there are fewer than 6,000,000."""
        high, rest = divmod(number, 250 * 250)
        middle, low = divmod(rest, 250)
        address = f"127.{high % 100 + 1}.{middle + 1}.{low + 1}"
        return Server(task(number), number % (1 << 20) + 1, address, self.port)

    def servers(self, start: int, count: int) -> tuple[Server, ...]:
        return tuple(map(self.server, range(start, start + count)))


def task(number: int) -> str:
    """Id, as long as Swarm's."""
    return f"task{number:021x}"


def service(number: int) -> str:
    return f"service{number:05}"


def host(name: str) -> str:
    return f"{name}.example.org"


def snapshot(services: int, each: int, tasks: Tasks) -> Snapshot:
    """So many services with a route and so many tasks each, numbered through them."""
    names = [service(number) for number in range(services)]
    routes = [Route(host(name), "/", name) for name in names]
    backends = {
        name: Backend(name, BackendSettings((name,)), {s.task: s for s in tasks.servers(number * each, each)})
        for number, name in enumerate(names)
    }
    return Snapshot("", "r0", backends, {route.key: route for route in routes})


def created(name: str, servers: tuple[Server, ...]) -> Changes:
    """A new service with one route."""
    change = BackendChange(name, BackendSettings((name,)), servers)
    return Changes(backends=(change,), routes=(Route(host(name), "/", name),))


@dataclass(slots=True)
class Replacing:
    """Services of `each` tasks, of which one at a time makes room for a new one: by turns over the services, the
    oldest task first."""

    services: int
    each: int
    tasks: Tasks
    done: int = 0

    def next(self, count: int = 1) -> Changes:
        """So many tasks are replaced, each of another service; at most as many as there are services."""
        changes = [self._one(number) for number in range(self.done, self.done + count)]
        self.done += count
        return Changes(backends=tuple(sorted(changes, key=lambda change: change.name)))

    def _one(self, number: int) -> BackendChange:
        turn, index = divmod(number, self.services)
        new = self.tasks.server(self.services * self.each + number)
        old = index * self.each + turn if turn < self.each else number
        return BackendChange(service(index), servers=(new,), removed_servers=(task(old),))
