"""What the labels of a Docker secret say about a certificate, and which of several is taken."""

from __future__ import annotations

import re

import pytest

from l7.issued import HOST, KIND, NOT_AFTER, NOT_BEFORE, Issued, issued, labels_of, name_of, newest
from l7.model import StoredSecret

DAY = 86400
LABELS = labels_of("a.example.org", 1000, 1000 + 90 * DAY)


def secret(labels: dict[str, str], config: bool = False) -> StoredSecret:
    return StoredSecret("i1", 1, "l7-acme-a", config, tuple(sorted(labels.items())))


def test_labels_are_read_back() -> None:
    assert issued(secret(LABELS)) == Issued("i1", "l7-acme-a", "a.example.org", 1000, 1000 + 90 * DAY)


@pytest.mark.parametrize(
    "labels",
    [
        {},
        LABELS | {KIND[0]: "pki"},
        {key: value for key, value in LABELS.items() if key != HOST},
        LABELS | {NOT_AFTER: "soon"},
        LABELS | {NOT_AFTER: "-5"},
        LABELS | {NOT_AFTER: "٣"},
    ],
)
def test_what_is_no_certificate_of_ours_is_none(labels: dict[str, str]) -> None:
    assert issued(secret(labels)) is None


def test_a_config_is_none_whatever_it_says() -> None:
    assert issued(secret(LABELS, config=True)) is None


def test_without_a_beginning_a_usual_life_is_assumed() -> None:
    found = issued(secret(LABELS | {NOT_BEFORE: "x"}))
    assert found is not None
    assert found.not_after - found.not_before == 90 * DAY


def test_the_one_that_is_valid_longest_is_taken_whatever_the_order() -> None:
    old, new = Issued("1", "n1", "a", 0, 50), Issued("2", "n2", "a", 5, 60)
    twin, other = Issued("3", "n3", "a", 5, 60), Issued("4", "n4", "b", 0, 1)
    assert newest([old, new, twin, other]) == newest([other, twin, new, old]) == {"a": twin, "b": other}


@pytest.mark.parametrize("host", ["a.example.org", "x" * 60 + "." + "y" * 60, "a" * 42 + "-.b"])
def test_names_are_of_dockers_grammar_and_tell_certificates_apart(host: str) -> None:
    one, other = name_of(host, b"one"), name_of(host, b"other")
    assert re.fullmatch(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?", one)
    assert len(one) <= 64
    assert one != other
