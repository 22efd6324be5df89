"""Which service clusters are pinned, and to what: a label of their extension services, and what is published.

The label is in Swarm, so every core honours it, from its first look on: before what is pinned has been read,
nothing is served (proxies keep what they have). A revision that is not stored pins nothing, and is a problem.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from random import Random
from typing import Protocol

from l7.deploy import names
from l7.deploy.published import NAME, Version, is_pinned
from l7.inputs import from_json
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.bundle import INPUTS, unpack
from l7.kit.errors import L7Error, ProtocolError, Rejected
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER
from l7.model import Problem, Service
from l7.pinning import Pin

_log = logs.get("deploy.pins")

LABEL = names.PIN
REVISION = re.compile(r"[0-9a-f]{6,64}")
_RETRY = Backoff(first=0.2, limit=10.0)


class ConfigApi(Protocol):
    """What is needed of `l7.deploy.config_store.ConfigStore`; raises as it does."""

    async def config_data(self, id_: str) -> bytes: ...


class CacheView(Protocol):
    """What is read of the cache of Swarm's state."""

    @property
    def services(self) -> Mapping[str, Service]: ...


class TouchedView(Protocol):
    """The services (by id), secrets and configs (by name) that changed, or all."""

    @property
    def services(self) -> AbstractSet[str]: ...
    @property
    def secrets(self) -> AbstractSet[str]: ...
    @property
    def all(self) -> bool: ...


class Pins:
    """Tell it what changed by `take`; `run` reads what is pinned and tells `on_pins`. For one event loop.

    `versions`: what is stored of a cluster. `settled` is set while all that is pinned is known.
    """

    def __init__(self, clusters: Iterable[str], versions: Callable[[str], tuple[Version, ...]]) -> None:
        self._clusters = frozenset(clusters)
        self._versions = versions
        self._services: dict[str, tuple[str, str]] = {}
        self._wanted: dict[str, str] = {}
        self._pins: dict[str, Pin] = {}
        self._problems: dict[str, Problem] = {}
        self._wake = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()
        self.on_pins: Callable[[Mapping[str, Pin]], None] = lambda pins: None

    def take(self, cache: CacheView, touched: TouchedView) -> None:
        """Note which revisions the extension services name."""
        for id_ in (*cache.services, *self._services) if touched.all else touched.services:
            service = cache.services.get(id_)
            if service is not None and EXTENSION_TYPE in service.spec.labels:
                labels = dict(service.spec.labels)
                self._services[id_] = labels.get(PROXY_CLUSTER, ""), labels.get(LABEL, "")
            else:
                self._services.pop(id_, None)
        named = sorted(self._services.values(), reverse=True)
        wanted = {cluster: revision for cluster, revision in named if revision and cluster in self._clusters}
        came = bool(self._problems) and any(name.startswith(NAME) for name in touched.secrets)
        if wanted != self._wanted or came:
            self._wanted = wanted
            self.settled.clear()
            self._wake.set()

    def revision(self, cluster: str) -> str:
        """The one that it is, or shall be, pinned to; perhaps shortened; "" for none."""
        return self._wanted.get(cluster, "")

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems[cluster] for cluster in sorted(self._problems))

    async def run(self, api: ConfigApi, stop: asyncio.Event) -> None:
        """Reads what is pinned, until `stop`."""
        await tasks.first(stop, self._run(api))

    # ------------------------------------------------------------ inside

    async def _run(self, api: ConfigApi) -> None:
        while True:
            await self._wake.wait()
            for delay in _RETRY.jittered(Random()):
                if await self._settle(api):
                    break
                await asyncio.sleep(delay)

    async def _settle(self, api: ConfigApi) -> bool:
        """Whether all that is wanted now is known, one way or the other."""
        self._wake.clear()
        pins, problems = dict[str, Pin](), dict[str, Problem]()
        for cluster, revision in self._wanted.items():
            try:
                pins[cluster] = await self._pin(api, cluster, revision)
            except (Rejected, ProtocolError) as error:
                problems[cluster] = _not_pinned(cluster, revision, str(error))
            except L7Error as error:
                _log.warning("pinned revision not read", cluster=cluster, revision=revision, error=str(error))
                return False
        if self._wake.is_set():  # it is another one by now
            return False
        self._problems = problems
        if pins != self._pins:
            self._pins = pins
            named = {cluster: pin.revision for cluster, pin in pins.items()}
            _log.info("pinned", clusters=named)
            self.on_pins(pins)
        self.settled.set()
        return True

    async def _pin(self, api: ConfigApi, cluster: str, revision: str) -> Pin:
        """What is stored under it. Raises ProtocolError for what can't be pinned to."""
        known = self._pins.get(cluster)
        if known is not None and is_pinned(known.revision, revision):
            return known
        whole = (each for each in self._versions(cluster) if each.whole and is_pinned(each.revision, revision))
        version = next(whole, None) if REVISION.fullmatch(revision) else None
        if version is None:
            raise ProtocolError("no such revision is stored")
        bundle = unpack(b"".join([await api.config_data(part.id) for part in version.parts]))
        if bundle.cluster != cluster or INPUTS not in bundle.files:
            raise ProtocolError("it does not say which labels it was made from")
        return Pin(version.revision, from_json(bundle.files[INPUTS]))


def _not_pinned(cluster: str, revision: str, why: str) -> Problem:
    option = f" --cluster {cluster}" if cluster else ""
    message = f"the service cluster can't be pinned to this revision, and is not: {why}"
    remedy = f"l7 history{option}, then l7 pin another one, or l7 unpin{option}"
    return Problem("", "", revision[:12], message, remedy, cluster, fatal=False)
