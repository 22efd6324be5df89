"""What the operator chooses for services whose labels leave it open. Pure."""

from __future__ import annotations

from dataclasses import replace

from l7.labels.label import PREFIX
from l7.labels.spec import RouteSpec
from l7.model import Balance, HashKey, HashSource

_CHOICES = frozenset(f"{PREFIX}{name}" for name in ("balance", "sticky_session_cookie", "ip_hash"))


def by_address(spec: RouteSpec) -> RouteSpec:
    """Tasks are chosen by the client's address, as with the label `ip_hash`, if no label says how they are."""
    if spec.vip or any(key in _CHOICES for key, _ in spec.written):
        return spec
    http = bool(spec.hosts) or spec.default_backend
    if not http and not spec.tcp_port:
        return spec
    rules = replace(spec.rules, hash_key=HashKey(HashSource.ADDRESS)) if http else spec.rules
    return replace(spec, balance=Balance.HASH, rules=rules)
