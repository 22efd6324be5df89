"""The `defaults` sections of all policies, as text. Pure; nothing in them depends on a service.

What differs between services is looked up while a request or a check passes: `txn.features`, the row of the
route's rules (`haproxy.features`), and the rows of a physical backend in the check maps (`haproxy.checks`).
A section with rules can't be the parent of another one, or serve a frontend as well (configuration manual,
section 4.1), so each says everything.
"""

from __future__ import annotations

from collections.abc import Iterator

from haproxy.capabilities import Capabilities
from haproxy.checks import DEFAULT_HOST, DEFAULT_LIST
from haproxy.features import Field
from haproxy.model import Balance, RetryOn
from haproxy.pages import refusal
from haproxy.policy import HOLD_THRESHOLD, POLICIES, Policy
from haproxy.settings import CHECK_HOST_MAP, CHECK_LIST_MAP, CHECK_PATH_MAP, CHECK_STATUS_MAP, Settings

RETRIES = 4
"""Further tries of a policy that repeats more than failed connections: 5 in all. HAProxy has one count for all
kinds of retries, so requests can't wait for a successor for longer than RETRIES x RETRY_PAUSE there."""

RETRY_PAUSE = 1000
"""Milliseconds. HAProxy waits min(1 s, `timeout connect`) before it tries a connection again (section 4.2,
"retries")."""

LONGEST_KEPT_BODY = 8192
"""Bytes of a request's body that are waited for, so that it can be sent again: with the head, it has to fit into
a buffer (16 kB) less what is reserved for rewriting."""

_OWN_TIMEOUTS = {"server": Field.TIMEOUT_SERVER, "tunnel": Field.TIMEOUT_TUNNEL}
_OWN_TIMEOUTS_3_4 = {"connect": Field.TIMEOUT_CONNECT, "queue": Field.TIMEOUT_QUEUE}

_BALANCE = {
    Balance.ROUND_ROBIN: "balance roundrobin",
    Balance.LEAST_CONNECTIONS: "balance leastconn",
    Balance.RANDOM: "balance random",
    Balance.FIRST: "balance first",
    Balance.HASH: "balance hash var(txn.hash_key)",
}
_RING = "hash-type consistent sdbm avalanche"
"""Consistent hashing without `avalanche` is bad on sequential keys: 0.3 to 1.6 of a fair share (measured)."""


def sections(settings: Settings, capabilities: Capabilities) -> tuple[str, ...]:
    """One `defaults` section for each of POLICIES."""
    return tuple(section(settings, capabilities, policy) for policy in POLICIES)


def section(settings: Settings, capabilities: Capabilities, policy: Policy) -> str:
    """The section of one policy."""
    rules = _tcp(settings) if policy.tcp else _http(settings, capabilities, policy)
    theirs = () if policy.tcp else settings.default_options
    lines = (*_balance(policy), *_retries(settings, policy), *_timeouts(settings, policy), *rules, *theirs)
    mode = "tcp" if policy.tcp else "http"
    return "".join(f"{line}\n" for line in (f"defaults {policy.name}", f"  mode {mode}", *_indented(lines)))


def _indented(lines: tuple[str, ...]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _balance(policy: Policy) -> Iterator[str]:
    hashed = policy.balance is Balance.HASH
    yield "balance source" if hashed and policy.tcp else _BALANCE[policy.balance]
    if hashed:
        yield _RING


def _retries(settings: Settings, policy: Policy) -> Iterator[str]:
    """Hold: while the placeholder is the only usable server, a request tries again every `timeout connect`, on any
    server there is by then. HAProxy has one count for all kinds of retries, and it has to be long for a request
    to wait: with `retry-on empty-response`, a request that crashes the application would be sent `retries` times
    within milliseconds, and take one task after the other down. So the default repeats nothing that reached a
    task, and whoever wants that gets a short count, and with it a short hold.

    `abortonclose`, here and in the frontend's defaults (2.6 needs both, 3.4 has it by itself): a request whose
    client has left does not go on waiting for a server, and leaves its place to another.
    """
    short = policy.retry_on is not RetryOn.CONNECT
    yield "option redispatch 1"
    yield f"retries {RETRIES if short else settings.retries}"
    yield f"timeout connect {RETRY_PAUSE if short else settings.connect_timeout}ms"
    if not policy.tcp:
        yield "option abortonclose"
        yield "retry-on conn-failure" + (" empty-response 502 503 504" if short else "")


def _timeouts(settings: Settings, policy: Policy) -> Iterator[str]:
    """Raw connections may be silent for as long as upgraded ones. `timeout check` is left out: a check has its
    interval (section 4.2)."""
    yield f"timeout queue {settings.hold_timeout}ms"
    yield f"timeout server {settings.tunnel_timeout if policy.tcp else settings.server_timeout}ms"
    yield f"timeout tunnel {settings.tunnel_timeout}ms"


def _full(settings: Settings) -> str:
    """Past the bound a request is not held. `be_conn` counts this one and all others of the backend. `be_conn_free`
    is negative when a server without a limit is usable, small when all that are have one, and huge when only the
    placeholder is left (section 7.3.2)."""
    return f"if {{ be_conn gt {settings.held_requests} }} {{ be_conn_free ge {HOLD_THRESHOLD} }}"


def _tcp(settings: Settings) -> Iterator[str]:
    yield f"tcp-request content reject {_full(settings)}"


def _http(settings: Settings, capabilities: Capabilities, policy: Policy) -> Iterator[str]:
    if policy.checked:
        yield from _check(settings)
    yield f"http-request {refusal(503, 'hold-full', 'no server', settings)} hdr retry-after 1 {_full(settings)}"
    yield from _own_timeouts(capabilities)
    yield from _repeatable(settings, policy)


def _check(settings: Settings) -> Iterator[str]:
    """`be_name` is the physical backend, also of one that was made at run time.

    The status is looked up as `default:<status>` or `<physical>|<status>`; what is found is the name of a header
    that no answer has. `expect ! hdr` fails when the name is empty. The plainer `expect string-lf` would fail on
    an answer without a body, such as 204.
    """

    def row(file: str, default: str) -> str:
        return f"be_name,map_str({settings.file(file)},{default})"

    statuses = settings.file(CHECK_STATUS_MAP)
    key = "status,set-var(check.status),bool,iif(,),concat(,check.list,),concat(,check.status,)"
    yield "option httpchk"
    yield f"http-check set-var(check.path) {row(CHECK_PATH_MAP, '/')}"
    yield f"http-check set-var(check.host) {row(CHECK_HOST_MAP, DEFAULT_HOST)}"
    yield f"http-check set-var(check.list) {row(CHECK_LIST_MAP, DEFAULT_LIST)}"
    yield "http-check connect default"
    head = "meth GET uri-lf %[var(check.path)] ver HTTP/1.1 hdr Host %[var(check.host)] hdr User-Agent l7-check"
    yield f"http-check send {head}"
    yield f"http-check expect error-status L7STS ! hdr name-lf %[{key},map_str({statuses})]"


def _own_timeouts(capabilities: Capabilities) -> Iterator[str]:
    """Works from the backend's defaults only, not in a frontend; the last two need 3.4 (section 4.3)."""
    more = _OWN_TIMEOUTS_3_4 if capabilities.own_connect_timeout else {}
    for name, place in (_OWN_TIMEOUTS | more).items():
        value = f"var(txn.features),field({place:d},|)"
        yield f"http-request set-timeout {name} {value} if {{ {value} -m len gt 0 }}"


def _repeatable(settings: Settings, policy: Policy) -> Iterator[str]:
    """A body can be sent again only if all of it is in the buffer when the request is sent for the first time.
    Waited for is only what says beforehand that it will fit: a stream has to begin at once. Who does not send it
    within the client's timeout gets a 408."""
    if policy.retry_on is RetryOn.SAFE:
        yield "http-request disable-l7-retry unless { method GET HEAD OPTIONS }"
    if policy.retry_on is RetryOn.ALL:
        fits = f"{{ req.hdr_val(content-length) 1:{LONGEST_KEPT_BODY} }}"
        yield f"http-request wait-for-body time {settings.client_timeout}ms if {fits}"
