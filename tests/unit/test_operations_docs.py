"""docs/operations.md and docs/settings.md say all there is: tables as the code has them, every option and key."""

from __future__ import annotations

import pytest

from haproxy.cli import haproxy
from haproxy.config import KEYS
from l7.cli import main as l7
from l7.config.core_options import ACME, CORE, HOST_POLICY
from l7.config.extension_options import CLUSTER, EXTENSION
from l7.config.proxy_options import PROXY
from scripts import docs, settings_docs

TEXT = docs.FILE.read_text()


def test_tables_are_up_to_date() -> None:
    assert docs.render(TEXT) == TEXT, "run python -m scripts.docs and commit the result"


def test_the_keys_of_nginx_are_up_to_date() -> None:
    text = docs.NGINX_FILE.read_text()
    assert docs.render(text, docs.NGINX_TABLES) == text, "run python -m scripts.docs and commit the result"
    assert all(f"`{key.name}`" in text for key in docs.NGINX)


@pytest.mark.parametrize("name", docs.TABLES)
def test_every_table_is_there(name: str) -> None:
    assert f"<!-- table: {name} -->" in TEXT


@pytest.mark.parametrize(
    "command",
    [
        *(l7.commands[name] for name in ("core", "status")),
        *(haproxy.commands[name] for name in ("run", "sidecar", "service")),
    ],
)
def test_every_option_is_mentioned(command: docs.click.Command) -> None:
    flags = [max(option.opts, key=len) for option in command.params]
    assert flags
    assert [flag for flag in flags if f"`{flag}`" not in TEXT] == []


def test_the_page_of_settings_is_up_to_date() -> None:
    text = settings_docs.FILE.read_text()
    assert settings_docs.render() == text, "run python -m scripts.docs and commit the result"


ROWS = (*CORE, *CLUSTER, *EXTENSION, *PROXY, *HOST_POLICY, *ACME)


@pytest.mark.parametrize("key", [*(row.key for row in ROWS), *KEYS])
def test_every_key_has_an_entry(key: str) -> None:
    assert f"\n### `{key}`\n" in settings_docs.FILE.read_text()


def test_a_stale_table_is_noticed() -> None:
    stale = TEXT.replace("`L7_LISTEN`", "`L7_ELSEWHERE`")
    assert stale != TEXT
    assert docs.render(stale) == TEXT
