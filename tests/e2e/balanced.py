"""A client that knows which proxies live, as a load balancer in front of them does: one that Swarm has decided to
stop is asked no more, a second or more before it hears of that."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from testbed import processes
from testbed.namespace import TestbedError
from testbed.swarm import Swarm, wait_for

_PAUSE = 0.02
_LOOK = 0.1


@dataclass(slots=True)
class Balanced:
    """`failures`: what was not answered by 200, each in words; `ports`: those that answered."""

    swarm: Swarm
    host: str
    service: str = "l7-proxy"
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    _living: tuple[tuple[str, int], ...] = ()
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Balanced]:
        """Asks while the block runs."""
        assert self.swarm.bridge is not None
        bridge = self.swarm.bridge
        client: Any = self.swarm.docker(0)
        wait_for("a proxy that lives", lambda: self._look(client))
        threads = [
            threading.Thread(target=self._watch),
            threading.Thread(target=lambda: processes.within(bridge.net, self._ask_on)),
        ]
        for each in threads:
            each.start()
        try:
            wait_for("answers", lambda: self.answered > 10)
            yield self
        finally:
            self._stop.set()
            for each in threads:
                each.join()

    def _watch(self) -> None:
        import docker

        client = docker.APIClient(base_url=self.swarm.node(0).url, version="auto", timeout=10)
        try:
            while not self._stop.wait(_LOOK):
                self._look(client)
        finally:
            client.close()

    def _look(self, client: Any) -> bool:
        tasks = client.tasks(filters={"service": self.service, "desired-state": "running"})
        self._living = tuple(sorted({place for task in tasks for place in self._places(task)}))
        return bool(self._living)

    def _places(self, task: dict[str, Any]) -> Iterator[tuple[str, int]]:
        if task["Status"]["State"] == "running":
            for port in (task["Status"].get("PortStatus") or {}).get("Ports") or ():
                if port["TargetPort"] == 80:
                    yield self.swarm.node(0).address, port["PublishedPort"]

    def _ask_on(self) -> bool:
        for number in count():
            if self._stop.wait(_PAUSE):
                return True
            living = self._living
            self._ask(*living[number % len(living)])
        raise TestbedError("count ended")

    def _ask(self, address: str, port: int) -> None:
        client = http.client.HTTPConnection(address, port, timeout=10)
        try:
            client.request("GET", "/", headers={"Host": self.host, "Connection": "close"})
            status = client.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{time.time():.1f} port {port}: {error!r}")
            return
        finally:
            client.close()
        if status == 200:
            self.answered += 1
            self.ports.add(port)
        else:
            self.failures.append(f"{time.time():.1f} port {port}: {status}")
