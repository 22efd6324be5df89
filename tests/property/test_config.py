"""Whatever is written under the keys of a cluster, it is taken as an oracle takes it, or refused by name."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l7.config import examine, parse_settings
from l7.config.extension_options import EXTENSION
from l7.config.option import Option
from l7.config.proxy_options import PROXY
from l7.kit.errors import ConfigError

ROWS = {row.key: row for row in (*EXTENSION, *PROXY) if row.field}
LISTS = {"Args", "ProxyArgs", "Constraints", "ProxyConstraints"}
LISTS |= {"PlacementPreferences", "ProxyPlacementPreferences"}
TABLES = {"Labels", "ContainerLabels", "ProxyLabels", "ProxyContainerLabels"}
NUMBERS = {"ProxyReplicas": (0, 2**31 - 1), "PublishedPort": (0, 65535), "PublishedSSLPort": (0, 65535)}
NUMBERS |= {"TargetPort": (1, 65535), "TargetSSLPort": (1, 65535)}
WORDS = {"ProxyMode": ("replicated", "global"), "PublishMode": ("ingress", "host")}
SECONDS = {"ProxyStopGracePeriod", "ProxyUpdateDelay"}

words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
right = {
    **{key: st.lists(words) for key in ("Args", "ProxyArgs")},
    **{key: st.lists(st.sampled_from(["node.role==worker"])) for key in ("Constraints", "ProxyConstraints")},
    **{key: st.lists(st.sampled_from(["spread=node.labels.a"])) for key in LISTS if key.endswith("Preferences")},
    **{key: st.dictionaries(words.filter(bool), words, max_size=3) for key in TABLES},
    **{key: st.integers(*bounds) for key, bounds in NUMBERS.items()},
    **{key: st.sampled_from(known) for key, known in WORDS.items()},
    **{key: st.integers(0, 10_000).map(lambda seconds: f"{seconds}s") for key in SECONDS},
    "Image": words.map(lambda word: f"mine/{word.replace('/', '')}"),
    "ProxyImage": words.map(lambda word: f"mine/l7{word.replace('/', '')}"),
    "ServiceName": st.from_regex(r"\Aa[a-z0-9]{0,20}\Z"),
    "ProxyServiceName": st.from_regex(r"\Ab[a-z0-9]{0,20}\Z"),
    "ProxyStopSignal": st.sampled_from(["SIGTERM", "QUIT", "9"]),
}
anything = st.one_of(
    st.booleans(), st.integers(-5, 70_000), st.floats(0, 9), words, st.lists(words | st.integers(), max_size=2),
    st.dictionaries(words.filter(bool), words | st.integers(), max_size=2),
)  # fmt: skip


def spelt(draw: Any, key: str) -> str:
    return "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in key)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def kept(key: str, value: Any) -> object:
    """What the settings are to hold."""
    if key in TABLES:
        return tuple(sorted(value.items()))
    if key in LISTS:
        return tuple(value)
    if key in SECONDS:
        return int(value[:-1]) * 1000
    return value == "global" if key == "ProxyMode" else value


@given(st.data())
def test_right_values_are_kept_and_absent_ones_are_their_defaults(data: st.DataObject) -> None:
    given_: dict[str, Any] = data.draw(st.fixed_dictionaries({}, optional=right))
    for one, other in (("PublishedPort", "PublishedSSLPort"), ("TargetPort", "TargetSSLPort")):
        taken = given_.get(other, ROWS[other].default)
        if given_.get(one, ROWS[one].default) == taken:
            given_[one] = taken + 1 if taken < 65535 else 1
    text = "".join(f"{spelt(data.draw, key)} = {toml(value)}\n" for key, value in given_.items())
    settings = parse_settings(f"[Extensions.default]\n{text}")
    cluster = settings.clusters[""]
    for row in ROWS.values():
        value = attrgetter(row.field)(cluster.proxy_options if row in PROXY else cluster.extension_options)
        expected = kept(row.key, given_[row.key]) if row.key in given_ else row.read(row.default)
        foreign = row.key in ("Image", "ProxyImage") and value == ""
        assert foreign or value == expected, (row.key, value, expected)


def refusal(text: str) -> str:
    """Why it is no file of settings, "" when it is one."""
    try:
        parse_settings(text, "c.toml")
    except ConfigError as error:
        return str(error)
    return ""


def is_right(row: Option, value: Any) -> bool:
    """By type alone: what has the right one may still be refused."""
    if row.key in LISTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if row.key in TABLES:
        return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    if row.key in NUMBERS:
        low, high = NUMBERS[row.key]
        return type(value) is int and low <= value <= high
    return isinstance(value, str)


@given(st.sampled_from(sorted(ROWS)), anything)
def test_wrong_values_are_refused_by_line_and_key(key: str, value: Any) -> None:
    refused = refusal(f"[Extensions.default]\n{key} = {toml(value)}\n")
    if refused:
        assert refused.startswith(f"c.toml:2: Extensions.default.{key}")
    else:
        assert is_right(ROWS[key], value)


@given(st.dictionaries(st.sampled_from(sorted(ROWS)) | words.filter(bool), anything, max_size=6))
def test_all_that_is_wrong_is_found_and_the_rest_is_a_file(table: dict[str, Any]) -> None:
    lines = (f"{json.dumps(key)} = {toml(value)}\n" for key, value in table.items())
    text = "[Extensions.default]\n" + "".join(lines)
    settings, errors = examine(text, "c.toml")
    assert settings is not None
    wrong = {key for key, value in table.items() if key in ROWS and not is_right(ROWS[key], value)}
    assert wrong <= {key for key in ROWS for error in errors if f"Extensions.default.{key}" in str(error)}
    refused = refusal(text)
    assert refused in map(str, errors) if refused else (parse_settings(text, "c.toml"), errors) == (settings, ())
