"""What an HAProxy of a given version can be asked for. A table by version, no probing: the same on every proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from l7.kit.errors import Incompatible, ProtocolError

Version = tuple[int, int, int]

OLDEST: Version = (2, 6, 0)
"""The first series in which servers can be added, enabled and deleted at run time without experimental mode."""

_VERSION = re.compile(r"(?<![\w.])(\d{1,3})\.(\d{1,3})(?:\.(\d{1,4}))?(?=[-+~\s]|$)")


def parse_version(text: str) -> Version:
    """The version in `haproxy -v`, `show version` or `show info`; a development build counts as its series.

    Raises ProtocolError when there is none.
    """
    found = _VERSION.search(text)
    if found is None:
        raise ProtocolError(f"no HAProxy version in {text[:80]!r}")
    major, minor, patch = found.groups(default="0")
    return int(major), int(minor), int(patch)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be planned for, and sent to, one HAProxy.

    `payload_limit`: bytes of the payload of one command. HAProxy takes 16,383 bytes and, from 3.4 on, 130,959
    (between that and 132,000, 3.4.7 does not answer): the limit leaves room for the line before it.
    `server_keywords`: what every `add server` must carry on this version.
    """

    version: Version
    dynamic_backends: bool
    """`add backend`, `publish`, `unpublish`, `del backend`; without them: a pool of spare backends."""
    payload_limit: int
    server_keywords: tuple[str, ...]
    cheap_map_update: bool
    """`set map` and `del map` take constant time; before, time that grows with the size of the map."""
    wait_removable: bool
    """`wait ... srv-removable`; without it `del server` is tried until it succeeds."""
    init_state: bool
    """`init-state` on a server: it can start as down until a check has passed."""
    deletes_all_copies: bool
    """`del map` removes all rows with the key; from 3.4 on one of them: again until it is not found."""
    echoes_payload: bool
    """In prompt mode each line of a payload is answered by `+ `, ahead of the reply."""
    reload_result: bool
    """The master's `reload` answers with success or failure; before, it just closes."""

    server_alpn: str
    """Protocols to offer to a task that speaks TLS."""
    own_connect_timeout: bool
    """`set-timeout connect` and `set-timeout queue`; without them a service has the proxy's own."""
    headers_from_data: bool
    """`del-headers-bin` and `add-headers-bin`; without them headers with names out of a map are Lua's work."""

    separate_sessions: bool
    """A TLS session is resumed only on the host on which it began."""

    @property
    def deletes_absent_map_row(self) -> bool:
        """`del map` of a row that is not there answers as if it were: no version that was seen does."""
        return False


def capabilities(version: Version) -> Capabilities:
    """The table. Raises Incompatible below 2.6."""
    if version < OLDEST:
        raise Incompatible(f"HAProxy {dotted(version)} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed")
    return Capabilities(
        version=version,
        dynamic_backends=version >= (3, 4, 0),
        payload_limit=128_000 if version >= (3, 4, 0) else 15_400,
        # Before 3.0 a server added at run time closes its connection after each request unless both are said.
        server_keywords=() if version >= (3, 0, 0) else ("pool-max-conn", "-1", "pool-purge-delay", "5s"),
        cheap_map_update=version >= (3, 0, 0),
        wait_removable=version >= (3, 0, 0),
        init_state=version >= (3, 2, 0),
        deletes_all_copies=version < (3, 4, 0),
        echoes_payload=version < (3, 2, 0),
        reload_result=version >= (3, 0, 0),
        # From 3.3 on the protocol is guessed from the connection before, and the first ones to a new server may
        # guess wrong: seen on 3.4.7 as a 502 ("PH--") for one request in a thousand with servers that come and go,
        # with `h2` alone, too (HAProxy issues 3386, 3473). Nothing is guessed where there is only HTTP/1.1.
        server_alpn="h2,http/1.1" if version < (3, 3, 0) else "http/1.1",
        own_connect_timeout=version >= (3, 4, 0),
        headers_from_data=version >= (3, 4, 0),
        # Seen on 2.6.12 and 3.0.11, not on 3.2.26 and 3.4.7: a client that has proved to one host who it is resumes
        # its session on another one, which asks for a certificate of another CA, and is let in.
        separate_sessions=version >= (3, 2, 0),
    )


def dotted(version: Version) -> str:
    """`2.6.12`."""
    return ".".join(map(str, version))
