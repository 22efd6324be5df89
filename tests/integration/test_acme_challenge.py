"""The answers to an ACME server, live on a running proxy: there once the revision is acknowledged, gone with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.live_sidecar import Core, Proxy, apps, core_up, eventually, proxy, proxy_settings

pytestmark = pytest.mark.haproxy

PATH = "/.well-known/acme-challenge/token-1"
TEXT = "token-1.thumbprint_of-the-account"


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def running(haproxy_binary: Path, tmp_path: Path, core: Core) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
        yield running


async def test_a_challenge_is_answered_once_acknowledged_for_any_host_and_no_longer_than_it_is_there(
    running: Proxy, core: Core
) -> None:
    async with apps("a") as (a,):
        core.service("a", a)
        await core.applied()

        async def routed() -> tuple[int, str]:
            return await running.get("a.test", PATH)

        before = (200, "a")
        await eventually(routed, before)
        core.challenges["token-1"] = TEXT
        await core.applied()
        assert await running.get("a.test", PATH) == (200, TEXT)
        assert await running.get("unknown.test", PATH) == (200, TEXT)
        assert await running.get("a.test", PATH.replace("1", "2")) == before
        del core.challenges["token-1"]
        await core.applied()
        assert await routed() == before
    assert core.nacks == {}
