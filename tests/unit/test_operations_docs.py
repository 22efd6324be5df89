"""docs/operations.md says all there is: tables as the code has them, every option, every key of the TOML file."""

from __future__ import annotations

import pytest

from haproxy.cli import haproxy
from l7.cli import main as l7
from l7.config.core_options import CORE
from scripts import docs

TEXT = docs.FILE.read_text()


def test_tables_are_up_to_date() -> None:
    assert docs.render(TEXT) == TEXT, "run python -m scripts.docs and commit the result"


@pytest.mark.parametrize("name", docs.TABLES)
def test_every_table_is_there(name: str) -> None:
    assert f"<!-- table: {name} -->" in TEXT


@pytest.mark.parametrize(
    "command",
    [
        *(l7.commands[name] for name in ("core", "status")),
        *(haproxy.commands[name] for name in ("run", "sidecar", "secrets")),
    ],
)
def test_every_option_is_mentioned(command: docs.click.Command) -> None:
    flags = [option.opts[0] for option in command.params]
    assert flags
    assert [flag for flag in flags if f"`{flag}`" not in TEXT] == []


@pytest.mark.parametrize("key", [*(row.key for row in CORE), "ServiceCluster", "Networks", "Config"])
def test_every_key_of_the_file_is_mentioned(key: str) -> None:
    assert f"`{key}`" in TEXT or f"`[{key}." in TEXT


def test_a_stale_table_is_noticed() -> None:
    stale = TEXT.replace("`L7_LISTEN`", "`L7_ELSEWHERE`")
    assert stale != TEXT
    assert docs.render(stale) == TEXT
