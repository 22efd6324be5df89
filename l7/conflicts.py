"""Where services disagree about a route: who decides, and what the others are told. Pure.

The service created first decides. Nothing that another one wrote goes unsaid: each of its labels that differs
is a `Clash`, and clashes that differ by route only become one Problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from l7.fragment import DEFAULT_KEY, Claim, is_sni, is_tcp
from l7.labels.grammar import printable
from l7.labels.spec import RouteSpec
from l7.labels.table import PREFIX
from l7.model import Balance, ClientCertificate, HashKey, HashSource, Problem, RouteKey

_NAMED = 3
NO_EFFECT = "has no effect on"


@dataclass(frozen=True, slots=True)
class Clash:
    """What a service wrote in `label` and does not get on a route. `problem` lacks the route in its message."""

    key: RouteKey
    problem: Problem
    reason: str


def clash(key: RouteKey, loser: Claim, label: str, reason: str, remedy: str) -> Clash:
    """`label` by its short name; `reason` follows "has no effect on example.org/:"."""
    return _clash(key, loser, label, (NO_EFFECT, reason), remedy)


def overruled(key: RouteKey, loser: Claim, reason: str, remedy: str) -> Clash:
    """A claim to a host that another service answers, be it in part."""
    return _clash(key, loser, "hosts", ("does not decide alone about", reason), remedy)


def waits(key: RouteKey, claim: Claim, label: str, reason: str, remedy: str) -> Clash:
    """What `label` asks for and is not there yet; nobody disagrees."""
    return _clash(key, claim, label, ("waits for the certificate of", reason), remedy)


def _clash(key: RouteKey, loser: Claim, label: str, told: tuple[str, str], remedy: str) -> Clash:
    name = PREFIX + label
    value = printable(dict(loser.spec.written).get(name, ""))
    verb, reason = told
    problem = Problem(loser.service, name, value, verb, remedy, loser.cluster, loser.service_id, fatal=False)
    return Clash(key, problem, reason)


def problems(clashes: Iterable[Clash]) -> Iterator[Problem]:
    """One Problem for all routes with the same clash."""
    places: defaultdict[tuple[Problem, str], set[RouteKey]] = defaultdict(set)
    for each in clashes:
        places[each.problem, each.reason].add(each.key)
    for (problem, reason), keys in places.items():
        yield replace(problem, message=f"{problem.message} {_places(keys)}: {reason}")


def _places(keys: Iterable[RouteKey]) -> str:
    names = [place(key) for key in sorted(keys)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def place(key: RouteKey) -> str:
    """A route, for people."""
    if key == DEFAULT_KEY:
        return "hosts that no other service names"
    if is_sni(key):
        return f"TLS connections to {key[0][1:]}"
    return f"TCP port {key[0][1:]}" if is_tcp(key) else "".join(key)


# ---------------------------------------------------------------- settings of a shared route

View = Callable[[RouteSpec], object]


def _hash_key(spec: RouteSpec) -> object:
    return spec.rules.hash_key if spec.balance is Balance.HASH else None


def _choice(spec: RouteSpec) -> object:
    return (spec.balance, _hash_key(spec))


def _by_address(spec: RouteSpec) -> bool:
    """Where there is only TCP, no key is said."""
    return spec.balance is Balance.HASH and spec.rules.hash_key in (None, HashKey(HashSource.ADDRESS))


def _tcp_choice(spec: RouteSpec) -> object:
    """For raw TCP there is one hash, that of the address, and no choice besides."""
    return spec.balance if spec.balance in (Balance.LEAST_CONNECTIONS, Balance.HASH) else Balance.ROUND_ROBIN


def _rules(name: str) -> View:
    return lambda spec: getattr(spec.rules, name)


def _cors(name: str) -> View:
    return lambda spec: getattr(spec.rules.cors, name, None)


def _check(name: str) -> View:
    return lambda spec: getattr(spec.check, name, None)


_CHOICE = ("balance", "sticky_session_cookie", "ip_hash")
POLICY: Mapping[str, View] = {
    **dict.fromkeys(_CHOICE, _choice),
    "retry_on": lambda spec: spec.retry_on,
    "health_check_path": _check("path"),
    "health_check_host": _check("host"),
    "health_check_status": _check("statuses"),
}
"""Labels that set how a backend works, and what of the specification they set."""

_CORS = {f"cors_{name}": _cors(name) for name in ("origins", "methods", "headers", "credentials", "max_age")}
RULES: Mapping[str, View] = {
    "context_root_rewrite": lambda spec: spec.strip_path,
    "max_body_size": _rules("max_body"),
    **{name: _rules(name) for name in ("https_redirect", "hsts", "allow", "rate_limit", "compression")},
    **{name: _rules(name) for name in ("timeout_server", "timeout_tunnel", "timeout_connect", "queue_timeout")},
    **_CORS,
    "ssl_only": _rules("https_redirect"),
    "basic_auth": _rules("basic_auth"),
    **dict.fromkeys(("ssl_client_ca", "ssl_client_verify"), _rules("client_certificate")),
    "basic_auth_realm": _rules("basic_auth_realm"),
}
"""Labels that set what applies to the requests of a route."""

_HEADERS = {"header_request_": "request_headers", "header_response_": "response_headers"}


def settings_clashes(key: RouteKey, first: Claim, other: Claim, *, pooled: bool) -> Iterator[Clash]:
    """What `other` wrote and `first` decides otherwise. `pooled`: their tasks are in one backend."""
    if first.spec == other.spec:
        return
    yield from _grpc_clash(key, first, other)
    for label, _ in other.spec.written:
        name = label.removeprefix(PREFIX)
        view = _view(name, other.spec, pooled=pooled, tcp=is_tcp(key))
        if view is not None and view(first.spec) != view(other.spec):
            remedy = f"give both services the same {label}, or different hosts or paths"
            yield clash(key, other, name, _decides(first, label), remedy)


def _grpc_clash(key: RouteKey, first: Claim, other: Claim) -> Iterator[Clash]:
    """`protocol=grpc` is each service's own, but for the long `timeout_server` that comes with it."""
    written = dict(other.spec.written)
    wanted, held = (claim.spec.rules.timeout_server for claim in (other, first))
    grpc = written.get(PREFIX + "protocol", "").strip().lower() == "grpc"
    if grpc and PREFIX + "timeout_server" not in written and wanted != held and not is_tcp(key):
        told = ("does not raise timeout_server on", f"service {first.service}, created first, decides about it")
        yield _clash(key, other, "protocol", told, f"set {PREFIX}timeout_server on {first.service}")


def _view(name: str, spec: RouteSpec, *, pooled: bool, tcp: bool) -> View | None:
    """What to compare for a label; None: it is each service's own, or has no say here."""
    if name == "ip_hash" and not _by_address(spec):
        return None  # false, or overruled by the service's own cookie
    if tcp:
        return _tcp_choice if name in _CHOICE and pooled else None
    if pooled and name in POLICY:
        return POLICY[name]
    if name in _CHOICE:
        # A backend of its own has a balance of its own, but what is hashed is one of the route's rules.
        return _hash_key if spec.balance is Balance.HASH else None
    return RULES.get(name) or _header(name)


def _header(name: str) -> View | None:
    for prefix, field in _HEADERS.items():
        if name.startswith(prefix):
            header = name.removeprefix(prefix).lower()
            return lambda spec: [each for each in getattr(spec.rules, field) if each.name.lower() == header]
    return None


def _decides(first: Claim, label: str) -> str:
    held = dict(first.spec.written).get(label)
    what = "does not set it" if held is None else f"has {printable(held) or 'an empty value'}"
    return f"service {first.service}, created first, decides and {what}"


# ---------------------------------------------------------------- who may come in


def guard(first: Claim, other: Claim) -> str:
    """The label, by its short name, by which `other` lets in only some whom the rules of `first` would let in
    unseen; "" when there is none."""
    held, wanted = first.spec.rules, other.spec.rules
    if wanted.basic_auth is not None and wanted.basic_auth != held.basic_auth:
        return "basic_auth"
    required = ClientCertificate.REQUIRED
    if wanted.client_certificate is required and held.client_certificate is not required:
        return "ssl_client_ca"
    return ""


def guarded(key: RouteKey, first: Claim, other: Claim, label: str) -> Clash:
    """A service that is not reached on a route, so that nobody comes in whom it would not let in."""
    reason = f"{_decides(first, PREFIX + label)}; so no request gets to this service there"
    return clash(
        key, other, label, reason, f"give both services the same {PREFIX}{label}, or different hosts or paths"
    )
