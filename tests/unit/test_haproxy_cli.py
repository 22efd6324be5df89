"""The options of `l7 haproxy`."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from haproxy.cli import MAY_BE_ZERO, SETTINGS_HELP, sidecar


@pytest.mark.parametrize("name", sorted(SETTINGS_HELP.keys() - {"run_dir"}))
def test_a_number_that_makes_no_sense_is_refused_before_anything_starts(name: str) -> None:
    least = 0 if name in MAY_BE_ZERO else 1
    flag = "--" + name.replace("_", "-")
    done = CliRunner().invoke(sidecar, [flag, str(least - 1)])
    assert done.exit_code == 2
    assert flag in done.output
    assert f"x>={least}" in done.output


@pytest.mark.parametrize(
    ("flag", "text"), [("--trusted-proxies", "10.0.0.0/8,x"), ("--tcp-ports", "1-0"), ("--tcp-ports", "http")]
)
def test_a_list_that_makes_no_sense_is_refused_before_anything_starts(flag: str, text: str) -> None:
    done = CliRunner().invoke(sidecar, [flag, text])
    assert done.exit_code == 2
    assert flag in done.output
