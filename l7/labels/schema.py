"""docs/labels.schema.json from the table: what an editor can tell about a stack file's labels. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from l7.labels.label import PREFIX, Label
from l7.labels.table import MAY_BE_EMPTY, SUPPORTED

Schema = Mapping[str, object]

_HEADER_NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,127}"


def render_schema() -> str:
    """The schema as text: of a compose file, which has the labels below `services.*.deploy.labels`."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def build_schema() -> Schema:
    """JSON Schema, draft 7. `definitions.labels` alone is that of the map of labels."""
    service = {
        "deploy": {"properties": {"labels": {"if": {"type": "object"}, "then": {"$ref": "#/definitions/labels"}}}},
        # The classic mistake: `labels` of a service in a compose file are those of its containers.
        "labels": {"if": {"type": "object"}, "then": {"patternProperties": {_start(PREFIX): False}}},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Labels of l7 in a stack file",
        "type": "object",
        "properties": {"services": {"additionalProperties": {"properties": service}}},
        "definitions": {"labels": _labels()},
    }


def _labels() -> Schema:
    single = [label for label in SUPPORTED if not label.name.endswith("*")]
    several = [label for label in SUPPORTED if label.name.endswith("*")]
    return {
        "type": "object",
        "properties": {label.key: _label(label) for label in single},
        "patternProperties": {
            **{f"{_start(label.key[:-1])}{_HEADER_NAME}$": _label(label) for label in several},
            _unknown([label.name for label in single], [label.name[:-1] for label in several]): False,
        },
    }


def _label(label: Label[object]) -> Schema:
    kind: Schema = label.kind.schema
    if label.key in MAY_BE_EMPTY:
        kind = {"anyOf": [kind, {"enum": [""]}]}
    return {"description": f"{label.meaning} Default: {label.default}.", "examples": [label.example], **kind}


def _unknown(names: list[str], starts: list[str]) -> str:
    """Matches names of ours that are none of these, and begin with none of those."""
    known = "|".join([*names, *(start + _HEADER_NAME for start in starts)])
    return f"{_start(PREFIX)}(?!(?:{known})$)"


def _start(text: str) -> str:
    return "^" + text.replace(".", r"\.")
