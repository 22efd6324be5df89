"""Placement constraints and preferences, checked as Swarm does, and more: a bad one is a service that never runs.
Pure."""

from __future__ import annotations

import re

from l7.config.kinds import listed
from l7.config.option import Wrong

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)
_PLAIN = ("node.id", "node.hostname", "node.ip", "node.role", "node.platform.os", "node.platform.arch")
_LABELS = ("node.labels.", "engine.labels.")
_SPREAD = re.compile(r"spread\s*=\s*", re.IGNORECASE)
_KNOWN = f"{', '.join(_PLAIN)}, node.labels.<label> and engine.labels.<label>"

MKE = "node.labels.com.docker.ucp."
"""Labels that MKE gives to its nodes: elsewhere no node has them."""


def _constraint(text: str) -> object:
    """The text as it is: Swarm is told what the operator wrote."""
    parts = re.split("==|!=", text, maxsplit=1)
    if len(parts) != 2:
        return Wrong(f'{text!r} is no constraint: write it as "node.role==worker", with == or !=')
    key, value = (part.strip() for part in parts)
    if not _KEY.fullmatch(key) or not _is_known(key):
        return Wrong(f"{text!r}: {key!r} is nothing that nodes have: there are {_KNOWN}")
    if not _VALUE.fullmatch(value):
        return Wrong(f"{text!r}: {value!r} is no value for a constraint")
    if key.lower() == "node.role" and value.lower() not in ("manager", "worker"):
        return Wrong(f"{text!r}: the role of a node is manager or worker")
    return text


def _preference(text: str) -> object:
    """ "spread=node.labels.zone"; Interlock's files may have it without the strategy, of which there is one."""
    match = _SPREAD.match(text)
    descriptor = (text[match.end() :] if match else text).strip()
    if _is_label(descriptor) and _KEY.fullmatch(descriptor):
        return f"spread={descriptor}"
    return Wrong(f'{text!r} is no preference: write it as "spread=node.labels.zone"')


def _is_known(key: str) -> bool:
    return key.lower() in _PLAIN or _is_label(key)


def _is_label(key: str) -> bool:
    return any(key.lower().startswith(prefix) and len(key) > len(prefix) for prefix in _LABELS)


CONSTRAINTS = listed('a list of constraints such as "node.role==worker"', _constraint)
PREFERENCES = listed('a list of preferences such as "spread=node.labels.zone"', _preference)
