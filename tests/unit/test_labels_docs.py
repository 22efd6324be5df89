"""The page and the schema for editors: up to date, complete, and true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from haproxy.capabilities import capabilities
from haproxy.model import Backend
from haproxy.policy import FAIL_TIMEOUT, server_keywords
from haproxy.settings import Settings
from l7.labels.docs import PAGE, SCHEMA, render_labels
from l7.labels.parse import parse_labels
from l7.labels.prose import EXAMPLE
from l7.labels.quantities import parse_duration
from l7.labels.schema import build_schema, render_schema
from l7.labels.table import PREFIX, SUPPORTED, TABLE, label_of
from tests.unit.test_labels_values import GOOD

PROXY = Settings()
ROOT = Path(__file__).parents[2]
LABELS: Any = json.loads(json.dumps(build_schema()))["definitions"]["labels"]


@pytest.mark.parametrize(("name", "text"), [(PAGE, render_labels()), (SCHEMA, render_schema())])
def test_files_are_the_table(name: str, text: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == text, "run: python -m l7.labels.docs"


@pytest.mark.parametrize("label", SUPPORTED, ids=lambda label: label.name)
def test_every_row_says_everything(label: Any) -> None:
    assert all((label.type, label.default, label.meaning, label.example, label.versions))
    assert f"### `{label.name}`" in render_labels()
    assert not re.search("  |^ | $", label.meaning), "a gap where two strings meet"


def test_conflicts_and_meanings_name_labels_that_exist() -> None:
    known = {label.name.rstrip("*_") for label in TABLE.values()}
    words = {
        word
        for label in SUPPORTED
        for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)[`=]", label.meaning + label.conflicts)
    }
    assert words
    assert words - known - {"endpoint_mode", "stop_grace_period"} == set()


@pytest.mark.parametrize(
    ("name", "milliseconds"),
    [
        ("health_check_interval", PROXY.check_interval),
        ("drain_timeout", PROXY.drain_timeout),
        ("timeout_server", PROXY.server_timeout),
        ("timeout_tunnel", PROXY.tunnel_timeout),
        ("timeout_connect", PROXY.connect_timeout),
        ("queue_timeout", PROXY.hold_timeout),
        ("fail_timeout", FAIL_TIMEOUT),
    ],
)
def test_defaults_are_those_of_the_proxies(name: str, milliseconds: int) -> None:
    assert parse_duration(TABLE[PREFIX + name].default.partition(",")[0]) == milliseconds


def test_numbers_of_checks_are_those_of_the_proxies() -> None:
    assert TABLE[PREFIX + "health_check_fall"].default == str(PROXY.check_fall)
    keywords = server_keywords(PROXY, capabilities((2, 6, 12)), Backend("web"))
    assert f"rise {TABLE[PREFIX + 'health_check_rise'].default} " in " ".join([*keywords, ""])


def test_links_lead_somewhere() -> None:
    page = render_labels()
    titles = {
        re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", page, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= titles


def test_the_example_is_right() -> None:
    for service, _, _, labels in EXAMPLE:
        parsed = parse_labels({PREFIX + name: text for name, text in labels}, (), service)
        assert parsed.problems == ()
        assert parsed.spec is not None


def test_rows_are_found_by_what_is_written() -> None:
    assert label_of(PREFIX + "port") is TABLE[PREFIX + "port"]
    assert label_of(PREFIX + "header_request_X-A") is TABLE[PREFIX + "header_request_*"]
    assert label_of(PREFIX + "header_response_") is TABLE[PREFIX + "header_response_*"]
    assert label_of(PREFIX + "header_request_*") is TABLE[PREFIX + "header_request_*"]
    assert label_of(PREFIX + "header") is None


# ---------------------------------------------------------------- the schema, by a checker of what it uses


def _valid(schema: Any, value: object) -> bool:
    if isinstance(schema, bool):
        return schema
    assert schema.keys() <= {
        "description",
        "examples",
        "deprecated",
        "anyOf",
        "type",
        "pattern",
        "enum",
        "minimum",
        "maximum",
    }
    types = {"string": str, "boolean": bool, "integer": int}
    return (
        ("anyOf" not in schema or any(_valid(each, value) for each in schema["anyOf"]))
        and ("type" not in schema or (type(value) is types[schema["type"]]))
        and ("pattern" not in schema or not isinstance(value, str) or bool(re.search(schema["pattern"], value)))
        and ("enum" not in schema or any(value == each and type(value) is type(each) for each in schema["enum"]))
        and ("minimum" not in schema or (isinstance(value, int) and value >= schema["minimum"]))
        and ("maximum" not in schema or (isinstance(value, int) and value <= schema["maximum"]))
    )


def _schemas(key: str) -> Iterator[Any]:
    if key in LABELS["properties"]:
        yield LABELS["properties"][key]
    yield from (schema for pattern, schema in LABELS["patternProperties"].items() if re.search(pattern, key))


def _accepts(labels: Mapping[str, object]) -> bool:
    return all(_valid(schema, value) for key, value in labels.items() for schema in _schemas(key))


WORDS = {
    "backend_mode",
    "balance",
    "protocol",
    "proxy_protocol",
    "retry_on",
    "ssl_backend_tls_verify",
    "ssl_client_verify",
}


@pytest.mark.parametrize(("name", "text"), [(name, row[0]) for name, rows in GOOD.items() for row in rows])
def test_editors_refuse_nothing_that_the_parser_takes(name: str, text: str) -> None:
    if name in WORDS or isinstance(GOOD[name][0][1], bool):
        text = text.strip(" ").lower()  # an enumeration has one spelling of each word
    assert _accepts({PREFIX + name.replace("*", "X-Team"): text})


def test_editors_know_each_label_and_no_other() -> None:
    for label in SUPPORTED:
        assert [each for each in _schemas(label.key.replace("*", "X-Team")) if each is not False], label.name
        assert _accepts({label.key.replace("*", "X-Team"): label.example})
    assert _accepts({"com.example": "x", "com.docker.stack.namespace": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "a.x"), ("ports", "80"), ("hostss", "a.x"), ("header_req_X", "1"), ("Port", 80), ("", "x"),
        ("port", "abc"),
        ("port", 0), ("port", 70000), ("weight", -1), ("compression", "maybe"), ("protocol", "tcp"),
        ("fail_timeout", "soon"),
        ("rate_limit", "10"), ("redirects", "http://a"), ("health_check_path", "health"), ("max_body_size", "10mb"),
        ("header_request_a b", "x"),
    ],
)  # fmt: skip
def test_editors_tell_mistakes(name: str, value: object) -> None:
    assert not _accepts({PREFIX + name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 8080), ("compression", True), ("max_body_size", 512), ("timeout_server", 5), ("ip_hash", 1)],
)
def test_editors_take_what_yaml_makes_of_bare_words(name: str, value: object) -> None:
    assert _accepts({PREFIX + name: value})
    text = str(value).lower()
    assert parse_labels({PREFIX + "hosts": "a", PREFIX + "port": "1", PREFIX + name: text}).problems == ()


def test_labels_of_the_containers_are_told() -> None:
    service: Any = json.loads(render_schema())["properties"]["services"]["additionalProperties"]["properties"]
    [(pattern, refused)] = service["labels"]["then"]["patternProperties"].items()
    assert refused is False
    assert re.search(pattern, PREFIX + "hosts")
    assert not re.search(pattern, "com.example")
