"""Health checks: what tells that a server works, for HAProxy's maps and for the probe. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haproxy.capabilities import Capabilities, dotted
from haproxy.model import Backend, HealthCheck, KeyPair, Protocol, ProxyHeader, Secret, Server
from haproxy.policy import tls_name
from haproxy.settings import CHECK_HOST_MAP, CHECK_LIST_MAP, CHECK_PATH_MAP, CHECK_STATUS_MAP
from l7.v1 import sync_pb2 as pb

DEFAULT_HOST = "localhost"
"""Host of a check that names none: HTTP/1.1 wants one, and most applications do not look at it."""

DEFAULT_LIST = "default:"
"""What keys of the default statuses in check_status.map begin with; a backend's own begin with `<physical>|`."""

ABSENT_HEADER = "x-l7-no-such-header"
"""What check_status.map says of an accepted status (`haproxy.policies` says why it is a header's name)."""

MIN_PATIENCE = 5000
"""Milliseconds. HAProxy gives a check the time until the next one; the probe is at least as patient."""

PREFIX = "com.docker.lb."


@dataclass(frozen=True, slots=True)
class Check:
    """What a server is asked, and where. `http` None: whether it takes connections; `tls`: with a handshake, for
    `name`, "" for none. `ca`: who signs the certificate that it has to show, for this name; None: any will do.
    `certificate`: what it is shown. `header`: what a connection begins with."""

    address: str
    port: int
    tls: bool = False
    http: HealthCheck | None = None
    name: str = ""
    ca: Secret | None = None
    certificate: KeyPair | None = None
    header: ProxyHeader = ProxyHeader.NONE
    patience: int = field(default=MIN_PATIENCE, compare=False)
    """Milliseconds that an answer may take."""


def check_of(backend: Backend, server: Server) -> Check:
    """How one of the servers of `backend` is asked before it takes requests, as HAProxy itself will ask later.

    One that speaks HTTP/2 in clear text is only asked for a connection: HAProxy's checks do the rest.
    """
    settings = backend.settings_of(server)
    port = settings.check_port or server.port
    patience, header = max(MIN_PATIENCE, settings.check_interval), settings.proxy_header
    tls = settings.protocol is Protocol.HTTPS
    if backend.tcp or settings.protocol is Protocol.H2C or not (tls or backend.check):
        return Check(server.address, port, patience=patience)
    if not tls:
        return Check(server.address, port, http=backend.check, header=header, patience=patience)
    return Check(
        server.address, port, True, backend.check, tls_name(settings), settings.tls_ca, settings.tls_certificate,
        header, patience,
    )  # fmt: skip


def check_rows(physical: str, backend: Backend) -> dict[str, dict[str, str]]:
    """Rows of the check maps of a physical backend, by file. A key is `<physical>`, or begins with `<physical>|`.

    None for what is default, and none at all for a check by TCP.
    """
    check = None if backend.tcp else backend.check
    rows: dict[str, dict[str, str]] = {
        CHECK_PATH_MAP: {}, CHECK_HOST_MAP: {}, CHECK_LIST_MAP: {}, CHECK_STATUS_MAP: {},
    }  # fmt: skip
    if check is None:
        return rows
    rows[CHECK_PATH_MAP][physical] = check.path
    if check.host:
        rows[CHECK_HOST_MAP][physical] = check.host
    if check.statuses:
        rows[CHECK_LIST_MAP][physical] = f"{physical}|"
        rows[CHECK_STATUS_MAP] = {f"{physical}|{status}": ABSENT_HEADER for status in check.statuses}
    return rows


def shared_rows() -> dict[str, str]:
    """Rows of check_status.map that are always there: the default statuses, 200 to 399."""
    return {f"{DEFAULT_LIST}{status}": ABSENT_HEADER for status in range(200, 400)}


def problems(rules: pb.Rules | None, capabilities: Capabilities) -> tuple[pb.Problem, ...]:
    """What the rules of a service ask for and this HAProxy can't do, sorted. Whatever else they say is done.
    (Every setting of a backend works on every version.)"""
    if rules is None or capabilities.own_connect_timeout:
        return ()
    why = f"HAProxy {dotted(capabilities.version)} can't set it per service: the proxy's own value counts"
    unknown = {
        "queue_timeout": rules.queue_timeout_milliseconds,
        "timeout_connect": rules.timeout_connect_milliseconds,
    }
    return tuple(
        pb.Problem(
            service=rules.name,
            label=PREFIX + label,
            message=why,
            remedy="use HAProxy 3.4 or newer, or remove the label",
        )
        for label, value in unknown.items()
        if value
    )


def all_rows(placement: Mapping[str, str], backends: Mapping[str, Backend]) -> dict[str, dict[str, str]]:
    """The whole check maps, by file. `placement`: logical -> physical backend."""
    whole = check_rows("", Backend(""))
    whole[CHECK_STATUS_MAP] |= shared_rows()
    for name in sorted(backends.keys() & placement.keys()):
        for file, rows in check_rows(placement[name], backends[name]).items():
            whole[file] |= rows
    return whole
