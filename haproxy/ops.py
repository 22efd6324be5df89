"""Everything that l7 ever asks of a running HAProxy, as values. `runtime.codec` writes them, `plan` orders them.

One op is one Runtime API command. What each answers on success is in `runtime.replies`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """`new ssl cert STORE`: an empty store for certificate, chain and key."""

    store: str


@dataclass(frozen=True, slots=True)
class SetCertificate:
    """`set ssl cert STORE`, with a PEM: opens the one transaction that there can be, and changes nothing yet.

    Before 3.0 the PEM goes into the transaction that is open, whosever it is (which the answer tells, and it counts
    as a refusal). So nothing may be open before, and AbortCertificate follows CommitCertificate at once, for when
    that is refused.
    """

    store: str
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CommitCertificate:
    """`commit ssl cert STORE`: all at once, for new handshakes. Where it is refused the transaction stays open."""

    store: str


@dataclass(frozen=True, slots=True)
class AbortCertificate:
    """`abort ssl cert STORE`; that there is nothing to abort is success."""

    store: str


@dataclass(frozen=True, slots=True)
class DeleteCertificate:
    """`del ssl cert STORE`: refused while a crt-list or server uses it."""

    store: str


@dataclass(frozen=True, slots=True)
class AddCrtListEntry:
    """`add ssl crt-list LIST`, with `STORE [OPTIONS] HOST`: not idempotent; the first line of a host wins."""

    list: str
    store: str
    host: str
    options: str = ""


@dataclass(frozen=True, slots=True)
class DeleteCrtListEntry:
    """`del ssl crt-list LIST STORE:LINE`. Lines keep their numbers for as long as they exist."""

    list: str
    store: str
    line: int


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """`new ssl ca-file STORE`: an empty store for CA certificates."""

    store: str


@dataclass(frozen=True, slots=True)
class SetAuthority:
    """`set ssl ca-file STORE`, with a PEM; as SetCertificate, in a transaction of its own."""

    store: str
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CommitAuthority:
    """`commit ssl ca-file STORE`: reaches crt-lists, but no server that was added at run time.

    Never while a crt-list names it: before 3.2 its certificates can't be rotated after that, and the second time
    ends the process.
    """

    store: str


@dataclass(frozen=True, slots=True)
class AbortAuthority:
    """`abort ssl ca-file STORE`; that there is nothing to abort is success."""

    store: str


@dataclass(frozen=True, slots=True)
class DeleteAuthority:
    """`del ssl ca-file STORE`: refused while a crt-list uses it."""

    store: str


CertificateOp: TypeAlias = (
    NewCertificate | SetCertificate | CommitCertificate | AbortCertificate | DeleteCertificate
)
AuthorityOp: TypeAlias = NewAuthority | SetAuthority | CommitAuthority | AbortAuthority | DeleteAuthority
TlsOp: TypeAlias = CertificateOp | AuthorityOp | AddCrtListEntry | DeleteCrtListEntry

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
    | TlsOp
)
