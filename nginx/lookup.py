"""Tasks that came since: where those that the files name can't be reached, Docker's DNS knows the service's. Pure.

A roll takes seconds, in which a service may be updated as a whole. So a request that reached no task, and one that
may be sent twice, goes on to `tasks.<service>`, which Docker resolves to the tasks that serve now, on the networks
that the proxy is on. That name is looked up when it is needed: NGINX would not start with one that is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from l7.v1 import sync_pb2 as pb
from nginx.text import block, literal
from nginx.upstreams import usable

DNS = "127.0.0.11"
"""Docker's, in each container."""
NEXT = "$l7_next"
"""Where a request goes that reached no task."""

DIRECTIVES = ("recursive_error_pages on;",)
"""Where locations are: one that a request goes on to may have somewhere to go on to."""

# Of requests that a task may have seen, those are sent again that may be, as `proxy_next_upstream` does. Bytes
# count per task, and a time that ran out before any were sent is one for connecting.
VARIABLES = (
    *block("map $upstream_bytes_sent $l7_sent", ['default "";', '"~[1-9]" sent;']),
    *block('map "$l7_sent $request_method" $l7_once', ['default "";', '"~^sent (POST|LOCK|PATCH)$" once;']),
    *block('map "$l7_sent $upstream_status" $l7_late', ['default "";', '"~^sent .*504$" late;']),
)
_ENDING = ('if ($l7_late = "late") { return 504; }', 'if ($l7_once = "once") { return 502; }')


def resolving(address: str) -> list[str]:
    """Directives for a location that looks names up. Docker says that they are good for ten minutes."""
    return [f"resolver {address} valid=1s;", "resolver_timeout 2s;"]


def target(backend: pb.Backend | None, splits: dict[str, list[str]]) -> str:
    """Name and port of a backend's tasks, "" for none. Of several services, each gets its share of requests, by a
    variable that is put in `splits`."""
    shares: dict[str, int] = {}
    for server in _named(backend):
        service = _service(backend, server)
        if service:
            name = literal(f"tasks.{service}:{server.port}")
            shares[name] = shares.get(name, 0) + server.weight
    if len(shares) < 2:
        return next(iter(shares), "")
    return _split(shares, splits)


def _named(backend: pb.Backend | None) -> list[pb.Server]:
    """Those that tell service and port: of tasks that are about to run, too, where no other is there."""
    return (usable(backend) or list(backend.servers)) if backend is not None else []


def _service(backend: pb.Backend | None, server: pb.Server) -> str:
    services = backend.settings.services if backend is not None else ()
    return services[server.service] if server.service < len(services) else ""


def _split(shares: Mapping[str, int], splits: dict[str, list[str]]) -> str:
    total = sum(shares.values())
    *first, last = sorted(shares)
    rows = [*(f"{100 * shares[name] / total:.2f}% {name};" for name in first), f"* {last};"]
    for name, there in splits.items():
        if there == rows:
            return name
    name = f"$l7_share_{len(splits)}"
    splits[name] = rows
    return name


def split_clients(splits: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The blocks that define the variables of `target`."""
    for name, rows in splits.items():
        yield from block(f'split_clients "$request_id" {name}', rows)


@dataclass(slots=True)
class Again:
    """The named locations of one server: what requests go through that go on to other tasks."""

    _names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def turn(self, target: str, body: Iterable[str]) -> list[str]:
        """Directives of a location whose requests go on to `target`, by `body`, where they reach nobody: twice, as
        who was looked up may have just gone, which took a second to notice."""
        body = (*_ENDING, *body)
        last = self._name(body)
        name = self._name((f"error_page 502 504 = {last};", *body))
        return [f"set {NEXT} {target};", f"error_page 502 504 = {name};"]

    def wait(self, target: str) -> list[str]:
        """The same for a location that has nobody else: what reaches no task is 503."""
        sent = 'if ($l7_sent = "sent") { return 502; }'
        name = self._name((*_ENDING, sent, "return 503;"))
        return [f"set {NEXT} {target};", f"error_page 502 504 = {name};"]

    def _name(self, body: tuple[str, ...]) -> str:
        return self._names.setdefault(body, f"@l7_again_{len(self._names)}")

    def text(self) -> Iterator[str]:
        for body, name in self._names.items():
            yield from block(f"location {name}", body)
