"""Fixtures that tests of several proxies share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.dns import HERE


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def names() -> dict[str, list[str]]:
    """What DNS knows."""
    return {"tasks.web": [HERE]}
