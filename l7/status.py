"""What core knows about itself and its extensions, for `l7 status` and /status."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import IntEnum
from typing import Any

import orjson

from l7.labels.table import label_of
from l7.model import (
    Backend,
    KeyPair,
    Problem,
    Rules,
    Secret,
    Server,
    ServerSettings,
    ServerState,
    Snapshot,
    TlsHost,
)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What the proxies of a cluster see together, see l7.v1.ClusterView; servers by what most of them say."""

    proxies: int = 0
    silent: int = 0
    up: int = 0
    down: int = 0
    maintenance: int = 0
    sessions: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Extension:
    """One connected extension. `applied`: the revision in effect there; `unhealthy`: (backend, task, status).

    Of an extension service: `view`, None before it has seen a proxy; `unhealthy` by what most proxies say, `split`:
    how many of how many see a server up, where they do not agree.

    `problems`: what it can't do of what users asked for. `ca`, `identity_until`: name of the CA that signed the
    certificate that the stream was opened with, and its end (ISO 8601); "" without TLS.
    """

    cluster: str
    instance: str
    software: str = ""
    proxy: str = ""
    applied: str = ""
    refused: str = ""
    reason: str = ""
    reloads: int = 0
    drift: int = 0
    held_requests: int = 0
    worker_pid: int = 0
    unhealthy: Mapping[tuple[str, str], str] = field(default_factory=dict)
    split: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    view: ClusterView | None = None
    problems: tuple[Problem, ...] = ()
    ca: str = ""
    identity_until: str = ""


@dataclass(slots=True)
class Extensions:
    """Every open stream, by a number of its own: an instance that reconnects may have two for a moment.

    `on_change` is called when one came, went or said something.
    """

    on_change: Callable[[], None] = lambda: None
    _next: int = 0
    _open: dict[int, Extension] = field(default_factory=dict)

    @contextmanager
    def connected(self, extension: Extension) -> Iterator[int]:
        """Within the block the extension is connected; gives its number."""
        number, self._next = self._next, self._next + 1
        self._open[number] = extension
        self.on_change()
        try:
            yield number
        finally:
            del self._open[number]
            self.on_change()

    def update(self, number: int, **changes: Any) -> None:
        """Changes fields of a connected extension."""
        self._open[number] = replace(self._open[number], **changes)
        self.on_change()

    def __getitem__(self, number: int) -> Extension:
        return self._open[number]

    def __iter__(self) -> Iterator[Extension]:
        return iter(sorted(self._open.values(), key=lambda each: (each.cluster, each.instance)))

    def problems(self) -> frozenset[Problem]:
        """What they report, each once however many proxies say it."""
        return frozenset(problem for each in self._open.values() for problem in each.problems)

    def count(self, cluster: str) -> int:
        """Open streams of a cluster."""
        return sum(each.cluster == cluster for each in self._open.values())


def oldest_proxy(extensions: Iterable[Extension], cluster: str) -> str:
    """The proxy of a cluster with the lowest version, as it calls itself: "haproxy/2.6.12"; "": there is none."""
    named = (each.proxy for each in extensions if each.cluster == cluster and each.proxy)
    return min(named, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)], default="")


def servers_by_state(snapshot: Snapshot) -> dict[str, int]:
    """Number of servers of a cluster, by state in lower case; every state is named."""
    counts = {state.name.lower(): 0 for state in ServerState}
    for backend in snapshot.backends.values():
        for state, number in backend_states(backend).items():
            counts[state] += number
    return counts


def backend_states(backend: Backend) -> dict[str, int]:
    """Number of servers of a backend, by state in lower case; only states that occur."""
    return dict(Counter(server.state.name.lower() for server in backend.servers.values()))


def cluster_document(snapshot: Snapshot) -> dict[str, Any]:
    """A service cluster as JSON values: revision, routes, rules, TLS by host, backends and servers, settings,
    where secrets are fetched. Secrets by id and name."""
    return {
        "name": snapshot.cluster,
        "revision": snapshot.revision,
        "routes": [asdict(route) for _, route in sorted(snapshot.routes.items())],
        "rules": [_rules_document(rules) for _, rules in sorted(snapshot.rules.items())],
        "backends": [_backend_document(backend) for _, backend in sorted(snapshot.backends.items())],
        "config": orjson.loads(snapshot.config),
        "tls_hosts": [_plain(tls) for _, tls in sorted(snapshot.tls_hosts.items())],
        "secret_sources": list(snapshot.secret_sources),
    }


def with_values(problems: Collection[Problem], snapshot: Snapshot) -> Iterator[Problem]:
    """What proxies say about the contents of secrets, with the name of the secret where the service's labels name
    only one by that label: proxies go by ids. Problems of one service cluster, `snapshot` its state."""
    hosts: dict[str, list[TlsHost]] = {problem.service: [] for problem in problems if problem.service}
    for tls in snapshot.tls_hosts.values() if hosts else ():
        if tls.service in hosts:
            hosts[tls.service].append(tls)
    for problem in problems:
        named = _named(problem, hosts.get(problem.service, ()), snapshot)
        names = {each.name for each in named if each is not None}
        yield replace(problem, value=names.pop()) if len(names) == 1 and not problem.value else problem


def _named(problem: Problem, hosts: Iterable[TlsHost], snapshot: Snapshot) -> Iterator[Secret | None]:
    """The secrets that a label of a service names; `hosts`: those about whose TLS it decides."""
    label = problem.label.removeprefix("com.docker.lb.")
    if label == "basic_auth" and problem.service in snapshot.rules:
        yield snapshot.rules[problem.service].basic_auth
    elif label in _OF_HOSTS:
        yield from map(_OF_HOSTS[label], hosts)
    elif label in _OF_TASKS:
        for backend in snapshot.backends.values():
            own = zip(backend.settings.services, backend.settings.servers, strict=False)
            yield from (_OF_TASKS[label](each) for service, each in own if service == problem.service)


def _key(pair: KeyPair | None) -> Secret | None:
    """Where the private key stands."""
    return None if pair is None else pair.key or pair.certificate


_OF_HOSTS: Mapping[str, Callable[[TlsHost], Secret | None]] = {
    "ssl_cert": lambda tls: tls.certificate.certificate,
    "ssl_key": lambda tls: _key(tls.certificate),
    "ssl_client_ca": lambda tls: tls.client_ca,
}
_OF_TASKS: Mapping[str, Callable[[ServerSettings], Secret | None]] = {
    "ssl_backend_ca": lambda own: own.tls_ca,
    "ssl_backend_cert": lambda own: None if own.tls_certificate is None else own.tls_certificate.certificate,
    "ssl_backend_key": lambda own: _key(own.tls_certificate),
}


def _rules_document(rules: Rules) -> dict[str, Any]:
    """Only what is set."""
    return {name: _plain(value) for name, value in _set(rules) if name != "name"} | {"name": rules.name}


def _set(value: Any) -> Iterator[tuple[str, Any]]:
    """Fields of a dataclass that differ from their default."""
    for each in fields(value):
        if (held := getattr(value, each.name)) != each.default:
            yield each.name, held


def _plain(value: Any) -> Any:
    """As JSON values: enumerations by name in lower case."""
    if isinstance(value, IntEnum):
        return value.name.lower()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


_SERVER = tuple(each.name for each in fields(Server))


def _backend_document(backend: Backend) -> dict[str, Any]:
    settings = backend.settings
    return {
        "name": backend.name,
        **{each.name: _plain(getattr(settings, each.name)) for each in fields(settings) if each.name != "servers"},
        "server_settings": [dict(_set_plain(each)) for each in settings.servers],
        "states": backend_states(backend),
        "shares": _shares(backend),
        "servers": [_server_document(server) for _, server in sorted(backend.servers.items())],
    }


def _set_plain(settings: ServerSettings) -> Iterator[tuple[str, Any]]:
    return ((name, _plain(value)) for name, value in _set(settings))


def _shares(backend: Backend) -> dict[str, int]:
    """Sums of the weights of the ready servers, by service."""
    sums = dict.fromkeys(backend.settings.services, 0)
    for server in backend.servers.values():
        if server.state is ServerState.READY:
            sums[backend.settings.services[server.service]] += server.weight
    return sums


def _server_document(server: Server) -> dict[str, Any]:
    # Not `asdict`, which copies deeply: of 100,000 servers that would hold up all streams for seconds.
    document = {name: getattr(server, name) for name in _SERVER}
    return document | {"state": server.state.name.lower()}


def service_document(service: Extension) -> dict[str, Any]:
    """An extension service as JSON values; `applied`: the revision that it has; `view`: what all proxies see."""
    kept = ("cluster", "instance", "software", "applied", "ca", "identity_until")
    return {name: getattr(service, name) for name in kept} | {"view": _view_document(service)}


def _view_document(service: Extension) -> dict[str, Any] | None:
    """None: it has seen no proxy, or is of a version that does not look."""
    if service.view is None or not service.view.proxies:
        return None
    split = [
        {"backend": backend, "task": task, "up": up, "proxies": proxies}
        for (backend, task), (up, proxies) in sorted(service.split.items())
    ]
    down = [{"backend": backend, "task": task} for backend, task in sorted(service.unhealthy)]
    return asdict(service.view) | {"unhealthy": down, "split": split}


def extension_document(extension: Extension) -> dict[str, Any]:
    """As JSON values."""
    document = asdict(extension)
    for name in ("view", "split"):  # of extension services
        del document[name]
    document["unhealthy"] = [
        {"backend": backend, "task": task, "status": status}
        for (backend, task), status in sorted(extension.unhealthy.items())
    ]
    return document


def problems_by_label(problems: Iterable[Problem]) -> dict[str, int]:
    """How many problems there are with each row of the table of labels. A label that is none of ours is `unknown`:
    its name is a user's text, and each would be a time series for ever."""
    rows = (label_of(each.label) for each in problems)
    return dict(Counter("unknown" if row is None else row.key for row in rows))
