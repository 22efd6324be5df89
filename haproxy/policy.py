"""Policies: what is fixed about a backend and its servers, and the names that follow from it. Pure.

A policy is a named `defaults` section of the configuration, which a backend is made from (3.4: live, by
`add backend NAME from POLICY`). What a dynamic server can't inherit is written out as its keywords.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b

from haproxy.capabilities import Capabilities
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Backend, Server
from haproxy.ops import AddServer
from haproxy.settings import Settings

HTTP = "l7.p-http"
"""Round robin, TCP checks, requests wait for a successor."""

RING_BITS = 20
"""Of a server's `id`, only the low 20 bits place it on the ring of a consistent hash: HAProxy multiplies the
id by 4096 in 32 bits (measured on 2.6 and 3.4; configuration manual, section 5.2, "id")."""

HOLD_ID = 1 << RING_BITS
"""Low bits zero, which no task's id has, so it can't clash with one of any generation."""

HOLD_CONNECTIONS = 1_000_000
"""Bounds nothing. It makes `be_conn_free` tell the placeholder (limited) from real servers (unlimited)."""


def policy_of(backend: Backend) -> str:
    """Name of the `defaults` section that `backend` is made from. There is one so far."""
    del backend
    return HTTP


def server_keywords(settings: Settings, capabilities: Capabilities, backend: Backend) -> tuple[str, ...]:
    """Keywords of `add server` for the servers of `backend`, apart from id and weight.

    HAProxy applies `default-server` to none of the servers added at run time (management guide, "add
    server"), so everything is written out.
    """
    del backend
    checks = f"check inter {settings.check_interval} fall {settings.check_fall} rise 1"
    return (*checks.split(), *capabilities.server_keywords)


def server_name(server: Server, keywords: tuple[str, ...]) -> str:
    """`<task id>.<generation>`: what can't be changed on a server in HAProxy makes a new generation."""
    fixed = "\n".join((server.address, str(server.port), str(server.id), *keywords))
    return f"{server.task}.{blake2b(fixed.encode(), digest_size=3).hexdigest()}"


def runtime_id(server: Server, name: str, used: Collection[int]) -> int:
    """Numeric id for HAProxy: the server's own, or one of the same place on the ring while that is in use.

    Two generations of a task are in a backend at once while the older one drains. `name` is the server's
    name in HAProxy, which does not matter as long as ids in `used` do. Raises ValueError when all are used.
    """
    for number in range(server.id, 1 << 31, 1 << RING_BITS):  # 2.6 refuses ids above 2^31 - 1
        if number not in used:
            return number
    raise ValueError(f"no id left for server {name}")


def hold_keywords() -> tuple[str, ...]:
    """Keywords of the placeholder: a backup, so that any real server goes first; never checked."""
    return ("backup", "maxconn", str(HOLD_CONNECTIONS))


def hold_server(physical: str) -> AddServer:
    """The placeholder of a backend that is made at run time."""
    return AddServer(physical, HOLD, HOLD_ADDRESS, HOLD_PORT, HOLD_ID, 1, hold_keywords())


def spare_names(settings: Settings, policy: str = HTTP) -> Iterator[str]:
    """Names of the spare backends of a policy, before 3.4: `spare-http-0001` and on."""
    kind = policy.removeprefix("l7.p-")
    return (f"spare-{kind}-{number:04}" for number in range(1, settings.spare_backends + 1))


def is_spare(physical: str) -> bool:
    """Whether it is called as `spare_names` calls them, however many there are."""
    return _SPARE.fullmatch(physical) is not None


_SPARE = re.compile(r"spare-[a-z]+-[0-9]{4,}")


def place(
    settings: Settings,
    capabilities: Capabilities,
    backends: Mapping[str, Backend],
    placed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Logical -> physical backend for all of `backends`, keeping what `placed` says already.

    A backend made at run time has its own name. Otherwise the first free spares are taken, in the order of
    names; a backend for which there is none left is missing in the result.
    """
    if capabilities.dynamic_backends:
        return {name: name for name in sorted(backends)}
    kept = {name: spare for name, spare in (placed or {}).items() if name in backends}
    taken = set(kept.values())
    free = (spare for spare in spare_names(settings) if spare not in taken)
    fresh = zip(sorted(backends.keys() - kept.keys()), free, strict=False)
    return dict(sorted({**kept, **dict(fresh)}.items()))
