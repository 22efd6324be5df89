"""What core wants (Desired, top) and what the running HAProxy answers of a server (bottom), as values.

Commands that lead from one to the other are in `haproxy.ops`; `haproxy.plan` chooses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

HOLD = "hold"
"""Name of the placeholder server of each backend: refuses connections, so that requests wait (design: hold)."""

HOLD_ADDRESS = "127.0.0.1"
HOLD_PORT = 1


# ---------------------------------------------------------------- what core wants


class ServerState(IntEnum):
    """Where a task is in its life. Values are those of l7.v1.ServerState."""

    PENDING = 1
    READY = 2
    LEAVING = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A task as a target; fields as in l7.v1.Server, times in milliseconds."""

    task: str
    id: int
    address: str
    port: int
    weight: int = 64
    state: ServerState = ServerState.READY
    stop_in: int = 0


@dataclass(frozen=True, slots=True)
class Backend:
    """A logical backend: servers keyed by task id. `expected`: one without a server will have one again."""

    name: str
    services: tuple[str, ...] = ()
    expected: bool = True
    servers: Mapping[str, Server] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """Host ("*.example.org": one label) and path ("/" or no trailing slash) lead to a logical backend."""

    host: str
    path: str
    backend: str
    strip_path: bool = False


RouteKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Desired:
    """The complete desired state of a cluster at a revision."""

    revision: str = ""
    backends: Mapping[str, Backend] = field(default_factory=dict)
    routes: Mapping[RouteKey, Route] = field(default_factory=dict)


# ---------------------------------------------------------------- what HAProxy answered


class Admin(IntFlag):
    """`srv_admin_state` of `show servers state` (HAProxy management guide, section 9.3, "show servers state")."""

    FORCED_MAINT = 0x01
    INHERITED_MAINT = 0x02
    CONFIG_MAINT = 0x04
    FORCED_DRAIN = 0x08
    INHERITED_DRAIN = 0x10
    RESOLUTION_MAINT = 0x20
    HOSTNAME_CHANGED = 0x40

    MAINT = FORCED_MAINT | INHERITED_MAINT | RESOLUTION_MAINT
    """Without CONFIG_MAINT: that bit only remembers `disabled` in the configuration, and stays when enabled."""
    DRAIN = FORCED_DRAIN | INHERITED_DRAIN


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server as `show servers state` has it. `up`: operational state is RUNNING or STARTING."""

    backend: str
    name: str
    id: int
    address: str
    port: int
    weight: int
    admin: Admin
    up: bool
    check_enabled: bool

    @property
    def enabled(self) -> bool:
        """Not taken out of rotation on purpose."""
        return not self.admin & (Admin.MAINT | Admin.DRAIN)

    @property
    def usable(self) -> bool:
        """Takes new requests now."""
        return self.enabled and self.up
