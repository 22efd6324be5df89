"""The sidecar's way of a change, on a real HAProxy: adding, scaling, moving and removing, with no reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.live_sidecar import apps, core_up, eventually, proxy, proxy_settings, until

pytestmark = pytest.mark.haproxy


async def test_first_state_then_changes_without_a_reload(haproxy_binary: Path, tmp_path: Path) -> None:
    async with core_up() as core, apps("one", "two", "three") as (one, two, three):
        async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
            await until(lambda: core.said)
            assert running.sidecar.not_ready()
            assert core.said[0].hello.instance == "proxy"
            core.service("a", one)
            await core.applied()
            assert not running.sidecar.not_ready()
            await until(lambda: running.sidecar.reconciler.accepting.of("a"))
            assert await running.get("a.test") == (200, "one")
            worker = running.worker

            core.service("a", one, two)
            core.service("b", three)
            await core.applied()
            await until(lambda: running.sidecar.reconciler.accepting.of("b"))
            await until(lambda: running.sidecar.reconciler.converged.is_set())
            answers = {await running.get("a.test") for _ in range(6)}
            assert answers == {(200, "one"), (200, "two")}
            assert await running.get("b.test") == (200, "three")

            core.route("a.test", "b", "/p")
            await core.applied()
            assert await running.get("a.test", "/p") == (200, "three")
            core.remove("b")
            await core.applied()
            assert (await running.get("b.test"))[0] == 503
            await eventually(lambda: running.backends(), {"a"})
            assert running.worker == worker
            assert running.sidecar.reloads == 0
            assert running.sidecar.drift == 0
