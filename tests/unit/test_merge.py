"""Three-way merge: what an operator did survives until l7 wants that very thing otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7.deploy.merge import NAMES, merge

Json = dict[str, Any]

CASES: list[tuple[str, Json, Json, Json, Json]] = [
    ("nothing changed", {"A": 1}, {"A": 1}, {"A": 1}, {"A": 1}),
    ("an operator's value survives", {"A": 1}, {"A": 1}, {"A": 5}, {"A": 5}),
    ("a new wish wins", {"A": 1}, {"A": 2}, {"A": 5}, {"A": 2}),
    ("others' fields stay", {}, {"A": 1}, {"B": 2}, {"A": 1, "B": 2}),
    ("wanted no more", {"A": 1}, {}, {"A": 1, "B": 2}, {"B": 2}),
    ("wanted no more, but an operator's by now", {"A": 1}, {}, {"A": 3}, {"A": 3}),
    ("deep", {"M": {"R": 2}}, {"M": {"R": 3}}, {"M": {"R": 2, "X": 1}}, {"M": {"R": 3, "X": 1}}),
    ("deep and gone", {"M": {"R": 2}}, {}, {"M": {"R": 2}}, {}),
    ("scaled by hand", {"M": {"R": 2}}, {"M": {"R": 2}}, {"M": {"R": 7}}, {"M": {"R": 7}}),
    (
        "an operator's constraint beside a new one",
        {"Constraints": ["a==1"]},
        {"Constraints": ["a==2"]},
        {"Constraints": ["a==1", "mine==1"]},
        {"Constraints": ["mine==1", "a==2"]},
    ),
    ("the last constraint goes", {"Constraints": ["a==1"]}, {}, {"Constraints": ["a==1"]}, {}),
    ("a variable anew", {"Env": ["A=1"]}, {"Env": ["A=2"]}, {"Env": ["A=1", "B=1"]}, {"Env": ["A=2", "B=1"]}),
    ("arguments are one value", {"Args": ["a"]}, {"Args": ["a", "b"]}, {"Args": ["c"]}, {"Args": ["a", "b"]}),
    (
        "a network that was taken out comes back",
        {"Networks": [{"Target": "n1"}]},
        {"Networks": [{"Target": "n1"}]},
        {"Networks": [{"Target": "theirs"}]},
        {"Networks": [{"Target": "theirs"}, {"Target": "n1"}]},
    ),
    (
        "a network with what Docker or an operator added to it",
        {"Networks": [{"Target": "n1"}]},
        {"Networks": [{"Target": "n1"}]},
        {"Networks": [{"Target": "n1", "Aliases": ["x"]}]},
        {"Networks": [{"Target": "n1", "Aliases": ["x"]}]},
    ),
    (
        "a port that an operator moved",
        {"Ports": [{"TargetPort": 80, "Protocol": "tcp", "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "Protocol": "tcp", "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "Protocol": "tcp", "PublishedPort": 81}]},
        {"Ports": [{"TargetPort": 80, "Protocol": "tcp", "PublishedPort": 81}]},
    ),
    (
        "a second port outside for the same port inside is an operator's",
        {"Ports": [{"TargetPort": 80, "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 80}, {"TargetPort": 80, "PublishedPort": 8080}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 80}, {"TargetPort": 80, "PublishedPort": 8080}]},
    ),
    (
        "a new port takes the place of the one that was wanted, whichever comes first",
        {"Ports": [{"TargetPort": 80, "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 81}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}, {"TargetPort": 80, "PublishedPort": 80}]},
        {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}, {"TargetPort": 80, "PublishedPort": 81}]},
    ),
    ("a table that an operator took out", {"M": {"R": 2}}, {"M": {"R": 2}}, {"A": 1}, {"A": 1}),
    ("an empty table that Docker leaves out", {"M": {}}, {"M": {}}, {"A": 1}, {"A": 1}),
    ("first time over a service that is there", {}, {"A": 1, "M": {"R": 2}}, {"A": 9}, {"A": 1, "M": {"R": 2}}),
]


@pytest.mark.parametrize(("applied", "wanted", "current", "merged"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_cases(applied: Json, wanted: Json, current: Json, merged: Json) -> None:
    assert merge(applied, wanted, current) == merged


_scalars = st.integers(0, 3)
_named = st.lists(st.sampled_from("abc"), unique=True)
_specs = st.recursive(
    st.dictionaries(st.sampled_from("xy"), _scalars | st.just(None).map(lambda _: 7)),
    lambda inner: st.dictionaries(st.sampled_from("mn"), inner) | st.dictionaries(st.just("Constraints"), _named),
    max_leaves=6,
)


@given(_specs, _specs, _specs)
def test_what_is_wanted_as_before_changes_nothing(applied: Json, wanted: Json, current: Json) -> None:
    written = merge(applied, wanted, current)
    assert merge(wanted, wanted, written) == written


@given(_specs, _specs)
def test_a_new_service_is_what_is_wanted(wanted: Json, other: Json) -> None:
    assert _without_nothing(merge({}, wanted, {})) == _without_nothing(wanted)
    assert _without_nothing(merge(wanted, other, merge({}, wanted, {}))) == _without_nothing(other)


def _without_nothing(spec: Any) -> Any:
    """Empty lists and tables are as good as missing ones."""
    if not isinstance(spec, dict):
        return sorted(spec) if isinstance(spec, list) else spec
    cleaned = {key: _without_nothing(value) for key, value in spec.items()}
    return {key: value for key, value in cleaned.items() if value not in ({}, [], None)}


def test_every_named_list_tells_its_elements_apart() -> None:
    samples: dict[str, list[Any]] = {
        "Env": ["A=1", "B=1"],
        "Constraints": ["a==1", "b==1"],
        "Preferences": [{"Spread": {"SpreadDescriptor": "a"}}, {"Spread": {"SpreadDescriptor": "b"}}],
        "Networks": [{"Target": "a"}, {"Target": "b"}],
        "Ports": [{"TargetPort": 80}, {"TargetPort": 80, "Protocol": "udp"}],
        "Secrets": [{"File": {"Name": "a"}}, {"File": {"Name": "b"}}],
        "Configs": [{"File": {"Name": "a"}}, {"File": {"Name": "b"}}],
        "Mounts": [{"Target": "/a"}, {"Target": "/b"}],
    }
    assert samples.keys() == NAMES.keys()
    for key, elements in samples.items():
        assert len({NAMES[key](each) for each in elements}) == 2, key
