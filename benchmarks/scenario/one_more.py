"""One route more beside many, through the real sidecar: from core's message to the acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.scenario.result import spread
from haproxy.model import Desired
from l7.kit import logs
from l7.v1 import sync_pb2 as pb
from testbed.haproxy_versions import haproxy
from tests.integration.live_sidecar import Core, apps, core_up, proxy, proxy_settings, until

ADDED = 100


async def one_more(series: str, desired: Desired) -> Mapping[str, float]:
    """Milliseconds, of ADDED routes one after the other. `desired` is what is routed before."""
    logs.configure("error")
    async with core_up() as core, apps("app") as (app,):
        for name in desired.backends:
            core.backend(name, app)
        core.routes = {
            key: pb.Route(host=r.host, path=r.path, backend=r.backend) for key, r in desired.routes.items()
        }
        core.push()
        with TemporaryDirectory(prefix="l7-bench-") as directory:
            settings = proxy_settings(Path(directory), spare_backends=2 * len(desired.backends))
            async with proxy(haproxy(series), settings, core.port):
                await until(lambda: core.acks, "the first acknowledgement")
                return spread([await add(core, number) for number in range(ADDED)])


async def add(core: Core, number: int) -> float:
    """Milliseconds."""
    before = core.revision
    core.number += 1
    route = pb.Route(host=f"added{number}.example.org", path="/", backend=next(iter(core.backends)))
    core.routes[route.host, "/"] = route
    began = time.perf_counter()
    core.send(core.incremental(before, pb.Changes(routes=[route])))
    await core.acknowledged(core.revision)
    return (time.perf_counter() - began) * 1e3
