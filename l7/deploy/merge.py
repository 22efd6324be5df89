"""Three-way merge of a service's specification: what l7 wants, on top of what an operator did to it. Pure.

    applied   what l7 wanted when it wrote the specification last
    wanted    what it wants now
    current   what Swarm holds

What is wanted as before stays as it is in Swarm, whoever changed it: `docker service update` and `docker service
scale` survive. What is wanted otherwise than before is written, what is wanted no more is taken out again. Lists of
named things (constraints, networks, ports, ...) are merged thing by thing; other lists are one value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import orjson

Json = Mapping[str, Any]
Path = tuple[str, ...]


def _whole(element: Any) -> str:
    return orjson.dumps(element, option=orjson.OPT_SORT_KEYS).decode()


def _variable(element: Any) -> str:
    return str(element).partition("=")[0]


def _file(element: Any) -> str:
    return str((element.get("File") or {}).get("Name", ""))


def _target(element: Any) -> str:
    return str(element.get("Target", ""))


def _port(element: Any) -> str:
    return f"{element.get('TargetPort', 0)}/{element.get('Protocol') or 'tcp'}"


NAMES: Mapping[str, Callable[[Any], str]] = {
    "Env": _variable,
    "Constraints": str,
    "Preferences": _whole,
    "Networks": _target,
    "Ports": _port,
    "Secrets": _file,
    "Configs": _file,
    "Mounts": _target,
}
"""How the elements of these lists of a specification are told apart, by the list's key."""

ENFORCED = frozenset({"Networks", "Secrets", "Mounts"})
"""Lists whose elements a part can't do without: put back where somebody took them out."""


def merge(applied: Json, wanted: Json, current: Json) -> dict[str, Any]:
    """The specification to be; equal to `current` when there is nothing to do."""
    merged = dict(current)
    for key in sorted(applied.keys() | wanted.keys()):
        if key in wanted:
            merged[key] = _value(key, applied.get(key), wanted[key], current.get(key))
        elif key in current:
            _take_out(merged, key, applied[key])
    return {key: value for key, value in merged.items() if value is not None or key in current}


def _value(key: str, applied: Any, wanted: Any, current: Any) -> Any:
    if isinstance(wanted, Mapping):
        if current is None and applied == wanted:
            return None  # somebody took it out, or Docker leaves out what is empty
        return merge(applied if isinstance(applied, Mapping) else {}, wanted, current or {})
    if key in NAMES and isinstance(wanted, Sequence):
        return _elements(key, applied or (), wanted, current)
    return current if applied == wanted else wanted


def _elements(key: str, applied: Sequence[Any], wanted: Sequence[Any], current: Sequence[Any] | None) -> Any:
    """A list of named things; None stays None where nothing is to be in it."""
    name = NAMES[key]
    before = {name(each): each for each in applied}
    new = {name(each): each for each in wanted}
    there = _told_apart(current or (), name, before)
    kept = {each: value for each, value in there.items() if each[1] or each[0] not in before or each[0] in new}
    for each, value in new.items():
        if before.get(each) != value or (key in ENFORCED and not _has(there.get((each, 0)), value)):
            kept[each, 0] = value
    return list(kept.values()) if kept or current is not None else None


def _told_apart(
    elements: Sequence[Any], name: Callable[[Any], str], before: Mapping[str, Any]
) -> dict[tuple[str, int], Any]:
    """By name and 0; of several of one name (a port inside that is published twice), the others by their places,
    which are an operator's. l7's is the one that it wrote, else the first."""
    places = [(name(each), place) for place, each in enumerate(elements)]
    own = dict(reversed(places))
    own |= {each: place for each, place in reversed(places) if _has(elements[place], before.get(each))}
    return {(each, place + 1 if place != own[each] else 0): elements[place] for each, place in places}


def _has(there: Any, wanted: Any) -> bool:
    """Whether all that is wanted of a thing is so; Docker adds fields of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(_has(there.get(key), value) for key, value in wanted.items())
    return bool(there == wanted)


def _take_out(merged: dict[str, Any], key: str, applied: Any) -> None:
    """What l7 wrote once and does not want any more; what somebody else made of it stays."""
    current = merged[key]
    left: Any
    if isinstance(applied, Mapping) and isinstance(current, Mapping):
        left = merge(applied, {}, current)
    elif key in NAMES and isinstance(applied, Sequence) and isinstance(current, Sequence):
        left = _elements(key, applied, (), current)
    else:
        left = None if current == applied else current
    if left in (None, {}, []):
        del merged[key]
    else:
        merged[key] = left


def differing(one: Json, other: Json, keys: AbstractSet[str]) -> bool:
    """Whether two specifications differ in one of these top-level keys; what is empty is as good as missing."""
    return any((one.get(key) or None) != (other.get(key) or None) for key in keys)
