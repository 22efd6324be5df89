"""What of a desired state HAProxy can be told: no service's rules keep it from starting. Pure."""

from __future__ import annotations

from dataclasses import replace

from haproxy.capabilities import Capabilities
from haproxy.features import rules_rows
from haproxy.model import Desired, Route
from haproxy.ops import AddMapRow
from haproxy.routes import MAX_STRIPPED, operation
from haproxy.runtime import codec
from haproxy.settings import Settings
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

SURE = 2000
"""Bytes of rules, and characters of a path, up to which there is nothing to find out."""


def sayable(desired: Desired, settings: Settings, capabilities: Capabilities) -> Desired:
    """`desired` without rules that don't fit into rows, and without the routes that they are for: those would pass
    requests which the rules refuse. The planner says later what is missing, and why."""
    unsaid = {name for name, rules in desired.rules.items() if not _fits(rules, settings, capabilities)}
    routes = {key: route for key, route in desired.routes.items() if _is_row(route) and route.rules not in unsaid}
    rules = {name: each for name, each in desired.rules.items() if name not in unsaid}
    return replace(desired, routes=routes, rules=rules)


def _fits(rules: pb.Rules, settings: Settings, capabilities: Capabilities) -> bool:
    if rules.ByteSize() <= SURE:
        return True
    try:
        for file, rows in rules_rows(rules, capabilities).items():
            for key, value in rows.items():
                codec.encode(AddMapRow(settings.file(file), key, value))
    except (ProtocolError, ValueError):
        return False
    return True


def _is_row(route: Route) -> bool:
    if len(route.path) > SURE:
        return False
    try:
        return route.path.count("/") <= MAX_STRIPPED or operation(route) is not None
    except ValueError:
        return False
