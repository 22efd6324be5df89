"""Waits for what Swarm and core do by themselves, and says for what. The thin shell of `l7.deploy.rollout`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from l7.config import Cluster
from l7.deploy import core_service, names, rollout, secrets
from l7.deploy.rollout import Progress
from l7.deploy.swarm_api import Json, SwarmApi
from l7.kit.errors import L7Error, Unavailable

_POLL = 0.5
_LOOK = 5.0
"""Seconds between questions to core itself: each is a process in its container."""


class Speaker(Protocol):
    """See `l7.terminal.Progress`."""

    def say(self, line: str, style: str = "") -> None: ...
    def waiting(self, what: str) -> None: ...


@dataclass(slots=True)
class Wait:
    """Waits of `timeout` seconds each at most. Made before anything is changed: what Swarm took back before that
    is no news."""

    api: SwarmApi
    speaker: Speaker
    timeout: float
    _before: Mapping[str, str] = field(init=False)
    _told: set[str] = field(default_factory=set)
    _asked: float = 0.0

    def __post_init__(self) -> None:
        self._before = {str(each["ID"]): rollout.update_began(each) for each in self.api.services()}

    def core(self, service_id: str, *, rolling_back: bool = False) -> Json:
        """Until core's service is as it is specified; the service. Raises Unavailable when Swarm took that back."""

        def look() -> tuple[Json, list[Progress]]:
            service = self.api.service(service_id)
            before = self._before.get(service_id)
            return service, [rollout.progress(service, self.api.tasks(), before, rolling_back=rolling_back)]

        service: Json = self._until("core", look, self._core_failed)
        return service

    def fleet(self, clusters: Iterable[Cluster], images: Mapping[str, str] | None = None) -> None:
        """Until the extension services and proxies of all clusters serve; `images`: by service, what they shall run
        then. Raises Unavailable when that does not come, with what is missing."""
        expected = [name(each) for each in clusters for name in (names.extension_service, names.proxy_service)]

        def look() -> tuple[None, list[Progress]]:
            self._ask_core()
            services = {str(each["Spec"]["Name"]): each for each in self.api.services()}
            tasks = self.api.tasks()
            return None, [self._progress(name, services.get(name), tasks, images or {}) for name in expected]

        self._until("extension services and proxies", look, self._fleet_failed)

    # ------------------------------------------------------------ inside

    def _progress(
        self, name: str, service: Json | None, tasks: Iterable[Json], images: Mapping[str, str]
    ) -> Progress:
        if service is None:
            return Progress(name, 0, 1, reason="not made yet")
        found = rollout.progress(service, tasks, self._before.get(service["ID"]))
        image = names.plain_image(core_service.container_of(service)["Image"])
        if not found.failed and images.get(name, image) != image:
            return Progress(name, 0, found.wanted, reason=f"still {image}")
        return found

    def _until(
        self, what: str, look: Callable[[], tuple[Any, list[Progress]]], failed: Callable[[Progress], str]
    ) -> Any:
        deadline = time.monotonic() + self.timeout
        while True:
            found, parts = look()
            left = [each for each in parts if not each.done]
            if not left:
                self.speaker.waiting("")
                return found
            if broken := [each for each in left if each.failed]:
                raise Unavailable("\n".join(map(failed, broken)))
            if time.monotonic() > deadline:
                missing = "\n".join(f"  {each}" for each in left)
                raise Unavailable(f"{what} did not get ready in {self.timeout:.0f} s:\n{missing}\n{_REMEDY}")
            self.speaker.waiting(", ".join(map(str, left)))
            time.sleep(_POLL)

    def _core_failed(self, progress: Progress) -> str:
        words = self.api.last_words(progress.service)
        said = f"\nIts last words:\n{words}" if words else ""
        log = f"\nMore: docker service logs {progress.service}"
        return f"{progress.service}: {progress.failed}. What was before goes on.{said}{log}"

    def _fleet_failed(self, progress: Progress) -> str:
        why = f" ({progress.reason})" if progress.reason else ""
        return (
            f"{progress.service}: {progress.failed}{why}. What was before goes on.\n"
            f"More: docker service ps --no-trunc {progress.service}; back with core, too: l7 upgrade --rollback"
        )

    def _ask_core(self) -> None:
        """What core says is not as asked of its services, once each; nothing where it does not run on this node."""
        if time.monotonic() < self._asked + _LOOK:
            return
        self._asked = time.monotonic()
        for problem in core_problems(self.api):
            text = f"{problem['value']} {problem['message']}; to do: {problem['remedy']}".strip()
            if not problem["service"] and text not in self._told:
                self._told.add(text)
                self.speaker.say(f"core says: {text}", "yellow")


_REMEDY = (
    "It goes on by itself. What is in the way: docker service ps --no-trunc SERVICE, docker service logs SERVICE, "
    "and l7 status on the node where core runs. Run this again to wait for longer (--timeout)."
)


def core_problems(api: SwarmApi) -> Iterator[Json]:
    """All of `l7 status`, where core runs on this node."""
    try:
        container = secrets.core_container(api.client)
        if container is None:
            return
        code, answer = secrets.run_in(container, ["l7", "status", "--output", "json", "--docker-url", ""])
    except L7Error:
        return  # it is just being replaced
    if code == 0:
        yield from orjson.loads(answer)["problems"]
