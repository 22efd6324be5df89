"""What labels and the configuration change on a running proxy, on a real HAProxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from haproxy import drain
from haproxy import sidecar as sidecar_module
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import (
    App,
    Core,
    Proxy,
    apps,
    core_up,
    eventually,
    proxy,
    proxy_settings,
    until,
)

pytestmark = pytest.mark.haproxy


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def running(haproxy_binary: Path, tmp_path: Path, core: Core) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
        yield running


@pytest.fixture
def quick_audits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar_module, "SERVERS_INTERVAL", 0.05)
    monkeypatch.setattr(sidecar_module, "WHOLE_INTERVAL", 0.0)
    monkeypatch.setattr(sidecar_module, "AUDIT_SHARE", 0)


def settings(core: Core, name: str = "a", **changes: Any) -> None:
    """The backend's settings become these."""
    core.backends[name].settings.CopyFrom(pb.BackendSettings(services=[name], expected=True, **changes))


@asynccontextmanager
async def load(running: Proxy, host: str, kept: bool = True) -> AsyncIterator[list[tuple[int, str]]]:
    """Requests all the time, on connections that are `kept` and on new ones; all answers after the block."""
    answers: list[tuple[int, str]] = []
    over = asyncio.Event()

    async def ask(keep: bool) -> None:
        client = await running.client()
        while not over.is_set():
            answers.append(await (client.ask(host) if keep else running.get(host)))
            if not answers[-1][0]:
                return

    asking = [asyncio.create_task(ask(keep)) for keep in (kept, kept, False, False)]
    try:
        yield answers
    finally:
        over.set()
        await asyncio.gather(*asking)


async def more(answers: list[tuple[int, str]], number: int = 20) -> None:
    wanted = len(answers) + number
    await until(lambda: len(answers) >= wanted)


def problems(core: Core) -> list[pb.Problem] | None:
    """What the last report said; None when there was none."""
    reports = [request.report for request in core.said if request.HasField("report")]
    return list(reports[-1].problems) if reports else None


async def test_a_policy_flips_under_load_without_an_error(core: Core, running: Proxy) -> None:
    flips: tuple[dict[str, Any], ...] = (
        {"balance": pb.BALANCE_LEAST_CONNECTIONS},
        {"balance": pb.BALANCE_HASH},
        {"retry_on": pb.RETRY_ON_SAFE},
        {"health_check": pb.HealthCheck(path="/")},
        {"balance": pb.BALANCE_RANDOM, "retry_on": pb.RETRY_ON_ALL},
        {},
    )
    async with apps("one", "two", "three") as applications:
        core.service("a", *applications)
        await core.applied()
        await eventually(lambda: running.servers("a"), {app.name: True for app in applications})
        async with load(running, "a.test") as answers:
            for flip in (*flips, *flips):
                settings(core, **flip)
                await core.applied()
                key = next(iter(running.sidecar.mirror.backends))
                await eventually(lambda: running.map("routes.map"), {"a.test/": f"{key}|"})
                await more(answers)
        assert {status for status, _ in answers} == {200}
        assert running.sidecar.reloads == 0
        assert core.nacks == {}


async def test_another_check_that_fails_leaves_what_answers(core: Core, running: Proxy) -> None:
    """A new backend takes requests over when its servers pass its checks, not before."""
    async with apps("one") as (one,):
        core.service("a", one)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        settings(core, health_check=pb.HealthCheck(path="/", statuses=[418]))
        await core.applied()
        await eventually(running.backends, {"a", "a.http-checked"})
        assert await running.get("a.test") == (200, "one")
        assert await running.map("routes.map") == {"a.test/": "a|"}
        settings(core, health_check=pb.HealthCheck(path="/"))
        await core.applied()
        await eventually(running.backends, {"a.http-checked"})
        assert await running.get("a.test") == (200, "one")


async def test_server_keywords_change_under_load_without_an_error(core: Core, running: Proxy) -> None:
    async with apps("one", "two", "three", "four", "five") as applications:
        core.service("a", *applications)
        await core.applied()
        await eventually(lambda: running.servers("a"), {app.name: True for app in applications})
        async with load(running, "a.test") as answers:
            for number in range(1, 6):
                settings(core, server_settings=[pb.ServerSettings(max_connections=100 + number, check_fall=number)])
                await core.applied()
                await eventually(lambda: enabled(running, "a"), {app.name: 1 for app in applications})
                await more(answers)
        assert {status for status, _ in answers} == {200}
        assert {body for _, body in answers} == {app.name for app in applications}
        assert running.sidecar.reloads == 0


async def enabled(running: Proxy, backend: str) -> dict[str, int]:
    """Task -> how many servers in rotation it has."""
    physical = (await running.map("backends.map"))[backend]
    text = await running.command(f"show servers state {physical}")
    rows = [line.split() for line in text.splitlines() if line and line[0].isdigit() and len(line) > 2]
    tasks = [row[3].partition(".")[0] for row in rows if row[3] != "hold" and not int(row[6]) & 0x3B]
    return {task: tasks.count(task) for task in tasks}


async def test_rules_come_change_and_go_live(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        core.routes["a.test", "/"].rules = "a"
        core.rules["a"] = pb.Rules(name="a", allow_prefixes=["10.0.0.0/8"])
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        assert (await running.get("a.test"))[0] == 403
        core.rules["a"] = pb.Rules(name="a", allow_prefixes=["127.0.0.0/8"], max_body_bytes=100)
        await core.applied()
        assert await running.get("a.test") == (200, "one")
        core.routes["a.test", "/"].rules = ""
        del core.rules["a"]
        await core.applied()
        assert await running.get("a.test") == (200, "one")
        for file in ("features.map", "allow.map"):
            await eventually(partial(running.map, file), {})
        assert running.sidecar.reloads == 0


async def test_rules_that_cannot_be_said_cost_their_own_routes_only(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        core.service("a", one)
        core.service("b", two)
        core.routes["a.test", "/"].rules = "a"
        long = pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="x-long", value="v" * 20_000)
        core.rules["a"] = pb.Rules(name="a", allow_prefixes=["10.0.0.0/8"], request_headers=[long])
        core.rules["b"] = pb.Rules(name="b", max_body_bytes=100)
        revision = core.push()  # HAProxy starts without them
        await until(lambda: revision in core.nacks)
        assert (await running.get("a.test"))[0] == 503
        core.rules["a"].request_headers.append(pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="x-m", value="w"))
        core.rules["c"] = core.rules.pop("b")
        core.rules["c"].name = "c"
        revision = core.push()
        await until(lambda: revision in core.nacks)
        assert "rules a: a command of" in core.nacks[revision]
        await eventually(lambda: running.servers("b"), {"two": True})
        assert await running.get("b.test") == (200, "two")
        assert (await running.get("a.test"))[0] == 503
        assert "c" in await running.map("features.map")
        del core.rules["a"].request_headers[:]
        await core.applied()
        assert (await running.get("a.test"))[0] == 403


async def test_canaries_are_chosen_by_header_and_fall_back(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        core.service("a", one)
        core.backend("b.canary", two, expected=False)
        core.routes["a.test", "/"].canaries.append(pb.Canary(backend="b.canary", header="x-canary", value="yes"))
        await core.applied()
        await eventually(lambda: running.servers("b.canary"), {"two": True})
        await eventually(lambda: running.map("canary.map"), {"a.test/|h=yes": "b.canary"})
        client = await running.client()
        assert await client.ask("a.test", "/", "x-canary: yes") == (200, "two")
        assert await client.ask("a.test", "/", "x-canary: no") == (200, "one")
        core.backends["b.canary"].settings.balance = pb.BALANCE_LEAST_CONNECTIONS
        await core.applied()
        await eventually(lambda: running.map("canary.map"), {"a.test/|h=yes": "b.canary.http-leastconn"})
        assert await client.ask("a.test", "/", "x-canary: yes") == (200, "two")
        core.backend("b.canary", expected=False)
        await core.applied()
        assert await client.ask("a.test", "/", "x-canary: yes") == (200, "one")
        del core.routes["a.test", "/"].canaries[:]
        del core.backends["b.canary"]
        await core.applied()
        assert await running.map("canary.map") == {}
        await eventually(running.backends, {"a"})


@pytest.mark.usefixtures("quick_audits")
async def test_drift_of_every_map_is_repaired_and_counted(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        core.backends["a"].settings.health_check.path = "/"
        core.routes["a.test", "/"].rules = "a"
        core.rules["a"] = pb.Rules(name="a", allow_prefixes=["127.0.0.0/8"], max_body_bytes=100)
        await core.applied()
        await eventually(lambda: running.servers("a.http-checked"), {"one": True})
        names = ("features.map", "allow.map", "check_path.map", "check_status.map", "tcp.map", "canary.map")
        wanted = {name: await running.map(name) for name in names}
        (physical,) = wanted["check_path.map"]
        damage = (
            "del map {}/features.map a",
            "set map {}/features.map a FB|||||||9",
            "add map {}/allow.map a|40 1",
            "del map {}/allow.map a|47F",
            "add map {}/features.map nobody F",
            f"set map {{}}/check_path.map {physical} /wrong",
            "add map {}/check_path.map l7.nowhere /x",
            "del map {}/check_status.map default:200",
            "add map {}/tcp.map 5432 a",
            "add map {}/canary.map a.test/|h a",
        )
        for number, line in enumerate(damage, 1):
            seen = running.sidecar.reconciler.seen
            await until(lambda: running.sidecar.reconciler.seen is not seen)  # noqa: B023 - awaited at once
            assert (await running.command(line.format(running.settings.run_dir))).strip() == ""
            await until(lambda: running.sidecar.drift >= number, line)  # noqa: B023 - awaited at once
            for name in names:
                await eventually(lambda: running.map(name), wanted[name])  # noqa: B023 - awaited at once
        assert running.sidecar.reloads == 0


# ---------------------------------------------------------------- reloads


def reloads(running: Proxy, reason: str) -> float:
    return running.sidecar.metrics.registry.get_sample_value("l7_reloads_total", {"reason": reason}) or 0


async def test_a_changed_configuration_is_one_reload(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.config = {"HideInfoHeaders": True}
        core.service("a", one)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        assert running.sidecar.reloads == 0  # it started with it
        assert running.sidecar.settings.hide_info_headers
        async with load(running, "a.test", kept=False) as answers:
            core.config = {"HideInfoHeaders": False, "ServerTimeout": 30}
            await core.applied()
            await more(answers)
        assert {status for status, _ in answers} == {200}
        assert (running.sidecar.reloads, reloads(running, "settings")) == (1, 1)
        assert running.sidecar.settings.server_timeout == 30_000
        core.config = {"ServerTimeout": 30}
        await core.applied()
        assert running.sidecar.reloads == 1
        assert not problems(core)


async def test_a_reload_loses_no_request_on_an_idle_connection(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        clients = [await running.client() for _ in range(8)]
        assert [await client.ask("a.test") for client in clients] == [(200, "one")] * 8
        core.config = {"ServerTimeout": 30}
        await core.applied()
        assert running.sidecar.reloads == 1
        assert [await client.ask("a.test") for client in clients] == [(200, "one")] * 8


async def test_who_waits_for_a_successor_is_not_left_behind_by_a_reload(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        core.backend("a")
        await core.applied()
        client = await running.client()
        await client.send("a.test")
        await until(lambda: running.sidecar._held)
        core.config = {"ServerTimeout": 30}
        revision = core.push()
        await until(lambda: running.sidecar.mirror.revision == revision)
        core.backend("a", one)
        await core.applied()
        assert await client.answer() == (200, "one")
        assert running.sidecar.reloads == 1


async def test_labels_by_which_no_task_gets_ready_are_told_while_those_of_before_serve(
    core: Core, running: Proxy
) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        right, wrong = one.port, free_port()
        for port, expected in ((wrong, ["a"]), (right, [])):
            core.backends["a"].servers[0].port = port
            core.push()
            await until(lambda: [each.service for each in problems(core) or ()] == expected)  # noqa: B023
            assert await running.get("a.test") == (200, "one")


async def test_what_is_wrong_in_the_configuration_is_told(core: Core, running: Proxy) -> None:
    core.config = {"ServerTimeout": "soon", "HideInfoHeaders": True}
    await core.applied()
    await until(lambda: problems(core))
    (problem,) = problems(core) or [pb.Problem()]
    assert problem.message == "Config: ServerTimeout is not a number of seconds"
    assert running.sidecar.settings.hide_info_headers


async def test_a_configuration_that_haproxy_refuses_is_taken_back(
    haproxy_binary: Path, tmp_path: Path, core: Core, running: Proxy
) -> None:
    async with apps("one", "two") as (one, two):
        core.service("a", one)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        refusing = tmp_path / "refusing"
        refusing.write_text("#!/bin/sh\necho 'no, never'; exit 1\n")
        refusing.chmod(0o755)
        running.sidecar.process.binary = str(refusing)
        core.config = {"ServerTimeout": 30}
        core.service("b", two)
        await core.applied()
        await until(lambda: problems(core))
        (problem,) = problems(core) or [pb.Problem()]
        assert "HAProxy refuses it, the one before stays: haproxy -c: no, never" in problem.message
        assert (running.sidecar.reloads, running.sidecar.settings.server_timeout) == (0, 60_000)
        assert await running.get("b.test") == (200, "two")
        running.sidecar.process.binary = str(haproxy_binary)
        core.config = {"ServerTimeout": 31}
        await core.applied()
        assert (running.sidecar.reloads, running.sidecar.settings.server_timeout) == (1, 31_000)
        await until(lambda: problems(core) == [])


def tcp(core: Core, name: str, port: int, *applications: App) -> None:
    core.backend(f"{name}.tcp", *applications)
    core.backends[f"{name}.tcp"].settings.services[:] = [name]
    core.backends[f"{name}.tcp"].settings.tcp = True
    core.route(f":{port}", f"{name}.tcp")


async def ask(port: int) -> bool:
    """Whether an application answers there."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.write(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    try:
        return b"200" in await reader.readline()
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_a_port_in_the_declared_range_is_live_and_others_are_one_reload(
    haproxy_binary: Path, tmp_path: Path, core: Core
) -> None:
    declared, first, second = free_port(), free_port(), free_port()
    async with (
        proxy(haproxy_binary, proxy_settings(tmp_path, tcp_ports=(declared,)), core.port) as running,
        apps("one") as (one,),
    ):
        core.service("a", one)
        await core.applied()
        tcp(core, "d", declared, one)
        await core.applied()
        await eventually(lambda: ask(declared), True)
        assert running.sidecar.reloads == 0
        tcp(core, "e", first, one)
        tcp(core, "f", second, one)
        async with load(running, "a.test", kept=False) as answers:
            await core.applied()
            await eventually(lambda: ask(first), True)
            await eventually(lambda: ask(second), True)
        assert {status for status, _ in answers} == {200}
        assert (running.sidecar.reloads, reloads(running, "first-use")) == (1, 1)
        core.remove("e.tcp")
        await core.applied()
        tcp(core, "e", first, one)
        await core.applied()
        await eventually(lambda: ask(first), True)
        assert running.sidecar.reloads == 1
        assert not problems(core)


async def test_a_port_that_may_not_or_cannot_be_opened_is_a_problem(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        core.config = {"AllowPolicyReload": False}
        core.service("a", one)
        await core.applied()
        wanted = free_port()
        tcp(core, "e", wanted, one)
        await core.applied()
        await until(lambda: problems(core))
        (problem,) = problems(core) or [pb.Problem()]
        assert (problem.service, problem.label) == ("e", "com.docker.lb.tcp_port")
        assert "AllowPolicyReload is false" in problem.message
        core.remove("e.tcp")
        core.config = {}
        tcp(core, "g", one.port, one)
        tcp(core, "h", running.port, one)
        await core.applied()
        await until(lambda: len(problems(core) or ()) == 2)
        messages = sorted(problem.message.partition(": ")[2] for problem in problems(core) or ())
        assert messages == ["somebody else listens there", "the proxies listen there for HTTP"]
        assert running.sidecar.reloads == 0
        core.remove("g.tcp")
        core.remove("h.tcp")
        await core.applied()
        await until(lambda: problems(core) == [])


async def test_an_adopted_haproxy_keeps_what_was_opened(haproxy_binary: Path, tmp_path: Path, core: Core) -> None:
    """A sidecar that comes back does not reload what its HAProxy has already."""
    async with apps("one") as (one,):
        chosen = proxy_settings(tmp_path)
        async with proxy(haproxy_binary, chosen, core.port) as running:
            core.config = {"ServerTimeout": 30}
            await core.applied()
            port = free_port()
            tcp(core, "e", port, one)
            await core.applied()
            assert running.sidecar.reloads == 1
            running.task.cancel()
            await asyncio.wait((running.task,))
            before = len(core.acks)
            async with proxy(haproxy_binary, chosen, core.port) as second:
                await until(lambda: len(core.acks) > before)
                assert second.sidecar.reloads == 0
                assert json.loads((tmp_path / "settings.json").read_text())["extra_tcp_ports"] == [port]
                assert await ask(port)


@pytest.mark.parametrize("kinds", [(pb.BALANCE_LEAST_CONNECTIONS, pb.BALANCE_RANDOM)])
async def test_only_the_pools_that_are_used_up_grow_and_by_one_reload(
    haproxy_binary: Path, tmp_path: Path, core: Core, kinds: tuple[pb.Balance, ...]
) -> None:
    chosen = proxy_settings(tmp_path, spare_backends_other=1)
    async with proxy(haproxy_binary, chosen, core.port) as running, apps("one") as (one,):
        core.service("a", one)
        await core.applied()
        for kind in kinds:
            for number in range(2):
                name = f"s{kind}-{number}"
                core.service(name, one)
                settings(core, name, balance=kind)
        await core.applied()
        for name in list(core.backends):
            assert await running.get(f"{name}.test") == (200, "one")
        dynamic = running.sidecar.capabilities.dynamic_backends
        assert running.sidecar.reloads == (0 if dynamic else 1)
        pools = () if dynamic else (("http-leastconn", 3), ("http-random", 3))
        assert running.sidecar.settings.spare_pools == pools


@pytest.mark.parametrize("series", ["any"])
async def test_what_this_version_cannot_do_is_told(core: Core, running: Proxy, series: str) -> None:
    del series
    async with apps("one") as (one,):
        core.service("a", one)
        core.rules["a"] = pb.Rules(name="a", timeout_connect_milliseconds=300)
        await core.applied()
        if running.sidecar.capabilities.own_connect_timeout:
            assert not problems(core)
            return
        await until(lambda: problems(core))
        assert [problem.label for problem in problems(core) or ()] == ["com.docker.lb.timeout_connect"]
        await core.down()
        await until(lambda: not running.sidecar.stream.connected)
        core.said.clear()
        await core.up()
        await until(lambda: problems(core))  # to a core that knows nothing
        del core.rules["a"]
        await core.applied()
        await until(lambda: problems(core) == [])


GOOD = {"GlobalOptions": ["description good"], "DefaultOptions": ["timeout http-request 5s"]}
BAD = {"GlobalOptions": ["description bad", "no.such.word 1"], "DefaultOptions": ["timeout http-request 6s"]}


def described(running: Proxy) -> str:
    lines = (Path(running.sidecar.settings.run_dir) / "haproxy.cfg").read_text().splitlines()
    known = ("  description", "  timeout http-request 5")
    return " ".join(line.strip() for line in lines if line.startswith(known))


@pytest.mark.acceptance(100)
@pytest.mark.acceptance(94)
async def test_lines_that_haproxy_refuses_are_refused_as_a_whole_and_nothing_else(
    core: Core, running: Proxy
) -> None:
    async with apps("one") as (one,):
        core.service("a", one)
        core.config = GOOD
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": True})
        taken = described(running)
        assert taken.startswith("description good timeout http-request 5s")
        core.config = BAD | {"ServerTimeout": 30}
        async with load(running, "a.test", kept=False) as answers:
            await core.applied()
            await until(lambda: problems(core))
        assert {status for status, _ in answers} == {200}
        (problem,) = problems(core) or [pb.Problem()]
        assert "refuses GlobalOptions and DefaultOptions, those of before stay: haproxy -c:" in problem.message
        assert "no.such.word" in problem.message
        assert described(running) == taken
        assert (running.sidecar.reloads, running.sidecar.settings.server_timeout) == (1, 30_000)
        core.config = GOOD | {"ServerTimeout": 30}
        await core.applied()
        await until(lambda: problems(core) == [])
        assert running.sidecar.reloads == 1


async def test_a_proxy_starts_without_lines_that_haproxy_refuses(
    haproxy_binary: Path, tmp_path: Path, core: Core
) -> None:
    core.config = BAD | {"ServerTimeout": 30}
    core.push()
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running, apps("one") as (one,):
        core.service("a", one)
        await core.applied()
        assert await running.get("a.test") == (200, "one")
        assert running.sidecar.settings.server_timeout == 30_000
        assert described(running) == ""
        await until(lambda: problems(core))


async def test_a_request_that_has_its_backend_still_gets_a_server_there_after_a_flip(
    core: Core, running: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body is waited for, after its route was looked up and before it has a server."""
    monkeypatch.setattr(drain, "ON_THE_WAY", 30)
    async with apps("one", "two") as (one, two):
        core.service("a", one)
        settings(core, retry_on=pb.RETRY_ON_ALL)
        await core.applied()
        await eventually(lambda: running.servers("a.http-all"), {"one": True})
        early = await running.client()
        await early.send("a.test", "/", "content-length: 1")
        await eventually(lambda: waiting(running, "a.http-all"), 1)
        core.remove("a")
        core.backend("b", two)
        core.route("a.test", "b")
        await core.applied()
        assert await running.get("a.test") == (200, "two")
        early.writer.write(b"x")
        assert await early.answer() == (200, "one")
        monkeypatch.setattr(drain, "ON_THE_WAY", 0)
        running.sidecar.reconciler.touch_all()
        await eventually(running.backends, {"b"})


async def waiting(running: Proxy, backend: str) -> int:
    """Requests that a backend has, with a server or without."""
    physical = (await running.map("backends.map"))[backend]
    rows = (await running.command(f"show stat {physical} 2 -1")).splitlines()
    return int(rows[1].split(",")[rows[0].split(",").index("scur")])
