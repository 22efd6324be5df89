"""Where the contract of `Watch` is tried: a real Swarm seen through one of its sources, and the fake one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from docker.types import (
    ContainerSpec,
    EndpointSpec,
    NetworkAttachmentConfig,
    ServiceMode,
    TaskTemplate,
)

from l7.model import PublishedPort, StoredSecret
from l7.swarm.cache import Cache, Listing
from l7.swarm.engine import Address, Engine
from l7.swarm.polling import DockerSource
from l7.swarm.source import Source
from l7.swarm.stored import StoredSource
from l7.swarm.swarmkit import SwarmkitSource
from l7.swarm.watch import Change, Settings, Watch
from testbed.swarm import Swarm
from tests.fakes.relay import Relay
from tests.fakes.swarm import FakeSource, FakeSwarm
from tests.fakes.swarmkit import Swarmkit

CONTENT = b"content-of-a-secret"
DEADLINE = 30.0
SETTINGS = Settings(audit_interval=3600)
Labels = Mapping[str, str]
CONTAINER_LABELS = {"interlock.port": "8080", "other": "x"}
"""On the containers of every service of a lab."""


class Lab(Protocol):
    """A Swarm of one node, and one source on it that can be cut."""

    @property
    def source(self) -> Source: ...
    @property
    def stored(self) -> Source: ...
    async def create_secret(self, name: str, config: bool = False) -> str: ...
    async def label_secret(self, id_: str, config: bool, key: str, value: str) -> None: ...
    async def remove_secret(self, id_: str, config: bool = False) -> None: ...
    async def listing(self) -> Listing: ...
    async def create_network(self, name: str) -> str: ...
    async def remove_network(self, name: str) -> None: ...
    async def create_service(
        self, name: str, labels: Labels, network: str = "", replicas: int = 1, host_port: int = 0
    ) -> str: ...
    async def scale(self, service: str, replicas: int) -> None: ...
    async def label(self, service: str, labels: Labels) -> None:
        """Adds labels, or changes their values."""

    async def remove_service(self, service: str) -> None: ...
    async def drain(self) -> None: ...
    async def activate(self) -> None: ...
    async def cut(self) -> None: ...
    async def stop(self) -> None: ...
    async def start(self) -> None: ...


class FakeLab:
    """`behind`: what `source` reads, and what can be cut: itself, or the fake at the other end of a socket."""

    def __init__(self) -> None:
        self.swarm = FakeSwarm()
        self.behind: FakeSource = self.swarm.source()
        self.source: Source = self.behind
        self.stored: FakeSource = self.swarm.stored_source()

    async def listing(self) -> Listing:
        return self.swarm.listing()

    async def create_secret(self, name: str, config: bool = False) -> str:
        return self.swarm.create_secret(name, config).id

    async def label_secret(self, id_: str, config: bool, key: str, value: str) -> None:
        self.swarm.put(replace(self._stored(config)[id_], labels=((key, value),)))

    async def remove_secret(self, id_: str, config: bool = False) -> None:
        self.swarm.remove(self._stored(config)[id_])

    def _stored(self, config: bool) -> dict[str, StoredSecret]:
        return self.swarm.configs if config else self.swarm.secrets

    async def create_network(self, name: str) -> str:
        return self.swarm.create_network(name).id

    async def remove_network(self, name: str) -> None:
        self.swarm.remove_network(name)

    async def create_service(
        self, name: str, labels: Labels, network: str = "", replicas: int = 1, host_port: int = 0
    ) -> str:
        ports = (PublishedPort(8080, host_port, "tcp", "host"),) if host_port else ()
        networks = [network] if network else []
        return self.swarm.create_service(name, labels, networks, replicas, ports, CONTAINER_LABELS).id

    async def scale(self, service: str, replicas: int) -> None:
        self.swarm.scale(service, replicas)

    async def label(self, service: str, labels: Labels) -> None:
        self.swarm.label(service, {**dict(self.swarm.services[service].spec.labels), **labels})

    async def remove_service(self, service: str) -> None:
        self.swarm.remove_service(service)

    async def drain(self) -> None:
        self.swarm.drain("node0")

    async def activate(self) -> None:
        self.swarm.activate("node0")

    async def cut(self) -> None:
        self.behind.cut()
        self.stored.cut()

    async def stop(self) -> None:
        self.behind.stop()
        self.stored.stop()

    async def start(self) -> None:
        self.behind.up = self.stored.up = True


@asynccontextmanager
async def wire_lab(directory: Path) -> AsyncIterator[FakeLab]:
    """The fake one, seen by the product's own way: SwarmKit's messages, gRPC and TLS."""
    lab = FakeLab()
    async with Swarmkit(lab.behind, directory / "control.sock", padding=500) as swarmkit:
        lab.source = SwarmkitSource(swarmkit.path, swarmkit.trust_root)
        yield lab


class RealLab:
    """Writes go straight to Docker; the sources read through a relay, secrets only beside Docker's."""

    def __init__(self, swarm: Swarm, image: str, source: Source, stored: Source, relay: Relay) -> None:
        self.source = source
        self.stored = stored
        self._swarm = swarm
        self._docker: Any = swarm.docker(0)
        self._image = image
        self._relay = relay
        self._services: list[str] = []
        self._made: set[str] = set()
        self._networks: list[str] = []
        self._secrets: dict[str, bool] = {}

    async def listing(self) -> Listing:
        stored = await self.stored.list()
        return replace(await self.source.list(), secrets=stored.secrets, configs=stored.configs)

    async def create_secret(self, name: str, config: bool = False) -> str:
        create = self._docker.create_config if config else self._docker.create_secret
        made = await asyncio.to_thread(create, name, CONTENT)
        self._secrets[made["ID"]] = config
        return str(made["ID"])

    async def label_secret(self, id_: str, config: bool, key: str, value: str) -> None:
        await asyncio.to_thread(self._label_stored, "configs" if config else "secrets", id_, {key: value})

    async def remove_secret(self, id_: str, config: bool = False) -> None:
        await asyncio.to_thread(self._docker.remove_config if config else self._docker.remove_secret, id_)
        del self._secrets[id_]

    def _label_stored(self, kind: str, id_: str, labels: Labels) -> None:
        """The SDK has no call for it."""
        url = f"{self._docker.base_url}/v{self._docker.api_version}/{kind}/{id_}"
        raw = self._docker.get(url).json()
        spec = raw["Spec"] | {"Labels": dict(labels)}
        done = self._docker.post(f"{url}/update", params={"version": raw["Version"]["Index"]}, json=spec)
        done.raise_for_status()

    async def create_network(self, name: str) -> str:
        made = await asyncio.to_thread(self._docker.create_network, name, driver="overlay", attachable=True)
        self._networks.append(made["Id"])
        return str(made["Id"])

    async def remove_network(self, name: str) -> None:
        await asyncio.to_thread(self._docker.remove_network, name)

    async def create_service(
        self, name: str, labels: Labels, network: str = "", replicas: int = 1, host_port: int = 0
    ) -> str:
        networks = [NetworkAttachmentConfig(network)] if network else []
        container = ContainerSpec(self._image, stop_grace_period=10**9, labels=CONTAINER_LABELS)
        template = TaskTemplate(container, networks=networks)
        published: Any = {host_port: (8080, "tcp", "host")}
        ports = EndpointSpec(ports=published) if host_port else None
        mode = ServiceMode("replicated", replicas)
        made = await asyncio.to_thread(
            self._docker.create_service, template, name=name, labels=labels, mode=mode, endpoint_spec=ports
        )
        self._services.append(made["ID"])
        self._made.add(made["ID"])
        return str(made["ID"])

    async def scale(self, service: str, replicas: int) -> None:
        await self._update(service, "--replicas", str(replicas))

    async def label(self, service: str, labels: Labels) -> None:
        await self._update(
            service, *(word for key, value in labels.items() for word in ("--label-add", f"{key}={value}"))
        )

    async def remove_service(self, service: str) -> None:
        await asyncio.to_thread(self._docker.remove_service, service)
        self._services.remove(service)

    async def drain(self) -> None:
        await asyncio.to_thread(self._availability, "drain")

    async def activate(self) -> None:
        await asyncio.to_thread(self._availability, "active")

    async def cut(self) -> None:
        await self._relay.cut()

    async def stop(self) -> None:
        await self._relay.down()

    async def start(self) -> None:
        await self._relay.up()

    async def remove_all(self) -> None:
        """Whatever the test left."""
        for service in self._services:
            await asyncio.to_thread(self._docker.remove_service, service)
        await until(self._no_tasks)
        for id_, config in list(self._secrets.items()):
            await self.remove_secret(id_, config)
        for network in self._networks:
            if await asyncio.to_thread(self._docker.networks, ids=[network]):
                await asyncio.to_thread(self._docker.remove_network, network)

    def _no_tasks(self) -> bool:
        return not {task.get("ServiceID") for task in self._docker.tasks()} & self._made

    async def _update(self, service: str, *options: str) -> None:
        await asyncio.to_thread(self._swarm.cli, 0, "service", "update", "--detach", *options, service)

    def _availability(self, availability: str) -> None:
        node = self._docker.nodes()[0]
        spec = {**node["Spec"], "Availability": availability}
        self._docker.update_node(node["ID"], node["Version"]["Index"], spec)


@asynccontextmanager
async def real_lab(swarm: Swarm, image: str, name: str, directory: Path) -> AsyncIterator[RealLab]:
    """`name` is the source: "swarmkit" or "docker"."""
    node = swarm.node(0)
    direct = Engine(Address(node.url))
    target = node.control_socket if name == "swarmkit" else node.socket
    async with Relay(directory / "relay.sock", target) as relay:
        relayed = Engine(Address(f"unix://{relay.path}"))
        source: Source = DockerSource(relayed)
        stored = StoredSource(Engine(Address(f"unix://{relay.path}")))
        if name == "swarmkit":
            source = SwarmkitSource(relay.path, direct.trust_root)
            stored = StoredSource(Engine(Address(node.url)))
        lab = RealLab(swarm, image, source, stored, relay)
        try:
            yield lab
        finally:
            await lab.remove_all()
            await stored.close()
            await direct.close()
            await relayed.close()


class Observer:
    """Reads the changes of a watch in the background, and waits for what the cache shall say."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.changes: list[Change] = []
        self._task = asyncio.create_task(self._read())

    @property
    def cache(self) -> Cache:
        return self.watch.cache

    def touched(self) -> set[str]:
        """The services that were touched so far, apart from the first sync."""
        return {service for change in self.changes[1:] for service in change.touched.services}

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; the reader's own failure ends the wait."""
        await until(lambda: condition() or self._task.done())
        if self._task.done():
            self._task.result()

    async def _read(self) -> None:
        async for change in self.watch.changes():
            self.changes.append(change)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def observed(
    *sources: Source, settings: Settings = SETTINGS, synced: bool = True, stored: Source | None = None
) -> AsyncIterator[Observer]:
    """A running watch; with `synced`, once the first sync is done."""
    async with Watch(settings, sources, stored) as watch:
        observer = Observer(watch)
        try:
            if synced:
                await observer.until(lambda: observer.changes)
            yield observer
        finally:
            await observer.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; TimeoutError after half a minute."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - anything may make it true
            await asyncio.sleep(0.01)


async def agrees(observer: Observer, listing: Callable[[], Any]) -> None:
    """Wait until the cache equals a fresh listing."""
    async with asyncio.timeout(DEADLINE):
        while (fresh := by_id(await listing())) != (held := held_by(observer.cache)):
            await asyncio.sleep(0.05)
            last = (held, fresh)  # noqa: F841 - shown by pytest when the time is over


def by_id(listing: Listing) -> dict[str, Any]:
    kinds = (listing.nodes, listing.networks, listing.services, listing.tasks, listing.secrets, listing.configs)
    assert all(kind is not None for kind in kinds)
    return {each.id: each for kind in kinds for each in kind or () if getattr(each, "service", True)}


def held_by(cache: Cache) -> dict[str, Any]:
    stored = {each.id: each for each in (*cache.secrets.values(), *cache.configs.values())}
    return {**cache.nodes, **cache.networks, **cache.services, **cache.tasks, **stored}
