"""The image that deploy/Dockerfile builds is the one that everything here is tested with."""

from __future__ import annotations

import json
import re
from typing import Any

from l7 import __version__
from l7.deploy import healthcheck
from testbed.image import CONFIG, REPOSITORY, SUITE
from testbed.system import Options

DOCKERFILE = (REPOSITORY / "deploy/Dockerfile").read_text()


def last_stage() -> dict[str, str]:
    """The instructions of the image itself, one per name; LABEL and ENV in one line each."""
    text = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    lines = (line.partition(" ") for line in text.splitlines() if re.match(r"[A-Z]+ ", line))
    return {name: " ".join(rest.split()) for name, _, rest in lines}


def test_it_runs_as_the_tested_one_does() -> None:
    found = last_stage()
    assert json.loads(found["ENTRYPOINT"]) == CONFIG["Entrypoint"]
    assert (found["USER"], found["STOPSIGNAL"]) == (CONFIG["User"], CONFIG["StopSignal"])
    assert found["ENV"].split() == CONFIG["Env"]


def test_its_health_is_checked_as_that_of_services() -> None:
    check: dict[str, Any] = dict(healthcheck.ANY)
    interval, timeout, start = (check[name] // 10**9 for name in ("Interval", "Timeout", "StartPeriod"))
    assert last_stage()["HEALTHCHECK"] == (
        f"--interval={interval}s --timeout={timeout}s --start-period={start}s --retries={check['Retries']} "
        f'CMD ["{healthcheck.PROGRAM}"]'
    )


def test_what_it_is_made_from_and_says_of_itself() -> None:
    assert f"\nARG BASE=debian:{SUITE}-slim\n" in DOCKERFILE
    assert f"\nARG VERSION={__version__}\n" in DOCKERFILE
    wanted = {"title", "description", "licenses", "version", "revision", "created", "source"}
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", last_stage()["LABEL"])) == wanted


def test_haproxy_is_debians_unless_another_one_is_chosen() -> None:
    assert Options().binary == "haproxy"
    assert "\nARG HAPROXY=\n" in DOCKERFILE
