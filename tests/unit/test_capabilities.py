"""Versions as HAProxy writes them, and what each can do."""

from __future__ import annotations

import pytest

from haproxy.capabilities import Version, capabilities, parse_version
from l7.kit.errors import Incompatible, ProtocolError


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: ...", (2, 6, 12)),
        ("2.6.12-1+deb12u4\n\n", (2, 6, 12)),
        ("Name: HAProxy\nVersion: 3.0.11-1+deb13u3\nRelease_date: 2026/10/17\n", (3, 0, 11)),
        ("3.4.7-1", (3, 4, 7)),
        ("3.4-dev5-1a2b3c", (3, 4, 0)),
        ("HAProxy version 3.2.26-1~bpo12+1 2026/09/01", (3, 2, 26)),
    ],
)
def test_reads_each_spelling(text: str, version: Version) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "HAProxy", "nginx/one.two", "1", "v3.4.7", "Unknown command"])
def test_refuses_what_has_no_version(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_version(text)


@pytest.mark.parametrize("version", [(2, 5, 99), (1, 8, 0), (2, 4, 3)])
def test_below_2_6_is_incompatible(version: Version) -> None:
    with pytest.raises(Incompatible, match=r"2\.6 or newer"):
        capabilities(version)


def test_what_the_series_can_do() -> None:
    table = {v: capabilities(v) for v in [(2, 6, 0), (3, 0, 11), (3, 2, 26), (3, 4, 7), (4, 0, 0)]}
    rows = [
        (c.dynamic_backends, c.cheap_map_update, c.wait_removable, c.init_state, c.echoes_payload)
        for c in table.values()
    ]
    assert rows == [
        (False, False, False, False, True),
        (False, True, True, False, True),
        (False, True, True, True, False),
        (True, True, True, True, False),
        (True, True, True, True, False),
    ]


def test_payloads_stay_below_what_each_version_takes() -> None:
    assert capabilities((2, 6, 12)).payload_limit < 16_384
    assert capabilities((3, 2, 26)).payload_limit < 16_384
    assert capabilities((3, 4, 7)).payload_limit < 127 * 1024


def test_only_before_3_0_a_server_must_be_told_to_reuse_connections() -> None:
    assert capabilities((2, 6, 12)).server_keywords == ("pool-max-conn", "-1", "pool-purge-delay", "5s")
    assert capabilities((2, 9, 9)).server_keywords == capabilities((2, 6, 12)).server_keywords
    assert capabilities((3, 0, 0)).server_keywords == ()
