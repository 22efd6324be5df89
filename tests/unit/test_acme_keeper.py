"""From what is wanted to what is stored, against a scripted server; the loop's own order of things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from l7.acme.client import Overloaded, Refused
from l7.acme.issue import Pace
from l7.acme.keeper import PARALLEL, Keeper
from l7.issued import HOST, NOT_AFTER, labels_of
from l7.kit.errors import ConfigError
from l7.model import StoredSecret
from tests.fakes.acme import Client, Core, Secrets

FAST = Pace(settle=0.0, acknowledge=5.0, decide=5.0)


class Rig:
    """A keeper among fakes. `now` is its clock."""

    def __init__(self, pace: Pace = FAST) -> None:
        self.now = 1_000_000.0
        self.core, self.secrets = Core(), Secrets()
        self.client = Client(lambda: self.now)
        self.keeper = Keeper(self.core, cast(Any, self.client), pace, lambda: self.now)
        loop = asyncio.get_running_loop()
        self.core.on_show = lambda: loop.call_soon_threadsafe(self.keeper.heard)

    def want(self, *hosts: str, cluster: str = "") -> None:
        assert self.core.hosts is not None
        self.core.hosts[cluster] = dict.fromkeys(hosts, "web")
        self.keeper.look()

    def look(self) -> None:
        self.keeper.look(["l7-acme-any"])

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    def hosts(self) -> list[str]:
        return [dict(each.labels)[HOST] for each in self.secrets.stored.values()]

    def told(self) -> dict[str, str]:
        return {each.value: each.message for each in self.keeper.problems()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.keeper.run(self.secrets, stop))
        try:
            yield self
        finally:
            stop.set()
            await task


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while True:
            if what():
                return
            await asyncio.sleep(0.005)


async def turned(rig: Rig) -> None:
    """The loop has looked once more, and nothing of it is under way."""
    seen = asyncio.Event()
    original = rig.secrets.secrets

    async def secrets(ids: Any = None) -> tuple[StoredSecret, ...]:
        seen.set()
        return await original(ids)

    rig.secrets.secrets = secrets  # type: ignore[method-assign]
    rig.look()
    await asyncio.wait_for(seen.wait(), 10)
    rig.secrets.secrets = original  # type: ignore[method-assign]
    await until(lambda: not rig.keeper._running)


async def test_what_is_wanted_is_got_and_stored_with_its_labels() -> None:
    async with Rig().running() as rig:
        rig.want("a.test")
        await until(rig.hosts)
        (secret,) = rig.secrets.stored.values()
        assert dict(secret.labels) == labels_of("a.test", 1_000_000, 1_009_000)
        assert secret.name.startswith("l7-acme-a.test-")
        assert rig.secrets.data[secret.name] == b"PEM a.test 1"
        assert rig.told() == {}


async def test_a_certificate_is_not_lost_with_swarms_leader() -> None:
    async with Rig().running() as rig:
        rig.secrets.lost = 2
        rig.want("a.test")
        await until(rig.hosts)
        await turned(rig)
        assert rig.told() == {}
    assert (rig.client.orders, rig.hosts()) == (["a.test"], ["a.test"])


async def test_a_certificate_that_cannot_be_stored_is_told_in_the_end() -> None:
    async with Rig(Pace(0.0, 5.0, 5.0, 0.0)).running() as rig:
        rig.secrets.lost = 100
        rig.want("a.test")
        await until(rig.told)
        assert "no leader" in rig.told()["a.test"]


async def test_the_challenge_is_shown_while_the_server_looks_and_gone_afterwards() -> None:
    async with Rig().running() as rig:
        seen: list[dict[str, str]] = []
        rig.client.on_answer = lambda: seen.append(dict(rig.core.shown[""]))
        rig.want("a.test")
        await until(rig.hosts)
        assert seen == [{"token-1": "token-1.thumbprint"}]
        assert rig.core.history == [("", ("token-1",)), ("", ())]


async def test_the_server_looks_only_when_every_proxy_has_the_answer() -> None:
    async with Rig().running() as rig:
        rig.core.have = {"": 1}
        rig.want("a.test")
        await until(lambda: rig.core.shown.get(""))
        await asyncio.sleep(0.05)
        assert rig.client.answered == []
        rig.core.have = {"": 2}
        rig.keeper.heard()
        await until(rig.hosts)


async def test_a_proxy_that_never_acknowledges_holds_up_nothing_for_ever() -> None:
    async with Rig(Pace(0.0, 0.1, 5.0)).running() as rig:
        rig.core.have = {"": 1}
        rig.want("a.test")
        with capture_logs() as lines:
            await until(rig.hosts)
        assert "challenge not everywhere" in {line["event"] for line in lines}


async def test_without_any_proxy_that_has_it_the_server_is_not_asked() -> None:
    async with Rig(Pace(0.0, 0.1, 5.0)).running() as rig:
        rig.core.have = {"": 0}
        rig.want("a.test")
        await until(rig.told)
        assert rig.client.answered == []
        assert "none of 2 proxies" in rig.told()["a.test"]


async def test_a_core_without_proxies_orders_nothing() -> None:
    async with Rig().running() as rig:
        rig.core.connected = {"": 0}
        rig.want("a.test")
        await turned(rig)
        assert rig.client.orders == []
        rig.core.connected = {"": 1}
        rig.keeper.heard()
        await until(rig.hosts)


async def test_the_first_proxy_is_not_taken_for_all_of_them() -> None:
    async with Rig(Pace(5.0, 5.0, 5.0)).running() as rig:
        rig.want("a.test")
        await turned(rig)
        assert rig.client.orders == []
        rig.later(5)
        await until(rig.hosts)


async def test_a_host_of_two_clusters_is_answered_by_the_proxies_of_both() -> None:
    async with Rig().running() as rig:
        rig.core.connected["blue"] = 1
        assert rig.core.hosts is not None
        rig.core.hosts["blue"] = {"a.test": "web"}
        rig.want("a.test")
        await until(rig.hosts)
        assert rig.client.orders == ["a.test"]
        assert {cluster for cluster, tokens in rig.core.history if tokens} == {"", "blue"}


async def test_a_renewal_takes_the_place_of_the_old_one_which_goes_when_nothing_has_it() -> None:
    async with Rig().running() as rig:
        rig.want("a.test")
        await until(rig.hosts)
        (old,) = rig.secrets.stored
        rig.secrets.attached.add(old)
        rig.later(5999)
        await turned(rig)
        assert rig.client.orders == ["a.test"]
        rig.later(1)
        await until(lambda: len(rig.hosts()) == 2)
        await turned(rig)
        assert old in rig.secrets.stored
        rig.secrets.attached.clear()
        await turned(rig)
        assert old in rig.secrets.stored
        rig.later(60)
        await until(lambda: old not in rig.secrets.stored)
        assert rig.client.orders == ["a.test"] * 2


async def test_a_core_that_starts_again_finds_what_there_is() -> None:
    async with Rig().running() as rig:
        rig.want("a.test")
        await until(rig.hosts)
    again = Rig()
    again.secrets = rig.secrets
    async with again.running():
        again.want("a.test")
        await turned(again)
        assert again.client.orders == []


async def test_what_another_core_got_meanwhile_is_not_stored_twice() -> None:
    async with Rig().running() as rig:
        labels = labels_of("a.test", int(rig.now), int(rig.now) + 9000)
        other = StoredSecret("other", 1, "l7-acme-other", False, tuple(sorted(labels.items())))
        rig.client.on_answer = lambda: rig.secrets.stored.update(other=other)
        rig.want("a.test")
        await until(lambda: rig.client.answered)
        await turned(rig)
        assert list(rig.secrets.stored) == ["other"]


async def test_a_failed_challenge_costs_its_host_alone_and_is_tried_again() -> None:
    async with Rig().running() as rig:
        rig.client.errors["validated"] = [Refused("validate a.test", "404 from 192.0.2.1", "unauthorized")]
        rig.want("a.test")
        await until(rig.told)
        rig.want("a.test", "b.test")
        await until(lambda: rig.hosts() == ["b.test"])
        (problem,) = rig.keeper.problems()
        assert (problem.service, problem.label, problem.fatal) == ("web", "com.docker.lb.acme", False)
        assert "404 from 192.0.2.1" in problem.message
        assert "port 80" in problem.remedy
        assert rig.core.shown[""] == {}
        rig.later(59)
        await turned(rig)
        assert rig.client.orders == ["a.test", "b.test"]
        rig.later(1)
        await until(lambda: "a.test" in rig.hosts())
        assert rig.told() == {}


async def test_the_time_that_the_server_asks_for_is_kept() -> None:
    async with Rig().running() as rig:
        rig.client.errors["order"] = [Refused("order a.test", "too many", "rateLimited", retry_after=7200)]
        rig.want("a.test")
        await until(rig.told)
        rig.later(7199)
        await turned(rig)
        assert len(rig.client.orders) == 1
        rig.later(1)
        await until(rig.hosts)


@pytest.mark.parametrize("error", [Overloaded("connection refused"), ConfigError("/run/secrets/x", "is missing")])
async def test_a_server_that_cannot_be_asked_is_told_at_each_host_and_asked_once(error: Exception) -> None:
    async with Rig().running() as rig:
        rig.client.errors["connect"] = [error] * PARALLEL
        rig.want("a.test", "b.test")
        await until(lambda: len(rig.told()) == 2 and not rig.keeper._running)
        assert all(str(error) in text for text in rig.told().values())
        rig.client.errors.clear()
        await turned(rig)
        assert rig.client.orders == []
        rig.later(60)
        await until(lambda: len(rig.hosts()) == 2)
        assert rig.told() == {}


async def test_an_account_that_the_server_lost_is_opened_again() -> None:
    async with Rig().running() as rig:
        rig.client.errors["order"] = [Refused("order", "no such account", "accountDoesNotExist")]
        rig.want("a.test")
        await until(rig.told)
        assert not rig.client.connected
        rig.later(60)
        await until(rig.hosts)


async def test_a_label_that_comes_again_begins_anew() -> None:
    async with Rig().running() as rig:
        rig.client.errors["validated"] = [Refused("validate", "404")]
        rig.want("a.test")
        await until(rig.told)
        rig.want()
        await turned(rig)
        assert rig.told() == {}
        rig.want("a.test")
        await until(rig.hosts)


async def test_a_fault_of_ours_costs_its_host_alone() -> None:
    async with Rig().running() as rig:
        rig.client.errors["finalize"] = [ZeroDivisionError("oops")]
        rig.want("a.test")
        await until(rig.told)
        assert "ZeroDivisionError" in rig.told()["a.test"]
        rig.later(60)
        await until(rig.hosts)


async def test_many_hosts_go_some_at_a_time_and_all_in_the_end() -> None:
    async with Rig().running() as rig:
        most = 0

        def count() -> None:
            nonlocal most
            most = max(most, len(rig.keeper._running))

        rig.client.on_answer = count
        rig.want(*(f"h{number}.test" for number in range(20)))
        await until(lambda: len(rig.hosts()) == 20)
        assert 1 <= most <= PARALLEL


async def test_secrets_that_cannot_be_listed_are_no_reason_to_order() -> None:
    async with Rig().running() as rig:
        rig.secrets.away = True
        rig.want("a.test")
        await asyncio.sleep(0.05)
        assert rig.client.orders == []
        rig.secrets.away = False
        rig.later(60)
        await until(rig.hosts)


async def test_without_a_server_in_the_settings_build_tells_each_service_and_nothing_is_done() -> None:
    core = Core()
    core.hosts = {"": {"a.test": "web"}}
    keeper, stop = Keeper(core, None), asyncio.Event()
    assert keeper.problems() == ()
    stop.set()
    await keeper.run(Secrets(), stop)
    assert core.shown == {}


async def test_no_key_is_logged() -> None:
    with capture_logs() as lines:
        async with Rig().running() as rig:
            rig.want("a.test")
            await until(rig.hosts)
    assert {line["event"] for line in lines} >= {"certificate ordered", "certificate stored"}
    assert "PEM" not in str(lines)


async def test_stopping_takes_the_challenge_back() -> None:
    rig = Rig()
    rig.core.have = {"": 0}
    async with rig.running():
        rig.want("a.test")
        await until(lambda: rig.core.shown.get(""))
    assert rig.core.shown[""] == {}
    assert NOT_AFTER not in str(rig.secrets.stored)
