"""Proxies that join the networks of applications and leave them: acceptance items 24, 25, 37, 38 and 42 to 46.

On one Swarm, installed by one command; two proxies on a node, so that the next one starts before the last one goes.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from click.testing import CliRunner

from l7 import cli
from l7.swarm.from_json import parse_time
from testbed import app, image, processes
from testbed.namespace import TestbedError
from testbed.swarm import Swarm, wait_for
from testbed.system import CORE_ADMIN_SOCKET
from tests.e2e.balanced import Balanced

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

WITNESS = "witness.local"
LABEL = "com.docker.lb."
PROMPT = 10.0
"""Seconds within which a network can be removed, on a machine that replaces two proxies by then."""
T = 5.0
_PAUSE = 0.5
"""Seconds between tries: a proxy's task that starts needs the machine as well."""
V = TypeVar("V")


class Joining:
    """l7 on a Swarm, and what is asked of it."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.docker: Any = swarm.docker(0)

    def install(self, *words: str) -> None:
        """`l7 install`, with ports of the node that Swarm chooses."""
        ports = ("--publish-mode", "host", "--http", "0", "--https", "0")
        command = ["install", *(words or ports), "--docker-url", self.swarm.node(0).url]
        result = CliRunner().invoke(cli.main, command)
        assert result.exit_code == 0, result.output

    def network(self, name: str, *options: str) -> None:
        self.swarm.cli(0, "network", "create", "--driver=overlay", *options, name)

    def create(self, name: str, *networks: str, replicas: int = 1, routed: bool = True, **labels: str) -> None:
        """A service of the test application on these networks, at the host `<name>.local`."""
        fixed = ("--detach", "--no-resolve-image", "--env=INSTANCE={{.Task.ID}}", f"--replicas={replicas}")
        given = {"hosts": f"{name}.local", "port": str(app.PORT), **labels} if routed else {}
        words = [f"--label={LABEL}{key}={value}" for key, value in given.items()]
        words += [f"--network={each}" for each in networks]
        self.swarm.cli(0, "service", "create", *fixed, f"--name={name}", *words, app.TAG)

    def remove(self, *names: str) -> None:
        if names:
            self.swarm.cli(0, "service", "rm", *names)

    def removed(self, what: str, *words: str, services: Iterable[str] = ()) -> None:
        """Removes services, and what the proxies hold for them; tries again until Swarm does it: as soon as the
        proxies have left, for which each of them is replaced once, or, where the services go slowly, twice."""
        before, began = self.proxy_tasks(), time.time()
        self.remove(*services)
        self.until(f"{what} to be removed", lambda: self._removed(*words))
        took = time.time() - began
        new = [task for task in self.docker.tasks(filters={"service": "l7-proxy"}) if task["ID"] not in before]
        replaced = max(parse_time(task["Status"]["Timestamp"]) for task in new) / 1e9 - began
        print(f"{what} removed after {took:.1f} s; the proxies were replaced after {replaced:.1f} s")
        assert len(new) <= 4, "in two steps at most, however many services go"
        assert took <= max(PROMPT, replaced + 3 * _PAUSE)

    def _removed(self, kind: str, verb: str, *names: str) -> bool:
        """Of several networks Docker removes those that it can, and then says of them that there are none."""
        known = self.swarm.cli(0, "network", "ls", "--format={{.Name}}").split()
        left = [name for name in names if kind != "network" or name in known]
        return not left or self.swarm.cli(0, kind, verb, *left) is not None

    # -- seen ----------------------------------------------------------------------------------------------

    def proxy_networks(self) -> set[str]:
        """Names of those that the proxies are on, by their service's specification."""
        spec = self.docker.inspect_service("l7-proxy")["Spec"]
        names = {each["Id"]: each["Name"] for each in self.docker.networks()}
        return {names[each["Target"]] for each in spec["TaskTemplate"]["Networks"]}

    def proxy_tasks(self) -> set[str]:
        """All that there are or were."""
        return {task["ID"] for task in self.docker.tasks(filters={"service": "l7-proxy"})}

    def joined(self, *services: str) -> None:
        """Waits until each proxy answers for these services, whose networks they are to join."""
        began = time.monotonic()
        for name in services:
            self.answered(name)
        print(f"joined and served after {time.monotonic() - began:.1f} s")

    def settled(self) -> None:
        """Waits until the proxies are not being replaced."""
        self.until(
            "the proxies' update to end",
            lambda: (
                (self.docker.inspect_service("l7-proxy").get("UpdateStatus") or {}).get("State")
                in (None, "completed")
            ),
            120,
        )

    def tasks(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.docker.tasks(filters={"service": name, "desired-state": "running"})
        return found

    def address(self, name: str, network: str) -> str:
        """Of a service's only task on a network, once it has one."""

        def find() -> str:
            (task,) = self.tasks(name)
            return next(
                str(each["Addresses"][0]).partition("/")[0]
                for each in task["NetworksAttachments"]
                if each["Network"]["Spec"]["Name"] == network and task["Status"]["State"] == "running"
            )

        return self.until(f"{name}'s address on {network}", find)

    def reaches(self, name: str, address: str) -> bool:
        """Whether a task of this service can open a connection to the test application there."""
        (task,) = self.tasks(name)
        pid = task["Status"]["ContainerStatus"]["PID"]

        def connect() -> bool:
            try:
                socket.create_connection((address, app.PORT), timeout=2).close()
            except OSError:
                return False
            return True

        return processes.within(Path(f"/proc/{pid}/ns/net"), connect)

    def status(self) -> dict[str, Any]:
        (task,) = self.tasks("l7-core")
        pid = int(task["Status"]["ContainerStatus"]["PID"])
        found: dict[str, Any] = orjson.loads(processes.get_unix(pid, CORE_ADMIN_SOCKET, "/status"))
        return found

    def problem(self, service: str) -> dict[str, Any]:
        """Waits for a problem of this service."""
        return self.until(
            f"a problem of {service}",
            lambda: next((each for each in self.status()["problems"] if each["service"] == service), None),
        )

    def servers(self, service: str) -> list[str]:
        (cluster,) = self.status()["clusters"]
        return [
            server["address"]
            for backend in cluster["backends"]
            if backend["services"] == [service]
            for server in backend["servers"]
        ]

    def ask(self, host: str) -> list[int]:
        """What each proxy answers."""
        assert self.swarm.bridge is not None
        load = Balanced(self.swarm, host)
        load._look(self.docker)
        return processes.within(self.swarm.bridge.net, lambda: [_status(host, each) for each in load._living])

    def answered(self, name: str, status: int = 200, timeout: float = 60.0) -> None:
        """Waits until every proxy answers so for a service's host."""
        self.until(f"{status} of {name}", lambda: set(self.ask(f"{name}.local")) == {status}, timeout)

    def until(self, what: str, probe: Callable[[], V | None], timeout: float = 60.0) -> V:
        def ask() -> V | None:
            try:
                return probe()
            except (TestbedError, OSError, http.client.HTTPException, StopIteration, ValueError, KeyError) as error:
                last[:] = [error]
                return None

        last: list[Exception] = []
        try:
            return wait_for(what, ask, timeout, _PAUSE)
        except TestbedError as error:
            error.add_note(f"last error: {last}; problems: {self.status()['problems']}")
            raise


def _status(host: str, place: tuple[str, int]) -> int:
    client = http.client.HTTPConnection(*place, timeout=5)
    try:
        client.request("GET", "/", headers={"Host": host, "Connection": "close"})
        return client.getresponse().status
    finally:
        client.close()


@pytest.fixture(scope="module")
def installed() -> Iterator[Joining]:
    with Swarm.up() as swarm:
        swarm.load_image(image.build())
        swarm.load_image(app.image())
        found = Joining(swarm)
        found.install()
        found.create("witness", "l7")
        found.answered("witness")
        yield found


@pytest.fixture
def l7(installed: Joining) -> Iterator[Joining]:
    """Whatever the proxies join or leave, a service on the network that they are always on is served."""
    installed.settled()
    with Balanced(installed.swarm, WITNESS).running() as load:
        yield installed
    assert load.failures == []
    assert load.answered > 10


@pytest.mark.acceptance(24, 25, 37)
def test_a_stack_with_a_network_of_its_own(l7: Joining) -> None:
    """It is served without a word from anyone, and removed as soon as Swarm allows it."""
    labels = {f"{LABEL}hosts": "shop_web.local", f"{LABEL}port": str(app.PORT)}
    service = {"image": app.TAG, "networks": ["front"], "deploy": {"labels": labels}}
    stack = {"version": "3.8", "services": {"web": service}, "networks": {"front": {"driver": "overlay"}}}
    file = l7.swarm.directory / "shop.json"
    file.write_bytes(orjson.dumps(stack))
    l7.swarm.cli(0, "stack", "deploy", "--resolve-image=never", "-c", str(file), "shop")
    problem = l7.problem("shop_web")
    assert problem["message"].startswith("the proxies are being put on network shop_front")
    assert "a service on l7" in problem["remedy"]
    assert "Extensions.default.Networks" in problem["remedy"]
    l7.joined("shop_web")
    assert l7.proxy_networks() == {"l7-control", "l7", "shop_front"}
    assert all(each["service"] != "shop_web" for each in l7.status()["problems"])
    l7.settled()
    l7.removed("the stack", "stack", "rm", "shop")
    l7.answered("shop_web", 503, T)
    assert l7.proxy_networks() == {"l7-control", "l7"}


@pytest.mark.acceptance(24, 38, 43, 45)
def test_networks_of_several_kinds_are_joined_together(l7: Joining) -> None:
    """One that is named among others, an encrypted and an internal one; who is apart stays apart."""
    before = l7.proxy_tasks()
    names = ("one", "two", "sealed", "inner")
    for name, option in zip(names, ((), (), ("--opt=encrypted",), ("--internal",)), strict=True):
        l7.network(name, *option)
    l7.create("named", "one", "two", network="two")
    l7.create("crypt", "sealed")
    l7.create("within", "inner")
    l7.create("plain", "one", routed=False)
    l7.joined("named", "crypt", "within")
    assert l7.proxy_networks() == {"l7-control", "l7", "two", "sealed", "inner"}
    subnet = ipaddress.ip_network(l7.docker.inspect_network("two")["IPAM"]["Config"][0]["Subnet"])
    assert all(ipaddress.ip_address(each) in subnet for each in l7.servers("named"))
    assert len(l7.proxy_tasks() - before) <= 4, "in two steps at most, however many networks"
    crypt, within = l7.address("crypt", "sealed"), l7.address("within", "inner")
    assert l7.reaches("crypt", crypt)
    assert not l7.reaches("crypt", within)
    assert not l7.reaches("within", crypt)
    l7.settled()
    gone = ("named", "crypt", "within", "plain")
    l7.removed("all networks", "network", "rm", "two", "sealed", "inner", services=gone)
    l7.answered("crypt", 503, T)
    assert l7.proxy_networks() == {"l7-control", "l7"}


@pytest.mark.acceptance(46)
def test_a_network_that_is_full(l7: Joining) -> None:
    """Swarm leaves its tasks waiting without a word; what is there is served, and there is a word of ours."""
    l7.network("small", "--subnet=10.99.0.0/28")
    l7.create("roomy", "small")
    l7.joined("roomy")
    l7.settled()
    with Balanced(l7.swarm, "roomy.local").running() as load:
        l7.create("greedy", "small", replicas=9)
        problem = l7.problem("greedy")
        assert (problem["value"], problem["fatal"]) == ("small", False)
        assert "14 of the 14 addresses of 10.99.0.0/28 are in use" in problem["message"]
        assert "/16" in problem["remedy"]
        states = [task["Status"]["State"] for task in l7.tasks("greedy")]
        assert "new" in states
        l7.until("the others to be served", lambda: len(l7.servers("greedy")) == len(states) - states.count("new"))
        nearly = next(each for each in l7.status()["problems"] if each["label"] == "Extensions.default.Networks")
        assert nearly["value"] == "small"
        l7.network("tiny", "--subnet=10.98.0.0/29")
        l7.create("late", "tiny")
        assert "has no room for the proxies" in l7.problem("late")["message"]
        assert "tiny" not in l7.proxy_networks()
    assert load.failures == []
    l7.remove("roomy", "greedy", "late")


@pytest.mark.acceptance(42)
def test_networks_of_the_settings(l7: Joining, tmp_path: Path) -> None:
    for name in "abc":
        l7.network(f"fixed-{name}")
    l7.install("--config", settings(tmp_path, 'Networks = ["fixed-a", "fixed-b", "l7"]'))
    l7.settled()
    assert l7.proxy_networks() == {"l7-control", "l7", "fixed-a", "fixed-b"}
    before = l7.proxy_tasks()
    l7.create("stranger", "fixed-c")
    problem = l7.problem("stranger")
    assert problem["message"] == "service (fixed-c) and proxies (fixed-a, fixed-b, l7) share no network"
    assert "add its network to Extensions.default.Networks" in problem["remedy"]
    l7.create("early", "fixed-a")
    l7.create("later", "fixed-b")
    l7.answered("early")
    l7.answered("later")
    l7.answered("stranger", 503)
    l7.remove("early", "later", "stranger")
    l7.answered("early", 503)
    l7.swarm.cli(0, "network", "rm", "fixed-c")
    assert l7.proxy_tasks() == before


def settings(directory: Path, *more: str) -> str:
    """A file of settings with ports of the node that Swarm chooses."""
    lines = ("[Extensions.default]", 'PublishMode = "host"', "PublishedPort = 0", "PublishedSSLPort = 0", *more)
    file = directory / "l7.toml"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


@pytest.mark.acceptance(44)
def test_among_fifty_networks(l7: Joining, tmp_path: Path) -> None:
    for number in range(50):
        l7.network(f"net{number}")
        l7.create(f"app{number}", f"net{number}", replicas=int(number == 49))
    l7.install("--config", settings(tmp_path))
    l7.joined("app49")
    l7.settled()
    assert len(l7.proxy_networks()) == 52
    before = l7.proxy_tasks()
    l7.create("more", "net7")
    l7.until("its task to run", lambda: any(each["Status"]["State"] == "running" for each in l7.tasks("more")))
    l7.answered("more", timeout=T)
    assert l7.proxy_tasks() == before
