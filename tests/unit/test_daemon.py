"""Core put together, on a scripted view of Swarm: readiness, what is served, what is counted and logged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from l7 import status
from l7.config import Cluster, Settings
from l7.daemon import Core, Options, log_problems, watch_settings
from l7.kit.errors import ConfigError
from l7.model import Network, Node, NodeState, Problem, Secret, Service, ServiceSpec, StoredSecret, Task, TaskState
from l7.report import report
from l7.swarm.cache import Cache, Kind, Object, Remove, Touched, Upsert
from l7.swarm.watch import Change, Status
from tests.unit.test_attach import Docker, until

LABELS = (("com.docker.lb.hosts", "web.example.org"), ("com.docker.lb.port", "8000"))
NET = Network("n1", 1, "front")


def service(*labels: tuple[str, str], version: int = 1) -> Service:
    return Service("s1", version, "web", 1, ServiceSpec(labels=labels, networks=("n1",)))


def task(id: str, state: TaskState = TaskState.RUNNING) -> Task:
    return Task(id, 1, "s1", "node", 1, state, TaskState.RUNNING, 1, (("n1", "10.0.0.9"),))


class Script:
    """A watch that tells what the test puts in."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.status = Status(last_error="docker: no leader")
        self._news: asyncio.Queue[Change] = asyncio.Queue()

    async def changes(self) -> AsyncIterator[Change]:
        while True:
            yield await self._news.get()
            self._news.task_done()

    def put(self, *objects: Object, all: bool = False) -> None:
        touched = Touched(all=all)
        for each in objects:
            touched |= self.cache.apply(Upsert(each))
        self._news.put_nowait(Change(touched, 1))

    def remove(self, kind: Kind, id: str) -> None:
        self._news.put_nowait(Change(self.cache.apply(Remove(kind, id)), 1))

    async def told(self) -> None:
        await self._news.join()


@pytest.fixture
async def core() -> Core:
    clusters = {"": Cluster("", networks=("front",)), "blue": Cluster("blue", networks=("front",))}
    return Core(Options(Settings(clusters=clusters)))


@pytest.fixture
async def script(core: Core) -> AsyncIterator[Script]:
    script = Script()
    following = asyncio.create_task(core.follow(script))
    await asyncio.sleep(0)
    yield script
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def first_look(script: Script) -> None:
    node = Node("node", 1, "h", NodeState.READY)
    script.put(NET, node, service(*LABELS), task("t1"), all=True)


async def test_before_the_first_look_nothing_is_served_and_core_is_not_ready(core: Core, script: Script) -> None:
    assert "no leader" in core.not_ready()
    assert core.store.snapshot("") is None
    assert core.status()["clusters"] == []
    assert "l7_ready 0.0" in core.metrics.exposition().decode()


async def test_after_the_first_look_every_cluster_has_a_state(core: Core, script: Script) -> None:
    first_look(script)
    await script.told()
    assert core.not_ready() == ""
    assert core.store.clusters() == ("", "blue")
    state, empty = core.store.snapshot(""), core.store.snapshot("blue")
    assert state is not None
    assert list(state.backends["web"].servers) == ["t1"]
    assert empty is not None
    assert not empty.routes


async def test_a_change_reaches_the_store_as_a_delta_and_the_log_by_its_revision(
    core: Core, script: Script
) -> None:
    first_look(script)
    await script.told()
    before = core.store.revision("")
    with capture_logs() as lines:
        script.put(task("t2"))
        await script.told()
    delta = core.store.since("", before)
    assert delta is not None
    assert [server.task for change in delta.changes.backends for server in change.servers] == ["t2"]
    (line,) = (line for line in lines if line["event"] == "state changed")
    assert (line["revision"], line["backends"]) == (core.store.revision(""), ["web"])


async def test_what_is_ignored_is_named_with_the_reason_once(core: Core, script: Script) -> None:
    with capture_logs() as lines:
        script.put(NET, service(), task("t1"), all=True)
        await script.told()
        for labels in ((), LABELS[1:], LABELS):
            for each in (service(*labels, version=2 + len(labels)), task(f"t{len(labels)}")):
                script.put(each)
                await script.told()
    said = [line for line in lines if line["event"] == "service ignored"]
    assert [(line["service"], line["log_level"]) for line in said] == [("web", "debug")] * 2
    assert "no label that begins with com.docker.lb." in said[0]["reason"]
    assert said[1]["reason"] == "com.docker.lb.hosts is missing, so the service is not published"


async def test_a_touch_that_changes_nothing_wakes_nobody(core: Core, script: Script) -> None:
    first_look(script)
    await script.told()
    with core.store.reader("") as wake:
        wake.clear()
        script.put(service(*LABELS, version=2))
        await script.told()
        assert not wake.is_set()


async def test_metrics_count_routes_servers_and_problems(core: Core, script: Script) -> None:
    first_look(script)
    await script.told()
    script.put(task("t2", TaskState.STARTING))
    await script.told()
    text = core.metrics.exposition().decode()
    assert 'l7_routes{cluster=""} 1.0' in text
    assert 'l7_servers{cluster="",state="ready"} 1.0' in text
    assert 'l7_servers{cluster="",state="pending"} 1.0' in text
    assert 'l7_servers{cluster="blue",state="ready"} 0.0' in text
    assert f'revision="{core.store.revision("")}"' in text
    assert 'l7_convergence_seconds_count{stage="build"} 2.0' in text
    script.put(service(LABELS[0], ("com.docker.lb.port", "eighty"), version=3))
    await script.told()
    assert 'l7_problems{label="com.docker.lb.port"} 1.0' in core.metrics.exposition().decode()


async def test_status_says_what_is_routed_and_what_is_not(core: Core, script: Script) -> None:
    first_look(script)
    await script.told()
    document = core.status()
    (route,) = document["clusters"][0]["routes"]
    assert (route["host"], route["backend"]) == ("web.example.org", "web")
    assert document["clusters"][0]["backends"][0]["states"] == {"ready": 1}
    assert list(report(document))
    script.remove(Kind.SERVICE, "s1")
    await script.told()
    assert core.status()["clusters"][0]["routes"] == []


async def test_what_a_proxy_reports_is_shown_beside_cores_own_and_counted(core: Core, script: Script) -> None:
    first_look(script)
    script.put(service(*LABELS, ("com.docker.lb.ssl_cert", "x"), version=2))
    await script.told()
    said = Problem("web", "com.docker.lb.timeout_connect", "", "needs HAProxy 3.4", "update", "", fatal=False)
    with core.extensions.connected(status.Extension("", "p1", problems=(said,))):
        with core.extensions.connected(status.Extension("", "p2", problems=(said,))):
            labels = [each["label"] for each in core.status()["problems"]]
            assert labels == ["com.docker.lb.ssl_cert", "com.docker.lb.timeout_connect"]
            assert 'l7_problems{label="com.docker.lb.timeout_connect"} 1.0' in core.metrics.exposition().decode()
    assert [each["label"] for each in core.status()["problems"]] == ["com.docker.lb.ssl_cert"]


async def test_what_a_proxy_reports_is_logged(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Problem("web", "com.docker.lb.timeout_connect", "", "needs HAProxy 3.4", "update", "", fatal=False)
    stop, logged = asyncio.Event(), asyncio.Queue[frozenset[Problem]]()
    monkeypatch.setattr("l7.daemon.log_problems", lambda known, now: logged.put_nowait(now))
    watching = asyncio.create_task(core._watch_problems(stop))
    with core.extensions.connected(status.Extension("", "p1", problems=(said,))):
        core.api.on_problems()
        assert await logged.get() == {said}
    stop.set()
    await watching


def test_problems_are_logged_when_they_come_and_when_they_go() -> None:
    one, two = (Problem("web", label, "x", "is wrong", "fix it") for label in ("a", "b"))
    with capture_logs() as lines:
        log_problems(frozenset({one}), frozenset({two}))
    assert [(line["event"], line["label"]) for line in lines] == [("problem", "b"), ("problem solved", "a")]


def test_watch_gets_cores_settings() -> None:
    options = Options(
        Settings(docker_url="tcp://h:1", poll_interval=500, watch_source="docker"), control_socket="/s"
    )
    told = watch_settings(options)
    assert (told.docker.url, told.poll_interval, told.source) == ("tcp://h:1", 0.5, "docker")
    assert told.control_socket == Path("/s")
    with pytest.raises(ConfigError):
        watch_settings(Options(Settings(watch_source="magic")))


CERTIFICATE = ("com.docker.lb.ssl_cert", "shop.cert")
EXTENSION = (("com.docker.l7.cluster", ""), ("type", "com.docker.interlock.core.extension"))


async def test_a_service_with_a_certificate_needs_an_extension_service(core: Core, script: Script) -> None:
    script.status = Status(secrets_listed=1)
    script.put(StoredSecret("x1", 1, "shop.cert"))
    first_look(script)
    await script.told()
    assert not core.problems()
    script.put(service(*LABELS, CERTIFICATE, version=2))
    await script.told()
    (problem,) = core.problems()
    assert "TLS needs the extension service" in problem.message
    assert core.status()["problems"]
    script.put(Service("s2", 3, "extension", 1, ServiceSpec(labels=EXTENSION)))
    await script.told()
    assert not core.problems()


async def test_what_is_needed_is_attached_once_swarms_secrets_are_known(core: Core, script: Script) -> None:
    docker, stop = Docker({"s2": (1, {"Name": "extension"})}), asyncio.Event()
    attaching = asyncio.create_task(core.attacher.run(docker, stop))
    script.put(StoredSecret("x1", 1, "shop.cert"), Service("s2", 3, "extension", 1, ServiceSpec(labels=EXTENSION)))
    first_look(script)
    script.put(service(*LABELS, CERTIFICATE, version=2))
    await script.told()
    assert not docker.reads
    script.status = Status(secrets_listed=1)
    script.put(StoredSecret("x1", 2, "shop.cert", labels=(("a", "1"),)))
    await until(lambda: docker.updates)
    assert docker.updates == [{Secret("x1", "shop.cert")}]
    stop.set()
    await attaching
