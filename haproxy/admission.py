"""Who may take requests: asks the tasks that run whether they work, and remembers who does.

A server is asked what HAProxy's own checks will ask it (`haproxy.checks`), since a server that is enabled before
it passes them would answer requests that it can't answer, until they find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from haproxy.accepting import Accepting, Passed
from haproxy.checks import Check, check_of
from haproxy.model import Backend, Server, ServerRow, ServerState
from haproxy.probe import BLIND, Prober, Target, Trust
from l7.v1 import sync_pb2 as pb


@dataclass(frozen=True, slots=True)
class _Known:
    """What has to be known of servers of a backend, by name. The same as long as `backend` and `servers` are."""

    backend: Backend
    servers: Mapping[str, Server]
    passes: dict[str, Passed]


class Admission:
    """`wanted` gives the servers of a logical backend by their HAProxy name, `backend` the backend itself (None:
    there is none); `accepted` is told of a backend of which one more server accepts. `trust`: what a check needs of
    certificates, None while that is not there. `told` is called when `problems` are others."""

    def __init__(
        self,
        wanted: Callable[[str], Mapping[str, Server]],
        accepted: Callable[[str], None],
        backend: Callable[[str], Backend | None],
        trust: Callable[[Check], Trust | None] = lambda check: BLIND,
    ) -> None:
        self.told: Callable[[], None] = lambda: None
        self.accepting = Accepting()
        self._wanted = wanted
        self._backend = backend
        self._tell = accepted
        self._prober = Prober(self._accepted, trust, lambda: self.told())
        self._serving: dict[str, frozenset[str]] = {}
        self._known: dict[str, _Known] = {}

    def ask(self, backend: str) -> None:
        """Probe what runs, is not in rotation and not known to accept, and nothing else of this backend."""
        passes, servers = self._passes(backend), self._wanted(backend)
        idle = passes.keys() - self._serving.get(backend, frozenset())
        asked = {name for name in idle if servers[name].state is ServerState.READY}
        asked = {name for name in asked if passes[name] not in self.accepting}
        services = self._services(backend) if asked else {}
        self._prober.want(
            backend,
            {Target(backend, name, passes[name], services.get(passes[name].task, "")) for name in asked},
        )

    def learn(self, backend: str, rows: Mapping[str, ServerRow]) -> None:
        """What is up in rotation accepts; what is down there, or no longer wanted, is forgotten; the rest is asked.

        Nobody asks what is in rotation: when its check changes, HAProxy finds out whether it passes. But where it
        is down and has to prove who it is, that may be why: its certificate has expired since, perhaps.
        """
        wanted = self._passes(backend)
        enabled = {name: row.up for name, row in rows.items() if row.enabled and name in wanted}
        down = {name for name, up in enabled.items() if not up}
        up = {name: passed for name, passed in wanted.items() if name not in down} if down else wanted
        news = self.accepting.unknown(backend, up)
        self.accepting.add(backend, {n: p for n, p in news.items() if n in enabled or p in self.accepting})
        self.accepting.keep(backend, up)
        self._serving[backend] = frozenset(enabled) - {n for n in down if wanted[n].check.ca is not None}
        self.ask(backend)

    def forget(self, backend: str) -> None:
        """The backend is no more."""
        self._serving.pop(backend, None)
        self._known.pop(backend, None)
        self.accepting.keep(backend, {})
        self._prober.want(backend, set())

    @property
    def problems(self) -> list[pb.Problem]:
        """Tasks that do not prove who they are: one for each service and label, the same on every proxy."""
        found = sorted((target.service, each) for target, each in self._prober.refusals.items())
        first = {(service, each.label): each for service, each in reversed(found)}
        return [
            pb.Problem(service=service, label=label, message=each.message, remedy=each.remedy)
            for (service, label), each in sorted(first.items())
        ]

    def close(self) -> None:
        self._prober.close()

    def _passes(self, key: str) -> dict[str, Passed]:
        """What has to be known of the servers of a backend, by name."""
        backend, servers, known = self._backend(key), self._wanted(key), self._known.get(key)
        if backend is None:
            return {}
        if known is None or known.backend is not backend or known.servers is not servers:
            known = self._known[key] = _Known(backend, servers, _passes(backend, servers, known))
        return known.passes

    def _services(self, backend: str) -> dict[str, str]:
        """Task -> its service, of those that have to prove anything."""
        want = self._backend(backend)
        if want is None or not any(own.tls_ca or own.tls_certificate for own in want.settings):
            return {}
        servers = (server for server in want.servers.values() if server.service < len(want.services))
        return {server.task: want.services[server.service] for server in servers}

    def _accepted(self, target: Target) -> None:
        self.accepting.add(target.backend, {target.name: target.passed})
        self._tell(target.backend)


def _passes(backend: Backend, servers: Mapping[str, Server], known: _Known | None) -> dict[str, Passed]:
    """What is known of a server stays, unless something is said otherwise of it, or of all."""
    passes = known.passes if known and replace(known.backend, servers={}) == replace(backend, servers={}) else {}
    before = known.servers if known else {}
    return {
        name: passes[name]
        if name in passes and before.get(name) is server
        else Passed(server.task, check_of(backend, server))
        for name, server in servers.items()
    }
