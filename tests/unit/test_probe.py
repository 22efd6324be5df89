"""The probe: asks until it is answered, once per target, and only for what is wanted."""

from __future__ import annotations

import asyncio
from itertools import islice

from haproxy import probe
from haproxy.probe import Prober, Target, connects, pauses
from tests.integration.live_haproxy import free_port


def test_tight_at_first_and_never_slower_than_the_last_pause() -> None:
    numbers = list(islice(pauses(), 60))
    assert set(numbers[: probe.QUICK_TRIES]) == {probe.FIRST_PAUSE}
    assert numbers == sorted(numbers)
    assert numbers[-1] == probe.LAST_PAUSE


async def test_accepted_as_soon_as_it_listens_and_only_then() -> None:
    port, accepted = free_port(), asyncio.Queue[Target]()
    target, unwanted = Target("a", "t1.aa", "127.0.0.1", port), Target("a", "t2.aa", "127.0.0.1", port)
    prober = Prober(accepted.put_nowait)
    prober.want("a", {target, unwanted})
    prober.want("a", {target})
    assert not await connects("127.0.0.1", port)
    assert accepted.empty()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        assert await asyncio.wait_for(accepted.get(), 10) == target
        prober.want("a", {target})
        await asyncio.sleep(0)
        assert accepted.empty()
    prober.want("a", set())
    assert prober._probes == {}
    prober.close()


async def test_close_ends_all() -> None:
    prober = Prober(lambda target: None)
    before = asyncio.all_tasks()
    prober.want("a", {Target("a", "t1.aa", "127.0.0.1", free_port())})
    prober.close()
    await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)
    assert asyncio.all_tasks() == before


async def test_what_is_no_address_is_not_accepting() -> None:
    assert not await connects("127.0.0.1", 0)
    assert not await connects("127.0.0.1", 70_000)
    assert not await connects("." * 300, 80)
