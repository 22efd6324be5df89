"""Fixtures that all levels share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from testbed import app, haproxy_versions
from testbed.swarm import Swarm

HAPROXY_SERIES = [name for name in os.environ.get("HAPROXY", "2.6,3.4").replace(" ", "").split(",") if name]


@pytest.fixture(scope="session", params=HAPROXY_SERIES)
def haproxy_series(request: pytest.FixtureRequest) -> str:
    """Each HAProxy series that the tests are to run on: ``HAPROXY=2.6,3.4``."""
    return str(request.param)


@pytest.fixture(scope="session")
def haproxy_binary(haproxy_series: str) -> Path:
    """The executable of that series, fetched if it is not there yet."""
    return haproxy_versions.haproxy(haproxy_series)


@pytest.fixture(scope="session")
def swarm1() -> Iterator[Swarm]:
    """One node in swarm mode for the whole session. Tests remove what they create in it."""
    with Swarm.up(nodes=1) as swarm:
        yield swarm


@pytest.fixture(scope="session")
def app_image(swarm1: Swarm) -> str:
    """The test application's image, loaded into `swarm1`."""
    swarm1.load_image(app.image())
    return app.TAG


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a test says of logs (their level, by way of a command) holds for no other one."""
    yield
    structlog.reset_defaults()
