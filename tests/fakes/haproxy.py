"""A model of HAProxy in memory: its rules and replies as far as l7's ops go, and nothing of ours.

Property tests of the planner run on it; `tests/contract/test_haproxy_model.py` holds it to the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from haproxy import checks, ops, policy
from haproxy.capabilities import Capabilities
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Admin, ServerRow
from haproxy.names import BASE, NOWHERE
from haproxy.ops import Op
from haproxy.settings import BACKENDS_MAP, CERTIFICATES_LIST, CHECK_STATUS_MAP, MAPS, ROUTES_MAP, Settings
from tests.fakes.haproxy_tls import ModelStores


@dataclass(frozen=True, slots=True)
class Observed:
    """What HAProxy itself answered.

    `servers`: physical backend -> server name -> row; a physical backend without servers maps to {}.
    `backends`: rows of backends.map, logical -> physical. `routes`: rows of routes.map, "host/path/" -> value.
    `tables`: rows of the other maps, by file.
    """

    servers: Mapping[str, Mapping[str, ServerRow]] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


UNKNOWN_COMMAND = "Unknown command, but maybe one of the following ones is a better match:\n  help\n"
NO_BACKEND = "No such backend.\n"
NO_SERVER = "No such server.\n"
NO_MAP = "Unknown map identifier. Please use #<id> or <file>.\n"
FORCED = Admin.FORCED_MAINT
ID_LAST = (3, 4, 0)


@dataclass
class _Backend:
    """A backend, routed to only while it is published."""

    published: bool = True
    servers: dict[str, ServerRow] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)
    """Servers with the keyword `check`."""


class ModelHAProxy:
    """An HAProxy as `render_static` starts it: on 2.6 with spare backends, from 3.4 on with none.

    `apply` answers in HAProxy's words; `observed` is what a read-back would give. Whether a server's checks
    pass, and who is connected, the test says: `fail`, `recover`, `open_connection`, `close_connections`.
    """

    def __init__(self, settings: Settings, capabilities: Capabilities) -> None:
        self.settings = settings
        self.capabilities = capabilities
        self.policies = {BASE, *(each.name for each in policy.POLICIES)}
        self.backends: dict[str, _Backend] = {NOWHERE: _Backend()}
        self.maps: dict[str, list[tuple[str, str]]] = {settings.file(file): [] for file in MAPS}
        self.maps[settings.file(CHECK_STATUS_MAP)] += checks.shared_rows().items()
        self.connections: Counter[tuple[str, str]] = Counter()
        self.stores = ModelStores(capabilities, settings.file(CERTIFICATES_LIST))
        if not capabilities.dynamic_backends:
            for name in policy.spares(settings):
                self.backends[name] = _Backend(servers={HOLD: _spare_hold(name)})

    # ------------------------------------------------------------ commands

    def apply(self, op: Op) -> str:
        """Carry out one op; HAProxy's reply."""
        if isinstance(op, ops.TlsOp):
            return self.stores.apply(op)
        match op:
            case ops.AddBackend() | ops.PublishBackend() | ops.UnpublishBackend() | ops.DeleteBackend():
                return self._backend_op(op) if self.capabilities.dynamic_backends else UNKNOWN_COMMAND
            case ops.AddMapRow() | ops.SetMapRow() | ops.DeleteMapRow():
                rows = self.maps.get(op.map)
                return NO_MAP if rows is None else self._map_op(op, rows)
            case _:
                backend = self.backends.get(op.backend)
                return NO_BACKEND if backend is None else self._server_op(op, backend)

    def apply_all(self, batch: Iterable[Op]) -> list[str]:
        return [self.apply(op) for op in batch]

    def _backend_op(
        self, op: ops.AddBackend | ops.PublishBackend | ops.UnpublishBackend | ops.DeleteBackend
    ) -> str:
        if isinstance(op, ops.AddBackend):
            return self._add_backend(op)
        backend = self.backends.get(op.backend)
        if backend is None:
            return NO_BACKEND
        match op:
            case ops.PublishBackend():
                backend.published = True
                return "Backend published.\n"
            case ops.UnpublishBackend():
                backend.published = False
                return "Backend unpublished.\n"
            case ops.DeleteBackend():
                return self._delete_backend(op.backend, backend)

    def _add_backend(self, op: ops.AddBackend) -> str:
        if op.policy not in self.policies:
            return f"Cannot find default proxy '{op.policy}'.\n"
        if op.backend in self.backends:
            return f"Error during backend creation : name is already used by other proxy 'backend {op.backend}'.\n"
        self.backends[op.backend] = _Backend(published=False)
        return "New backend registered.\n"

    def _delete_backend(self, name: str, backend: _Backend) -> str:
        if backend.published:
            return "Backend must be unpublished prior to its deletion.\n"
        if backend.servers:
            return "Only a backend without server can be deleted.\n"
        del self.backends[name]
        return "Backend deleted.\n"

    def _server_op(
        self,
        op: ops.AddServer
        | ops.EnableServer
        | ops.EnableHealth
        | ops.DisableServer
        | ops.SetWeight
        | ops.ShutdownSessions
        | ops.DeleteServer,
        backend: _Backend,
    ) -> str:
        if isinstance(op, ops.AddServer):
            return self._add_server(op, backend)
        row = backend.servers.get(op.name)
        if row is None:
            return NO_SERVER
        match op:
            case ops.EnableServer():
                backend.servers[op.name] = replace(row, admin=row.admin & ~FORCED, up=row.up or not row.enabled)
            case ops.DisableServer():
                backend.servers[op.name] = replace(row, admin=row.admin | FORCED, up=False)
            case ops.SetWeight():
                backend.servers[op.name] = replace(row, weight=op.weight)
            case ops.EnableHealth():
                if op.name not in backend.checked:
                    return "Health check was not configured on this server, cannot enable.\n"
                backend.servers[op.name] = replace(row, check_enabled=True)
            case ops.ShutdownSessions():
                del self.connections[op.backend, op.name]
            case ops.DeleteServer():
                return self._delete_server(op, backend, row)
        return ""

    def _add_server(self, op: ops.AddServer, backend: _Backend) -> str:
        owner = {row.id: row.name for row in backend.servers.values()}
        errors = []
        if op.name in backend.servers:
            errors.append("Already exists a server with the same name in backend.\n")
        if op.id in owner:
            errors.append(f"'id' : custom id {op.id} already used at (null):0 ('server {owner[op.id]}').\n")
        if errors:  # where both are wrong, versions before 3.4 look at the id first
            return errors[-1 if self.capabilities.version < ID_LAST else 0]
        number = op.id or next(n for n in range(1, len(owner) + 2) if n not in owner)
        backend.servers[op.name] = ServerRow(
            op.backend, op.name, number, op.address, op.port, op.weight, FORCED, up=False, check_enabled=False
        )
        if "check" in op.keywords:
            backend.checked.add(op.name)
        return "New server registered.\n"

    def _delete_server(self, op: ops.DeleteServer, backend: _Backend, row: ServerRow) -> str:
        if not row.admin & FORCED:
            return "Only servers in maintenance mode can be deleted.\n"
        if self.connections[op.backend, op.name]:
            return "Server still has connections attached to it, cannot remove it.\n"
        del backend.servers[op.name]
        backend.checked.discard(op.name)
        return "Server deleted.\n"

    def _map_op(self, op: ops.AddMapRow | ops.SetMapRow | ops.DeleteMapRow, rows: list[tuple[str, str]]) -> str:
        there = any(key == op.key for key, _ in rows)
        match op:
            case ops.AddMapRow():
                rows.append((op.key, op.value))
            case ops.SetMapRow():
                rows[:] = [(key, op.value if key == op.key else value) for key, value in rows]
                return "" if there else "entry not found.\n"
            case ops.DeleteMapRow():
                rows[:] = [row for row in rows if row[0] != op.key]
                absent = "" if self.capabilities.deletes_absent_map_row else "Key not found.\n"
                return "" if there else absent
        return ""

    # ------------------------------------------------------------ what happens by itself

    def open_connection(self, backend: str, server: str) -> None:
        """A request or WebSocket that is under way: it outlives maintenance, and keeps the server from deletion."""
        self.connections[backend, server] += 1

    def close_connections(self, backend: str, server: str) -> None:
        del self.connections[backend, server]

    def fail(self, backend: str, server: str) -> None:
        """HAProxy's checks find the server down; nothing happens without checks or out of rotation."""
        row = self.backends[backend].servers[server]
        if row.check_enabled and row.enabled:
            self.backends[backend].servers[server] = replace(row, up=False)

    def recover(self, backend: str, server: str) -> None:
        row = self.backends[backend].servers[server]
        if row.check_enabled and row.enabled:
            self.backends[backend].servers[server] = replace(row, up=True)

    # ------------------------------------------------------------ reads

    def observed(self) -> Observed:
        """As read back; of a map's copies the last one counts, as in a dict made of its rows."""
        maps = {file: dict(self.maps[self.settings.file(file)]) for file in MAPS}
        return Observed(
            servers={name: dict(backend.servers) for name, backend in sorted(self.backends.items())},
            backends=maps.pop(BACKENDS_MAP),
            routes=maps.pop(ROUTES_MAP),
            tables=maps,
        )

    def servers_state(self, backend: str | None = None) -> bytes:
        """`show servers state`, of one backend or of all. Raises KeyError for one that is not there."""
        names = self.backends if backend is None else [backend]
        rows = (row for name in names for row in self.backends[name].servers.values())
        return SERVERS_STATE + b"".join(map(servers_state_row, rows)) + b"\n"

    def copies(self) -> Mapping[str, int]:
        """Keys that are in a map more than once, and how often: a planner must never make any."""
        counts = Counter(f"{file}: {key}" for file, rows in self.maps.items() for key, _ in rows)
        return {key: count for key, count in counts.items() if count > 1}

    def backend_of(self, host: str, path: str) -> str | None:
        """The physical backend that a request for an exact host and a plain path is sent to, None: refused."""
        routes, backends = (dict(self.maps[self.settings.file(name)]) for name in (ROUTES_MAP, BACKENDS_MAP))
        looked_up = f"{host}{path}/"
        matches = [key for key in routes if looked_up.startswith(key)]
        if not matches:
            return None
        physical = backends.get(routes[max(matches, key=len)].partition("|")[0])
        backend = self.backends.get(physical or "")
        return physical if backend is not None and backend.published else None


SERVERS_STATE = (
    b"1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    b"srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    b"srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port "
    b"srv_check_addr srv_agent_addr srv_agent_port\n"
)


def servers_state_row(row: ServerRow) -> bytes:
    """As `show servers state` has it; what is not in a row is made up."""
    operational, check = (2 if row.up else 0), (6 if row.check_enabled else 2)
    return (
        f"3 {row.backend} {row.id} {row.name} {row.address} {operational} {int(row.admin)} {row.weight} 1 7 1 0 2 "
        f"{check} 0 0 0 - {row.port} - 0 0 - - 0\n"
    ).encode()


def _spare_hold(backend: str) -> ServerRow:
    disabled = Admin.FORCED_MAINT | Admin.CONFIG_MAINT
    return ServerRow(
        backend, HOLD, policy.HOLD_ID, HOLD_ADDRESS, HOLD_PORT, 1, disabled, up=False, check_enabled=False
    )
