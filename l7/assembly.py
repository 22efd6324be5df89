"""Backends: the fragments of the services behind one → its settings and servers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from l7 import shares
from l7.fragment import Candidate, Fragment, Kind, Pooled, assign_ids
from l7.model import Backend, BackendChange, BackendSettings, Protocol, RetryOn, ServerSettings, ServerState
from l7.shares import Share

Members = Sequence[Sequence[Fragment]]
"""The fragments of each service of a backend, parallel to its services; the oldest first."""

_DEFAULT = ServerSettings()


def assemble(pooled: Pooled, members: Members) -> Backend:
    """A backend of these services, as they are now."""
    members = [[each for each in fragments if _belongs(each, pooled.kind)] for fragments in members]
    return Backend(pooled.name, _settings(pooled, members), assign_ids(_candidates(pooled.kind, members)))


def _belongs(fragment: Fragment, kind: Kind) -> bool:
    return kind is Kind.CANARY or fragment.claim.spec.weight != 0


# ---------------------------------------------------------------- settings


def _settings(pooled: Pooled, members: Members) -> BackendSettings:
    """The oldest service decides about the backend, each service about its own servers."""
    everyone = [fragment for fragments in members for fragment in fragments]
    spec = min(everyone, key=lambda fragment: fragment.claim.seniority).claim.spec
    tcp = pooled.kind in (Kind.TCP, Kind.TLS)
    return BackendSettings(
        services=pooled.services,
        # A canary never makes a request wait: falling back to the others is what it does instead.
        expected=pooled.kind is not Kind.CANARY and any(fragment.expected for fragment in everyone),
        balance=spec.balance,
        retry_on=RetryOn.CONNECT if tcp else spec.retry_on,
        check=None if tcp else spec.check,
        servers=_server_settings(members, tcp),
        tcp=tcp,
    )


def _server_settings(members: Members, tcp: bool) -> tuple[ServerSettings, ...]:
    found = tuple(_own(fragments[0], tcp) if fragments else _DEFAULT for fragments in members)
    return found if any(each != _DEFAULT for each in found) else ()


def _own(fragment: Fragment, tcp: bool) -> ServerSettings:
    server = fragment.claim.spec.server
    # What the client says is passed on as it is: nothing in between could speak HTTP/2 or TLS for it.
    return (
        replace(server, protocol=Protocol.HTTP, tls_ca=None, tls_name="", tls_certificate=None) if tcp else server
    )


# ---------------------------------------------------------------- servers


def _candidates(kind: Kind, members: Members) -> Iterator[Candidate]:
    weights = [shares.EVEN] * len(members) if kind is Kind.CANARY else shares.weights([*map(_share, members)])
    for number, (fragments, weight) in enumerate(zip(members, weights, strict=True)):
        for fragment in fragments:
            for each in fragment.candidates:
                server = each.server
                if (server.service, server.weight) != (number, weight):
                    each = Candidate(each.created, replace(server, service=number, weight=weight))
                yield each


def _share(fragments: Sequence[Fragment]) -> Share:
    return Share(fragments[0].claim.spec.weight if fragments else None, _dividing(fragments))


def _dividing(fragments: Collection[Fragment]) -> int:
    """How many tasks divide a share: those that serve; before there is one, those that will; else those left."""
    states = [each.server.state for fragment in fragments for each in fragment.candidates]
    order = (ServerState.READY, ServerState.PENDING, ServerState.LEAVING)
    return next((number for state in order if (number := states.count(state))), 0)


# ---------------------------------------------------------------- change


def diff_backend(old: Backend | None, new: Backend) -> BackendChange | None:
    """What leads from `old` to `new`, None when nothing does."""
    if old is None:
        return BackendChange(new.name, new.settings, tuple(new.servers.values()))
    settings = new.settings if new.settings != old.settings else None
    servers = tuple(server for task, server in new.servers.items() if old.servers.get(task) != server)
    removed = tuple(task for task in old.servers if task not in new.servers)
    if settings is None and not servers and not removed:
        return None
    return BackendChange(new.name, settings, servers, removed)
