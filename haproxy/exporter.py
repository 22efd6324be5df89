"""HAProxy's own metrics, for Prometheus: the frontend that gives them, and what is made of its answer. Pure.

No public address leads there: it listens on a unix socket, which the sidecar asks for who scrapes it (`scrape`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from haproxy import policy
from haproxy.capabilities import Capabilities
from haproxy.mirror import backends_of, name_of
from haproxy.model import Route
from haproxy.names import BASE, EXPORTER
from haproxy.settings import Settings

SOCKET = "metrics.sock"

CONNECTIONS = 10
"""Who scrapes at the same time; beyond the connections that clients may have."""


def section(settings: Settings) -> str:
    """Nothing for an HAProxy that was built without it, and says so itself (configuration manual, section 2.4). It
    is not logged: that would be a line for each time that somebody looks."""
    return f"""\
.if feature(PROMEX)
frontend {EXPORTER} from {BASE}
  bind unix@{settings.socket_file(SOCKET)} mode 600
  maxconn {CONNECTIONS}
  no log
  http-request use-service prometheus-exporter
.endif
"""


def unused(settings: Settings, capabilities: Capabilities, placement: Mapping[str, str]) -> frozenset[bytes]:
    """The spare backends that nothing is placed in (before 3.4): they have nothing to tell, and would be most of
    the answer."""
    if capabilities.dynamic_backends:
        return frozenset()
    return frozenset(name.encode() for name in policy.spares(settings).keys() - set(placement.values()))


def without(lines: bytes, proxies: Collection[bytes]) -> bytes:
    """Whole lines of an exposition, but those about these proxies."""
    if not proxies:
        return lines
    return b"".join(line for line in lines.splitlines(keepends=True) if _proxy(line) not in proxies)


def _proxy(line: bytes) -> bytes:
    return line.partition(b'proxy="')[2].partition(b'"')[0]


def names(placement: Mapping[str, str], routes: Iterable[Route]) -> Iterator[str]:
    """The lines that say what HAProxy's names stand for: a backend is core's, and a route leads to it. Routes in
    core's names, as `Mirror.routes`."""
    return chain(_backends(placement), _routes(routes))


def _backends(placement: Mapping[str, str]) -> Iterator[str]:
    yield "# HELP l7_backend_info HAProxy's name of a backend (proxy), and that of its services\n"
    yield "# TYPE l7_backend_info gauge\n"
    for key, physical in placement.items():
        yield _sample("l7_backend_info", proxy=physical, backend=name_of(key))


def _routes(routes: Iterable[Route]) -> Iterator[str]:
    yield "# HELP l7_route_info The backends that a host and path lead to\n"
    yield "# TYPE l7_route_info gauge\n"
    for route in routes:
        for backend in sorted(backends_of(route)):
            yield _sample("l7_route_info", host=route.host, path=route.path, backend=backend)


def _sample(name: str, **labels: str) -> str:
    written = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{written}}} 1\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
