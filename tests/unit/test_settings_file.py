"""The settings of the running HAProxy survive the sidecar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from haproxy import settings_file
from haproxy.settings import Settings


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    base = Settings(run_dir=str(tmp_path))
    settings = replace(
        base, spare_pools=(("http", 300),), extra_tcp_ports=(5432,), error_pages=((503, "<h1>"),), threads=2
    )
    settings_file.save(settings)
    assert settings_file.load(base) == settings


@pytest.mark.parametrize("text", [None, "", "[1]", "{"])
def test_without_a_readable_file_the_command_line_counts(tmp_path: Path, text: str | None) -> None:
    base = Settings(run_dir=str(tmp_path), threads=3)
    if text is not None:
        (tmp_path / settings_file.NAME).write_text(text)
    assert settings_file.load(base) == base


def test_settings_of_another_version_do_not_matter(tmp_path: Path) -> None:
    base = Settings(run_dir=str(tmp_path))
    (tmp_path / settings_file.NAME).write_text('{"threads": 3, "of_tomorrow": 1}')
    assert settings_file.load(base) == Settings(threads=3)
