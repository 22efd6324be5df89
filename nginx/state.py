"""The desired state of a service cluster, as the messages that it came in. Pure.

Nothing of an update counts until its last chunk has arrived. An update that does not continue the revision held is
refused (BrokenChain), and the caller asks core for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from l7.kit.errors import BrokenChain, ProtocolError
from l7.v1 import sync_pb2 as pb

RouteKey = tuple[str, str]
"""Host and path."""


@dataclass(slots=True)
class State:
    """Changed by `apply`. `config`: JSON."""

    revision: str = ""
    backends: dict[str, pb.Backend] = field(default_factory=dict)
    routes: dict[RouteKey, pb.Route] = field(default_factory=dict)
    rules: dict[str, pb.Rules] = field(default_factory=dict)
    tls_hosts: dict[str, pb.TlsHost] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    config: bytes = b"{}"
    _staged: list[pb.SyncResponse] = field(default_factory=list)

    def apply(self, chunk: pb.SyncResponse) -> bool:
        """Takes a chunk; whether an update is whole with it. Raises BrokenChain, or ProtocolError for a message
        that makes no sense; the state is unchanged then."""
        if self._staged and self._staged[0].results_in != chunk.results_in:
            self._staged.clear()
        self._staged.append(chunk)
        if not chunk.last:
            return False
        chunks, self._staged = self._staged, []
        self._take(chunks)
        return True

    def still(self) -> State:
        """As it is now, whatever comes. Messages in it are never changed, only replaced."""
        return State(
            self.revision, dict(self.backends), dict(self.routes), dict(self.rules), dict(self.tls_hosts),
            dict(self.challenges), self.config,
        )  # fmt: skip

    # ------------------------------------------------------------ inside

    def _take(self, chunks: list[pb.SyncResponse]) -> None:
        kind = chunks[0].kind
        if kind == pb.UPDATE_KIND_COMPLETE:
            fresh = State()
        elif kind == pb.UPDATE_KIND_INCREMENTAL and chunks[0].applies_to == self.revision:
            fresh = self.still()
        elif kind == pb.UPDATE_KIND_INCREMENTAL:
            raise BrokenChain(f"an update from {chunks[0].applies_to}, while {self.revision or 'none'} is held")
        else:
            raise ProtocolError(f"update of unknown kind {kind}")
        fresh._change([chunk.changes for chunk in chunks])
        fresh.revision = chunks[-1].results_in
        for name in _FIELDS:
            setattr(self, name, getattr(fresh, name))

    def _change(self, changes: list[pb.Changes]) -> None:
        """Removals count before upserts, whichever chunk they are in."""
        for each in changes:
            _remove(self.backends, each.removed_backends)
            _remove(self.routes, ((key.host, key.path) for key in each.removed_routes))
            _remove(self.rules, each.removed_rules)
            _remove(self.tls_hosts, each.removed_tls_hosts)
            _remove(self.challenges, each.removed_challenges)
        self._put_backends([backend for each in changes for backend in each.backends])
        for each in changes:
            self.routes |= {(route.host, route.path): route for route in each.routes}
            self.rules |= {rules.name: rules for rules in each.rules}
            self.tls_hosts |= {host.host: host for host in each.tls_hosts}
            self.challenges |= {one.token: one.key_authorization for one in each.challenges}
            self.config = each.config.json if each.HasField("config") else self.config

    def _put_backends(self, messages: list[pb.Backend]) -> None:
        """Messages of one backend add up."""
        gone: dict[str, set[str]] = {}
        for message in messages:
            gone.setdefault(message.name, set()).update(message.removed_servers)
        made = {name: self._without(name, tasks) for name, tasks in gone.items()}
        for message in messages:
            backend = made[message.name]
            if message.HasField("settings"):
                backend.settings.CopyFrom(message.settings)
            new = {server.task for server in message.servers}
            kept = [server for server in backend.servers if server.task not in new]
            del backend.servers[:]
            backend.servers.extend([*kept, *message.servers])
        self.backends |= made

    def _without(self, name: str, tasks: set[str]) -> pb.Backend:
        """A copy: what was handed out stays as it is."""
        copy = pb.Backend(name=name)
        if name in self.backends:
            copy.settings.CopyFrom(self.backends[name].settings)
            copy.servers.extend(server for server in self.backends[name].servers if server.task not in tasks)
        return copy


def is_coming(state: State) -> bool:
    """Whether a backend without a server that takes requests is about to have one."""
    return any(_is_coming(backend) for backend in state.backends.values())


def _is_coming(backend: pb.Backend) -> bool:
    states = {server.state for server in backend.servers}
    none_yet = pb.SERVER_STATE_READY not in states
    return backend.settings.expected and none_yet and (not states or pb.SERVER_STATE_PENDING in states)


_FIELDS = ("revision", "backends", "routes", "rules", "tls_hosts", "challenges", "config")


def _remove(table: dict[Any, Any], keys: Iterable[Any]) -> None:
    for key in keys:
        table.pop(key, None)
