"""Secrets on their way to an extension service, on a real Swarm: from core's attacher to the files in the task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from docker.types import ContainerSpec, SecretReference, ServiceMode, TaskTemplate

from l7.config import Cluster
from l7.config import Settings as CoreSettings
from l7.daemon import Core, Options
from l7.deploy.attach import Attacher
from l7.deploy.attachment import attached
from l7.kit.metrics import Metrics
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER, PROXY_TYPE
from l7.model import Secret, TaskState
from l7.swarm.cache import Touched
from l7.swarm.engine import Address, Engine
from l7.swarm.watch import Settings, Watch
from testbed.swarm import Swarm

pytestmark = pytest.mark.swarm
DEADLINE = 120.0
MANY = 500
Services = Mapping[str, str]
"""Ids of services by their names."""


@pytest.fixture
def services(swarm1: Swarm, app_image: str) -> Iterator[Services]:
    """The extension service of the default cluster, with a secret of its own, another's, and the proxies."""
    client: Any = swarm1.docker(0)
    own = client.create_secret("identity", b"own")["ID"]
    kinds = {
        "extension": dict([EXTENSION_TYPE]) | {PROXY_CLUSTER: ""},
        "blue": dict([EXTENSION_TYPE]) | {PROXY_CLUSTER: "blue"},
        "proxy": dict([PROXY_TYPE]) | {PROXY_CLUSTER: ""},
    }
    made = {name: _create(client, app_image, name, labels, own) for name, labels in kinds.items()}
    yield made
    for id_ in made.values():
        client.remove_service(id_)
    for secret in client.secrets():
        _until_gone(lambda id_=secret["ID"]: client.remove_secret(id_))  # type: ignore[misc]
    for config in client.configs():
        _until_gone(lambda id_=config["ID"]: client.remove_config(id_))  # type: ignore[misc]


def _create(client: Any, image: str, name: str, labels: Mapping[str, str], secret: str) -> str:
    own = [SecretReference(secret, "identity", filename="own.pem")]
    container = ContainerSpec(image, stop_grace_period=10**9, secrets=own)
    made = client.create_service(
        TaskTemplate(container), name=name, labels=labels, mode=ServiceMode("replicated", 1)
    )
    return str(made["ID"])


def _until_gone(remove: Callable[[], object]) -> None:
    """Swarm lets a secret go only after the service that had it."""
    for last in [False] * 50 + [True]:
        try:
            remove()
            return
        except APIError as error:
            if last or "in use" not in str(error):
                raise
        time.sleep(0.1)


class Scene:
    """Core's view of the Swarm, the attacher at work, and what the proxies need as the test says."""

    def __init__(self, swarm: Swarm, watch: Watch) -> None:
        self.swarm = swarm
        self.docker: Any = swarm.docker(0)
        self.watch = watch
        self.metrics = Metrics("core", "0")
        self.attacher = Attacher(["", "blue"], self.metrics)
        self.required: frozenset[Secret] = frozenset()
        self.fewest: dict[str, int] = {}

    def need(self, *secrets: Secret) -> None:
        self.required = frozenset(secrets)
        self._take(Touched())

    async def follow(self) -> None:
        async for change in self.watch.changes():
            self._take(change.touched)
            for service, fewest in self.fewest.items():
                self.fewest[service] = min(fewest, len(self.running(service)))

    def _take(self, touched: Touched) -> None:
        self.attacher.take(self.watch.cache, touched, lambda cluster: frozenset() if cluster else self.required)

    def running(self, service: str) -> list[str]:
        """Ids of its tasks that run and shall."""
        tasks = self.watch.cache.tasks_of(service).values()
        return [task.id for task in tasks if task.state is TaskState.RUNNING and task.desired is TaskState.RUNNING]

    def files(self, service: str) -> dict[str, tuple[str, int, bytes]]:
        """Below /run/secrets of its one running task: mode, owner, content by path."""
        (task,) = self.running(service)
        container = self.docker.inspect_task(task)["Status"]["ContainerStatus"]["ContainerID"]
        root = Path(f"/proc/{self.docker.inspect_container(container)['State']['Pid']}/root/run/secrets")
        found = ((path, path.stat()) for path in root.rglob("*") if path.is_file())
        return {
            str(path.relative_to(root)): (f"{stat.st_mode & 0o777:04o}", stat.st_uid, path.read_bytes())
            for path, stat in found
        }

    async def store(self, name: str, data: bytes, config: bool = False) -> Secret:
        create = self.docker.create_config if config else self.docker.create_secret
        return Secret((await asyncio.to_thread(create, name, data))["ID"], name, config)

    async def has(self, service: str, *secrets: Secret) -> None:
        """Waits until its one running task has these, and nothing else of ours."""
        await until(
            lambda: len(self.running(service)) == 1 and self._ours(service) == {each.id for each in secrets}
        )

    def _ours(self, service: str) -> set[str]:
        (task,) = self.running(service)
        container = self.docker.inspect_task(task)["Spec"]["ContainerSpec"]
        ids = [
            each["SecretID"] for each in container.get("Secrets") or () if each["File"]["Name"].startswith("l7/")
        ]
        return {*ids, *(each["ConfigID"] for each in container.get("Configs") or ())}

    def version(self, service: str) -> int:
        return int(self.docker.inspect_service(service)["Version"]["Index"])

    def spec(self, service: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.docker.inspect_service(service)["Spec"]
        return spec


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - anything may make it true
            await asyncio.sleep(0.02)


@pytest.fixture
async def scene(swarm1: Swarm, services: Services) -> AsyncIterator[Scene]:
    node = swarm1.node(0)
    settings = Settings(docker=Address(node.url), control_socket=node.control_socket)
    engine, stop = Engine(Address(node.url), timeout=10), asyncio.Event()
    async with Watch(settings) as watch:
        scene = Scene(swarm1, watch)
        async with _running(scene.follow(), scene.attacher.run(engine, stop)):
            await until(lambda: all(len(scene.running(each)) == 1 for each in services.values()))
            yield scene
            stop.set()
    await engine.close()


@asynccontextmanager
async def _running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


async def test_secrets_and_configs_come_to_the_extension_service_and_go(scene: Scene, services: Services) -> None:
    extension, others = services["extension"], [services["blue"], services["proxy"]]
    before = {each: (scene.version(each), scene.running(each)) for each in others}
    (first,) = scene.running(extension)
    scene.fewest = {extension: 1}
    cert = await scene.store("shop.cert", b"certificate")
    ca = await scene.store("shop.ca", b"authority", config=True)
    await until(lambda: "shop.cert" in scene.watch.cache.secrets and "shop.ca" in scene.watch.cache.configs)

    asked = time.monotonic()
    scene.need(cert, ca)
    await scene.has(extension, cert, ca)
    print(f"\nfrom the change to the task that has them: {time.monotonic() - asked:.2f} s")
    assert scene.running(extension) != [first]
    files = await asyncio.to_thread(scene.files, extension)
    assert files.pop("own.pem")[2] == b"own"
    assert files == {f"l7/{cert.id}": ("0400", 1000, b"certificate"), f"l7/{ca.id}": ("0400", 1000, b"authority")}
    assert scene.spec(extension)["UpdateConfig"]["Order"] == "start-first"

    with pytest.raises(APIError, match="in use"):
        await asyncio.to_thread(scene.docker.remove_secret, cert.id)
    scene.need(ca)
    await scene.has(extension, ca)
    await asyncio.to_thread(scene.docker.remove_secret, cert.id)
    assert scene.fewest == {extension: 1}, "the service was without a task"
    assert {each: (scene.version(each), scene.running(each)) for each in others} == before
    assert not scene.attacher.problems()


async def test_an_update_by_others_loses_nothing_of_theirs_and_ours_come_back(
    scene: Scene, services: Services
) -> None:
    extension = services["extension"]
    cert = await scene.store("shop.cert", b"certificate")
    scene.need(cert)
    await scene.has(extension, cert)
    options = ("--env-add", "A=1", "--secret-rm", "shop.cert")
    await asyncio.to_thread(scene.swarm.cli, 0, "service", "update", "--detach", *options, "extension")
    await until(lambda: "A=1" in scene.spec(extension)["TaskTemplate"]["ContainerSpec"].get("Env", ()))
    await until(lambda: attached(scene.spec(extension)) == {cert})
    assert scene.spec(extension)["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=1"]
    taken = scene.metrics.registry.get_sample_value("l7_attachments_total", {"cluster": "", "action": "attached"})
    assert taken == 2, "nobody had taken it away"
    await scene.has(extension, cert)


async def test_a_secret_that_is_gone_is_a_problem_and_the_others_are_attached(
    scene: Scene, services: Services
) -> None:
    extension = services["extension"]
    cert = await scene.store("shop.cert", b"certificate")
    scene.need(cert, Secret("doesnotexist", "lost.cert"))
    await scene.has(extension, cert)
    await until(scene.attacher.problems)
    assert [problem.value for problem in scene.attacher.problems()] == ["lost.cert"]
    scene.need(cert)
    await until(lambda: not scene.attacher.problems())


async def test_what_is_attached_already_costs_no_update(scene: Scene, services: Services) -> None:
    extension = services["extension"]
    cert = await scene.store("shop.cert", b"certificate")
    scene.need(cert)
    await scene.has(extension, cert)
    await until(lambda: scene.docker.inspect_service(extension).get("UpdateStatus", {}).get("State") == "completed")
    version = scene.version(extension)
    for _ in range(200):
        scene.need(cert)
        await asyncio.sleep(0.005)
    assert scene.version(extension) == version


async def test_five_hundred_secrets_in_one_go(scene: Scene, services: Services) -> None:
    extension = services["extension"]
    scene.fewest = {extension: 1}
    secrets = [await scene.store(f"cert{number}", b"certificate") for number in range(MANY)]
    await until(lambda: sum(name.startswith("cert") for name in scene.watch.cache.secrets) == MANY)
    asked = time.monotonic()
    scene.need(*secrets)
    await scene.has(extension, *secrets)
    print(f"\n{MANY} secrets: {time.monotonic() - asked:.2f} s from the change to the task that has them")
    assert len(await asyncio.to_thread(scene.files, extension)) == MANY + 1

    asked = time.monotonic()
    scene.need(*secrets[1:])
    await scene.has(extension, *secrets[1:])
    print(f"one less of {MANY}: {time.monotonic() - asked:.2f} s")
    scene.need()
    await scene.has(extension)
    assert scene.fewest == {extension: 1}, "the service was without a task"


async def test_core_attaches_what_labels_name_and_detaches_what_none_names(
    swarm1: Swarm, services: Services, app_image: str, tmp_path: Path
) -> None:
    node = swarm1.node(0)
    client: Any = swarm1.docker(0)
    settings = CoreSettings(docker_url=node.url, clusters={"": Cluster("", networks=("front",))})
    options = Options(
        settings,
        listen=f"unix:{tmp_path}/core.sock",
        admin_socket=f"{tmp_path}/admin.sock",
        control_socket=str(node.control_socket),
    )
    core = Core(options)
    stop = asyncio.Event()
    running = asyncio.create_task(core.run(stop))
    await asyncio.to_thread(client.create_network, "front", driver="overlay")
    cert = Secret((await asyncio.to_thread(client.create_secret, "shop.cert", b"certificate"))["ID"], "shop.cert")
    labels = {"hosts": "shop.example.org", "port": "8080", "ssl_cert": "shop.cert"}
    words = [word for key, value in labels.items() for word in ("--label", f"com.docker.lb.{key}={value}")]

    async def cli(*arguments: str) -> None:
        await asyncio.to_thread(swarm1.cli, 0, "service", *arguments)

    def has() -> frozenset[Secret]:
        return attached(client.inspect_service(services["extension"])["Spec"])

    try:
        await cli("create", "--detach", "--no-resolve-image", "--name=shop", "--network=front", *words, app_image)
        await until(lambda: has() == {cert})
        assert not core.attacher.problems()
        await cli("update", "--detach", "--label-rm=com.docker.lb.ssl_cert", "shop")
        await until(lambda: not has())
    finally:
        stop.set()
        await running
        await cli("rm", "shop")
        await until(lambda: not client.tasks(filters={"name": "shop"}))
        await asyncio.to_thread(client.remove_network, "front")
