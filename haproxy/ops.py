"""Everything that l7 ever asks of a running HAProxy, as values. `runtime.codec` writes them, `plan` orders them.

One op is one Runtime API command. What each answers on success is in `runtime.replies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class AddBackend:
    """`add backend NAME from POLICY` (3.4 and up)."""

    backend: str
    policy: str


@dataclass(frozen=True, slots=True)
class PublishBackend:
    """`publish backend NAME` (3.4 and up)."""

    backend: str


@dataclass(frozen=True, slots=True)
class UnpublishBackend:
    """`unpublish backend NAME` (3.4 and up)."""

    backend: str


@dataclass(frozen=True, slots=True)
class DeleteBackend:
    """`del backend NAME` (3.4 and up): unpublished and without servers, else refused."""

    backend: str


@dataclass(frozen=True, slots=True)
class AddServer:
    """`add server BACKEND/NAME ADDRESS:PORT id ID weight WEIGHT KEYWORDS`: starts in maintenance, checks off.

    `id` 0: let HAProxy choose. `keywords` are written as they are: they come from `policy`, never from a label.
    """

    backend: str
    name: str
    address: str
    port: int
    id: int = 0
    weight: int = 1
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnableServer:
    """`set server B/S state ready`."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class EnableHealth:
    """`enable health B/S`: HAProxy's own checks, which start switched off on a dynamic server."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class DisableServer:
    """`set server B/S state maint`: no new requests; those under way finish."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class SetWeight:
    """`set server B/S weight N`."""

    backend: str
    name: str
    weight: int


@dataclass(frozen=True, slots=True)
class ShutdownSessions:
    """`shutdown sessions server B/S`: cuts what is left, only past the drain deadline."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class DeleteServer:
    """`del server B/S`: in maintenance and without connections, else refused (and tried again later)."""

    backend: str
    name: str


@dataclass(frozen=True, slots=True)
class AddMapRow:
    """`add map FILE KEY VALUE`: not idempotent, a second one is stored beside the first."""

    map: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class SetMapRow:
    """`set map FILE KEY VALUE`: the row must exist."""

    map: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DeleteMapRow:
    """`del map FILE KEY`: removes all copies; from 3.4 on, one of them."""

    map: str
    key: str


Op: TypeAlias = (
    AddBackend
    | PublishBackend
    | UnpublishBackend
    | DeleteBackend
    | AddServer
    | EnableServer
    | EnableHealth
    | DisableServer
    | SetWeight
    | ShutdownSessions
    | DeleteServer
    | AddMapRow
    | SetMapRow
    | DeleteMapRow
)
