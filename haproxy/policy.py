"""Policies: what is fixed about a backend and its servers, and the names that follow from it. Pure.

A policy is a named `defaults` section of the configuration, which a backend is made from (3.4: live, by
`add backend NAME from POLICY`). What a dynamic server can't inherit is written out as its keywords.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from math import ceil

from haproxy.capabilities import Capabilities
from haproxy.model import (
    HOLD,
    HOLD_ADDRESS,
    HOLD_PORT,
    Backend,
    Balance,
    Protocol,
    ProxyHeader,
    RetryOn,
    Server,
    ServerSettings,
)
from haproxy.ops import AddServer
from haproxy.settings import Settings
from haproxy.tls import authority_store, identity_store

BALANCES = {
    Balance.ROUND_ROBIN: "",
    Balance.LEAST_CONNECTIONS: "leastconn",
    Balance.RANDOM: "random",
    Balance.FIRST: "first",
    Balance.HASH: "hash",
}
RETRIES = {RetryOn.CONNECT: "", RetryOn.SAFE: "safe", RetryOn.ALL: "all"}


UNREACHED = 3
"""Connections in a row that fail, after which a server is taken for gone in file mode."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What no rule and no server keyword can change about a backend. The set of policies is finite: POLICIES."""

    balance: Balance = Balance.ROUND_ROBIN
    checked: bool = False
    """Servers are checked by HTTP requests; else by TCP connections."""
    retry_on: RetryOn = RetryOn.CONNECT
    tcp: bool = False

    @property
    def kind(self) -> str:
        """`http`, `http-leastconn-checked-safe`, `tcp-hash` ..."""
        mode = "tcp" if self.tcp else "http"
        parts = (mode, BALANCES[self.balance], "checked" if self.checked else "", RETRIES[self.retry_on])
        return "-".join(part for part in parts if part)

    @property
    def name(self) -> str:
        """Of its `defaults` section."""
        return f"l7.p-{self.kind}"


DEFAULT = Policy()
"""Round robin, TCP checks, requests wait for a successor."""
HTTP = DEFAULT.name

POLICIES = (
    *(Policy(*each) for each in product(Balance, (False, True), RetryOn)),
    *(Policy(each, tcp=True) for each in (Balance.ROUND_ROBIN, Balance.LEAST_CONNECTIONS, Balance.HASH)),
)
"""All there are, the default one first."""

FAIL_TIMEOUT = 10_000
"""Milliseconds that `max_fails` failures take a server out for, if the service does not say: NGINX's default."""

RING_BITS = 20
"""Of a server's `id`, only the low 20 bits place it on the ring of a consistent hash: HAProxy multiplies the
id by 4096 in 32 bits (measured on 2.6 and 3.4; configuration manual, section 5.2, "id")."""

HOLD_ID = 1 << RING_BITS
"""Low bits zero, which no task's id has, so it can't clash with one of any generation."""

HOLD_CONNECTIONS = 1_000_000_000
HOLD_THRESHOLD = HOLD_CONNECTIONS // 2
"""Bound nothing. They make `be_conn_free` tell the placeholder, when it is all there is, from real servers: without
a limit (negative) or with `max_connections` (their sum, which stays far below)."""

LONGEST_CONNECTIONS = 1_000_000
"""Of one server, so that no sum gets near the threshold."""


def policy_of(backend: Backend) -> Policy:
    """What `backend` is made from."""
    if backend.tcp:
        known = backend.balance in (Balance.LEAST_CONNECTIONS, Balance.HASH)
        return Policy(backend.balance if known else Balance.ROUND_ROBIN, tcp=True)
    return Policy(backend.balance, backend.check is not None, backend.retry_on)


def server_keywords(
    settings: Settings, capabilities: Capabilities, backend: Backend, service: int = 0
) -> tuple[str, ...]:
    """Keywords of `add server` for the servers of one service of `backend` (its index), apart from id and weight.

    HAProxy applies `default-server` to none of the servers added at run time (management guide, "add
    server"), so everything is written out.
    """
    own = backend.settings_for(service)
    words = (*_check(settings, own), *_observe(settings, own, backend.tcp))
    if own.slow_start:
        words = (*words, "slowstart", f"{own.slow_start}ms")
    words = (*words, *_connecting(settings, capabilities, backend, own))
    return (*words, *capabilities.server_keywords)


def unchecked_keywords(
    settings: Settings, capabilities: Capabilities, backend: Backend, service: int
) -> tuple[str, ...]:
    """The same for a server of the configuration that is never checked."""
    return _connecting(settings, capabilities, backend, backend.settings_for(service))


def _connecting(
    settings: Settings, capabilities: Capabilities, backend: Backend, own: ServerSettings
) -> tuple[str, ...]:
    """How, and how often at once, a server is spoken to."""
    most = ("maxconn", str(min(own.max_connections, LONGEST_CONNECTIONS))) if own.max_connections else ()
    words = (*most, *_PROXY_HEADER[own.proxy_header])
    if backend.tcp:
        return words
    return (*words, *_protocol(settings, capabilities, own, backend.check is not None))


# Said for the checks, too: with a port of their own they inherit nothing (section 5.2, "check-send-proxy").
_PROXY_HEADER = {
    ProxyHeader.NONE: (),
    ProxyHeader.V1: ("send-proxy", "check-send-proxy"),
    ProxyHeader.V2: ("send-proxy-v2", "check-send-proxy"),
}


def _protocol(
    settings: Settings, capabilities: Capabilities, own: ServerSettings, checked: bool
) -> tuple[str, ...]:
    """Said for the checks, too: with a port of their own they inherit nothing from `ssl` (section 5.2), and
    HAProxy refuses the protocol of a check that sends nothing."""
    match own.protocol:
        case Protocol.HTTP:
            return ()
        case Protocol.H2C:
            return ("proto", "h2", *(("check-proto", "h2") if checked else ()))
        case Protocol.HTTPS:
            return ("ssl", *_trust(settings, own), "alpn", capabilities.server_alpn, "check-ssl")


def _trust(settings: Settings, own: ServerSettings) -> tuple[str, ...]:
    """Whom the other end has to be, and who we are. The name that is asked for is the one that is verified
    (section 5.2, "verifyhost"). It is part of an expression: in place of what is no name stands one that no
    certificate has, and so it does where a certificate is to be verified by none."""
    words: tuple[str, ...] = ("verify", "none")
    if own.tls_ca:
        words = ("verify", "required", "ca-file", authority_store(settings, own.tls_ca))
    if name := tls_name(own):
        words = (*words, "sni", f"str({name})", "check-sni", name)
    if own.tls_certificate:
        words = (*words, "crt", identity_store(settings, own.tls_certificate))
    return words


def tls_name(own: ServerSettings) -> str:
    """The name that a task is asked for, and that its certificate has to be for if it is verified; "" for none."""
    if not (own.tls_name or own.tls_ca):
        return ""
    return own.tls_name if _NAME.fullmatch(own.tls_name) else NOBODY


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
NOBODY = "nobody.invalid"
"""A name that nobody has (RFC 6761, section 6.4)."""


def _check(settings: Settings, own: ServerSettings) -> tuple[str, ...]:
    """How often it is asked, and how many answers in a row take it out and back.

    A server that failed `max_fails` requests has to pass checks for `fail_timeout` before it is back. HAProxy has
    no word for that: `downinter` counts after a check that failed, and these pass. So it is a number of checks:
    the first comes within an interval, and the last not before `fail_timeout`, nor two intervals after it.

    Units are said: from 3.2 on a number below 100 without one is refused as suspicious.
    """
    interval = own.check_interval or settings.check_interval
    rise = own.check_rise or 1
    if own.max_fails:
        rise = max(rise, 1 + ceil((own.fail_timeout or FAIL_TIMEOUT) / interval))
    port = ("port", str(own.check_port)) if own.check_port else ()
    numbers = f"inter {interval}ms fall {own.check_fall or settings.check_fall} rise {rise}"
    return ("check", *port, *numbers.split())


def _observe(settings: Settings, own: ServerSettings, tcp: bool) -> tuple[str, ...]:
    """Consecutive failures: no connection, no answer, or a status from 500 on but 501 and 505. The last server
    goes, too: then requests wait for its return, as for any successor.

    In file mode a task that is gone is still there, and swallows what is sent to it: checks, with their interval
    for a timeout, take eight seconds to say so. Connections that fail say it at once, and that others are to be
    looked up; where it was only busy, the next check brings it back.
    """
    if not (own.max_fails or settings.name_server):
        return ()
    layer = "layer7" if own.max_fails and not tcp else "layer4"
    return ("observe", layer, "error-limit", str(own.max_fails or UNREACHED), "on-error", "mark-down")


def server_name(server: Server, keywords: tuple[str, ...]) -> str:
    """`<task id>.<generation>`: what can't be changed on a server in HAProxy makes a new generation."""
    fixed = "\n".join((server.address, str(server.port), str(server.id), *keywords))
    return f"{server.task}.{blake2b(fixed.encode(), digest_size=3).hexdigest()}"


def task_of(server: str) -> str:
    """The task of a server, by the name that `server_name` gave it."""
    return server.partition(".")[0]


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


def spare_names(settings: Settings, policy: Policy = DEFAULT) -> Iterator[str]:
    """Names of the spare backends of a policy, before 3.4: `spare-http-0001` and on."""
    number = pool_size(settings, policy)
    return (f"spare-{policy.kind}-{index:04}" for index in range(1, number + 1))


def pool_size(settings: Settings, policy: Policy) -> int:
    """How many spare backends there are of a policy, before 3.4."""
    default = settings.spare_backends if policy == DEFAULT else settings.spare_backends_other
    return dict(settings.spare_pools).get(policy.kind, default)


def spares(settings: Settings) -> dict[str, Policy]:
    """All spare backends by name, with what they are made from."""
    return {name: policy for policy in POLICIES for name in spare_names(settings, policy)}


def policy_of_spare(physical: str) -> Policy | None:
    """What a spare backend is made from, by its name, however many there are; None: it is no spare."""
    found = _SPARE.fullmatch(physical)
    return _BY_KIND.get(found[1]) if found else None


_SPARE = re.compile(r"spare-([a-z-]+)-[0-9]{4,}")
_BY_KIND = {policy.kind: policy for policy in POLICIES}


def place(
    settings: Settings,
    capabilities: Capabilities,
    backends: Mapping[str, Backend],
    placed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Logical -> physical backend for all of `backends`, keeping what `placed` says already and is of its policy.

    A backend made at run time has its own name. Otherwise the first free spares of its policy are taken, in the
    order of names; a backend for which there is none left is missing in the result.
    """
    if capabilities.dynamic_backends:
        return {name: name for name in sorted(backends)}
    policies = {name: policy_of(backends[name]) for name in sorted(backends)}
    known = {name: spare for name, spare in (placed or {}).items() if name in policies}
    kept = {name: spare for name, spare in known.items() if policy_of_spare(spare) == policies[name]}
    taken = set(kept.values())
    free = {
        policy: (spare for spare in spare_names(settings, policy) if spare not in taken)
        for policy in set(policies.values())
    }
    fresh = {name: next(free[policy], "") for name, policy in policies.items() if name not in kept}
    return dict(sorted({**kept, **{name: spare for name, spare in fresh.items() if spare}}.items()))
