"""The map files whose rows belong to somebody: a host, the rules of a service, a physical backend. Pure.

Rows are compared owner by owner, so that cost follows change. `Rows` is what one owner has or is to have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from haproxy.checks import DEFAULT_LIST
from haproxy.ops import AddMapRow, DeleteMapRow, Op, SetMapRow
from haproxy.settings import (
    ACME_MAP,
    AUTH_KEY,
    AUTH_MAP,
    CANARY_MAP,
    CHECK_STATUS_MAP,
    ROUTES_MAP,
    SNI_MAP,
    TCP_MAP,
    Settings,
)

Rows = Mapping[str, Mapping[str, str]]
"""file -> key -> value"""

HOST_MAPS = (CANARY_MAP, ROUTES_MAP, TCP_MAP, SNI_MAP)

SHARED = DEFAULT_LIST
"""Owner of the rows of check_status.map that all backends share: their keys have no `|`."""


PROXY = "key:"
"""Owner of the row of auth.map that is the proxy's own; a colon is in no service's name."""


def owner_of(file: str, key: str) -> str:
    """Whose row it is: a host (":5432" for a TCP port, "@host" for TLS that is passed on), the name of rules, a
    physical backend, or a challenge's token."""
    if file == TCP_MAP:
        return f":{key}"
    if file == SNI_MAP:
        return f"@{key}"
    if file == ACME_MAP:
        return key
    if file == AUTH_MAP and key == AUTH_KEY:
        return PROXY
    if file in HOST_MAPS:
        return key.partition("/")[0]
    if file == CHECK_STATUS_MAP and "|" not in key:
        return SHARED
    return key.partition("|")[0]


def put_rows(want: Rows, have: Rows, files: Iterable[str], settings: Settings) -> list[Op]:
    """Rows that are new or changed, file by file."""
    ops: list[Op] = []
    for file in files:
        old, path = have.get(file, {}), settings.file(file)
        for key, value in sorted(want.get(file, {}).items()):
            if key not in old:
                ops.append(AddMapRow(path, key, value))
            elif old[key] != value:
                ops.append(SetMapRow(path, key, value))
    return ops


def drop_rows(want: Rows, have: Rows, files: Iterable[str], settings: Settings) -> list[Op]:
    """Rows that are to go, in the opposite order of files."""
    return [
        DeleteMapRow(settings.file(file), key)
        for file in reversed(tuple(files))
        for key in sorted(have.get(file, {}).keys() - want.get(file, {}).keys())
    ]
