"""Changes of all kinds, by chance, to a cluster of a `Pair`. Each is made at once, and gives what waits until it
has got through: so several may be under way together."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import docker.errors

from testbed.certificates import TestAuthority
from tests.e2e.pair import NODES, Pair, Side

MOST = 6
"""Services of a cluster that come and go, at the most."""
AT_ONCE = 1.0
"""Seconds: what is waited for later, after something else, has not been timed."""
LEAST = 2
"""Tasks of a service under load: with one alone, an update that stops it first leaves nobody to answer."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done, and what waits until it got through."""

    detail: str
    through: Callable[[], None]


@dataclass(slots=True)
class Kills:
    """When a proxy was killed, unix seconds: what it had under way ends with it."""

    times: list[float] = field(default_factory=list)


class Changes:
    """Of one cluster. `there`: services and their paths; `took`: seconds until new hosts were answered."""

    def __init__(self, pair: Pair, side: Side, chance: random.Random, authority: TestAuthority) -> None:
        self.pair, self.side, self.chance, self.authority = pair, side, chance, authority
        self.there: dict[str, str] = {}
        self.took: list[float] = []
        self.kills = Kills()
        self.secrets: list[str] = []
        self._numbers = itertools.count(1)

    def kinds(self) -> dict[str, Callable[[], Change]]:
        """Those that leave core and extension services the processes that they are."""
        return {
            "create": self.create_or_remove,
            "scale": self.scale,
            "kill task": self.kill_task,
            "update": self.update,
            "relabel": self.relabel,
            "remove": self.remove_or_create,
            "config": self.config,
            "scale proxies": self.scale_proxies,
            "kill proxy": self.kill_proxy,
        }

    def deadly_kinds(self) -> dict[str, Callable[[], Change]]:
        """Those that replace extension services: a new secret does, too."""
        return {"certificate": self.certificate, "kill extension": self.kill_extension}

    # -- services ------------------------------------------------------------------------------------------

    def create_or_remove(self) -> Change:
        return self.create() if len(self.there) < MOST else self.remove()

    def remove_or_create(self) -> Change:
        return self.remove() if self.there else self.create()

    def create(self) -> Change:
        name, began = f"{self.side.name}-{next(self._numbers)}", time.monotonic()
        self.pair.create_at(self.side, name, self.chance.randint(1, 2))
        self.there[name] = "/"

        def through() -> None:
            at_once = time.monotonic() - began < AT_ONCE
            self.pair.answered(self.side, f"{name}.local", timeout=self.side.usual)
            if at_once:
                self.took.append(round(time.monotonic() - began, 2))

        return Change(name, through)

    def remove(self) -> Change:
        name = self.chance.choice(sorted(self.there))
        path = self.there.pop(name)
        self.pair.remove(name)
        return Change(name, lambda: self.pair.answered(self.side, f"{name}.local", path, 503))

    def scale(self) -> Change:
        name = self._any()
        replicas = self.chance.randint(LEAST if name == self.side.witness else 1, 4)
        self.pair.scale_to(name, replicas)

        def through() -> None:
            self.pair.running(name, replicas)
            self._all_answer(name)

        return Change(f"{name} to {replicas}", through)

    def update(self) -> Change:
        name, version = self._any(), str(next(self._numbers))
        order = self.chance.choice(["start-first", "stop-first"])
        self.pair.update(name, f"--update-order={order}", f"--env-add=VERSION={version}")

        def through() -> None:
            self.pair.updated(name, version)
            self._all_answer(name)

        return Change(f"{name} {order}", through)

    def kill_task(self) -> Change:
        name = self._any()
        before = self.pair.task_ids(name)
        self.pair.kill_container(name)

        def another() -> bool:
            tasks = self.pair.tasks(name)
            new = {str(each["ID"]) for each in tasks} - before
            return bool(new) and [each["Status"]["State"] for each in tasks] == ["running"] * len(before)

        def through() -> None:
            self.pair.until(f"another task of {name}", another)
            self._all_answer(name)

        return Change(name, through)

    def _any(self) -> str:
        return self.chance.choice([self.side.witness, *sorted(self.there)])

    def _all_answer(self, name: str) -> None:
        """Waits until each task of a service has answered at both proxies."""
        host, path = f"{name}.local", self.there.get(name, "/")
        for node in NODES:
            missing = self.pair.task_ids(name)

            def ask(node: int = node, missing: set[str] = missing) -> bool:
                missing.discard(self.pair.get(node, host, self.side.port, path)[1].get("x-instance", ""))
                return not missing

            self.pair.until(f"all of {name} to answer at {self.side.name} on node {node}", ask)

    # -- labels --------------------------------------------------------------------------------------------

    def relabel(self) -> Change:
        if not self.there:
            return self.create()
        name, number = self.chance.choice(sorted(self.there)), next(self._numbers)
        return self.chance.choice([self._alias, self._path, self._cookie, self._header])(name, number)

    def _alias(self, name: str, number: int) -> Change:
        alias, path = f"alias-{number}.local", self.there[name]
        self.pair.label(name, hosts=f"{name}.local {alias}")
        return Change(f"{name} also {alias}", lambda: self.pair.answered(self.side, alias, path))

    def _path(self, name: str, number: int) -> Change:
        path = self.there[name] = f"/path{number}"
        self.pair.label(name, context_root=path)
        return Change(f"{name} at {path}", lambda: self.pair.answered(self.side, f"{name}.local", path))

    def _cookie(self, name: str, number: int) -> Change:
        self.pair.label(name, sticky_session_cookie=f"sticky{number}")
        return Change(f"{name} sticky", lambda: self.pair.answered(self.side, f"{name}.local", self.there[name]))

    def _header(self, name: str, number: int) -> Change:
        path = self.there[name]
        self.pair.label(name, **{"header_response_X-Soak": str(number)})

        def told(node: int) -> bool:
            return self.pair.get(node, f"{name}.local", self.side.port, path)[1].get("x-soak") == str(number)

        def through() -> None:
            self.pair.until(f"the header of {name} at {self.side.name}", lambda: all(map(told, NODES)))

        return Change(f"{name} header", through)

    # -- settings and certificates -------------------------------------------------------------------------

    def config(self) -> Change:
        key, text = self.side.line
        line = text.format(self.chance.randint(5, 60))
        self.pair.configure(self.side, Config={key: [line]})

        def through() -> None:
            self.pair.takes(self.side, line)
            self.pair.at_rest(self.side)

        return Change(line, through)

    def certificate(self) -> Change:
        name = f"{self.side.name}-certificate-{next(self._numbers)}"
        issued = self.authority.issue(f"{self.side.still}.local")
        client: Any = self.pair.swarm.docker(self.pair.manager)
        client.create_secret(name, issued.combined)
        self.pair.label(self.side.still, ssl_cert=name)

        def shows(node: int) -> bool:
            return self.pair.fingerprint(self.side, node, f"{self.side.still}.local") == issued.fingerprint

        def through() -> None:
            self.pair.until(f"{name} to be shown", lambda: all(map(shows, NODES)))
            self.secrets.append(name)
            self.forget_secrets()

        return Change(name, through)

    def forget_secrets(self) -> None:
        """Removes those that nobody uses any more: Docker refuses to remove others."""
        for name in self.secrets[:-1]:
            with contextlib.suppress(docker.errors.APIError):
                self.pair.swarm.docker(self.pair.manager).remove_secret(name)
                self.secrets.remove(name)

    # -- l7's own parts ------------------------------------------------------------------------------------

    def scale_proxies(self) -> Change:
        self.pair.at_rest(self.side)
        self.pair.scale_to(self.side.proxies, 1)

        def through() -> None:
            self.pair.until("one proxy to be left", lambda: len(self.pair.tasks(self.side.proxies)) == 1)
            self.pair.scale_to(self.side.proxies, len(NODES))
            self._works()

        return Change("to 1 and back", through)

    def kill_proxy(self) -> Change:
        self.pair.at_rest(self.side)
        node = self.chance.choice(NODES)
        self.kills.times.append(time.time())
        self.pair.kill_container(self.side.proxies, node)
        return Change(f"on node {node}", self._works)

    def _works(self) -> None:
        self.pair.at_rest(self.side)
        self.pair.answered(self.side, f"{self.side.still}.local")

    def kill_extension(self) -> Change:
        before = self.pair.task_ids(self.side.extension)
        self.pair.kill_container(self.side.extension)

        def through() -> None:
            self.pair.another_task(self.side.extension, before)
            self.pair.at_rest(self.side)

        return Change("", through)
