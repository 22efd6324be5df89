"""What l7 wanted of a service when it last wrote it: kept in a label of it, for the merge. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from l7.deploy import names
from l7.deploy.merge import merge

Json = Mapping[str, Any]


def applied(labels: Mapping[str, str]) -> dict[str, Any]:
    """Nothing where that can't be read."""
    try:
        found = orjson.loads(labels.get(names.APPLIED, "{}"))
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def marked(spec: Json, wanted: Json) -> dict[str, Any]:
    """The specification, with the label."""
    text = orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS).decode()
    return {**spec, "Labels": {**spec["Labels"], names.APPLIED: text}}


def merged(wanted: Json, current: Json) -> dict[str, Any]:
    """The specification to be: what is wanted, and what an operator did to the rest; with the label."""
    labels: Mapping[str, str] = current.get("Labels") or {}
    bare = {**current, "Labels": {key: text for key, text in labels.items() if key != names.APPLIED}}
    return marked(merge(applied(labels), wanted, bare), wanted)
