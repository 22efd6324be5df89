"""A stand-in for IP_VS, which not every kernel has: spreads connections to a service's virtual address over its
tasks, in the proxies' own network namespaces, and follows them as Swarm does."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from testbed.namespace import TestbedError
from tests.e2e.installation import Installation

_CHAIN = "L7-VIRTUAL"
_PAUSE = 0.1
"""Seconds between two looks at the tasks: a task that goes is left alone 2 s before it gets SIGTERM."""


def virtual_address(client: Any, service: str, network: str = "l7") -> str:
    """What Swarm gave the service on that network."""
    there = client.inspect_network(network)["Id"]
    found = client.inspect_service(service)["Endpoint"]["VirtualIPs"]
    return next(str(each["Addr"]).partition("/")[0] for each in found if each["NetworkID"] == there)


@contextmanager
def carried(l7: Installation, *services: str) -> Iterator[None]:
    """Connections to the services' virtual addresses reach their tasks while the block runs. Nothing is done
    where the kernel carries them itself."""
    if Path("/proc/net/ip_vs").exists():
        yield
        return
    spread = _Spread(l7, services)
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(_PAUSE):
            spread.follow()

    spread.begin()
    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()
        spread.end()


class _Spread:
    """The rules in the proxies' namespaces. Has a client of its own: it runs beside the test."""

    def __init__(self, l7: Installation, services: tuple[str, ...]) -> None:
        self.client: Any = docker.APIClient(base_url=l7.swarm.node(0).url, version="auto")
        self.proxies = [l7.proxy_pid(proxy) for proxy in range(len(l7.services))]
        self.services = services
        self.written: list[str] = []

    def begin(self) -> None:
        self._run("iptables-restore", "--noflush", text=_table([]))
        self._run("iptables", "-t", "nat", "-I", "OUTPUT", "-j", _CHAIN)
        self.follow()

    def follow(self) -> None:
        """Brings the rules up to date; a service that is gone has none."""
        rules = [rule for service in self.services for rule in self._rules(service)]
        if rules != self.written:
            self._run("iptables-restore", "--noflush", text=_table(rules))
            self.written = rules

    def end(self) -> None:
        for words in (("-D", "OUTPUT", "-j", _CHAIN), ("-F", _CHAIN), ("-X", _CHAIN)):
            self._run("iptables", "-t", "nat", *words)
        self.client.close()

    def _rules(self, service: str) -> list[str]:
        """Each running task in turn: the first takes every n-th connection, the next every (n-1)-th of the rest."""
        try:
            address = virtual_address(self.client, service)
            tasks = self.client.tasks(filters={"service": service, "desired-state": "running"})
        except docker.errors.NotFound:
            return []
        targets = sorted(_address(task) for task in tasks if task["Status"]["State"] == "running")
        nth = "-p tcp -m statistic --mode nth --packet 0 --every"
        return [
            f"-A {_CHAIN} -d {address} {nth} {left} -j DNAT --to-destination {target}"
            for left, target in zip(range(len(targets), 0, -1), targets, strict=True)
        ]

    def _run(self, *command: str, text: str = "") -> None:
        for pid in self.proxies:
            entered = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command]
            done = subprocess.run(entered, input=text, capture_output=True, text=True, check=False)
            if done.returncode:
                raise TestbedError(f"{' '.join(command)}: {done.stderr.strip()}")


def _table(rules: list[str]) -> str:
    return "\n".join(["*nat", f":{_CHAIN} - [0:0]", *rules, "COMMIT", ""])


def _address(task: dict[str, Any]) -> str:
    """On the network that all share."""
    found = (each for each in task["NetworksAttachments"] if each["Network"]["Spec"]["Name"] == "l7")
    return str(next(found)["Addresses"][0]).partition("/")[0]
