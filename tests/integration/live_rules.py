"""A real HAProxy whose rules, canaries and redirects are changed while it runs: by map rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haproxy import features, ops, routes
from haproxy.model import Backend, Balance, Desired, Route, RouteKey, Server
from haproxy.runtime.client import Runtime
from haproxy.settings import CANARY_MAP, ROUTES_MAP, RULES_MAPS
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import Answer, LiveHAProxy, application, request, running

HOST = "a.test"


@dataclass
class LiveRules:
    """`web` (one server) behind `a.test` with the rules named `web`; `blue`, `green` with a server each, `none`
    without one, `ring` with four and a hash."""

    proxy: LiveHAProxy
    runtime: Runtime
    _rows: features.Rows = field(default_factory=dict)

    def set(self, **values: object) -> None:
        """The rules from now on."""
        rules = pb.Rules(name="web", **values)  # type: ignore[arg-type]
        rows = features.rules_rows(rules, self.proxy.capabilities)
        for file in RULES_MAPS:
            self._change(file, rows.get(file, {}))

    def route(self, *wanted: Route) -> None:
        """The routes from now on, with their canaries."""
        table: Mapping[RouteKey, Route] = {(route.host, route.path): route for route in wanted}
        canaries: dict[str, str] = {}
        for host in {route.host for route in wanted}:
            canaries |= features.canary_rows(host, table)
        self._change(CANARY_MAP, canaries)
        self._change(ROUTES_MAP, routes.rows(table))

    def _change(self, file: str, new: Mapping[str, str]) -> None:
        old, path = self._rows.get(file, {}), self.proxy.settings.file(file)
        commands: list[ops.Op] = [
            *(ops.AddMapRow(path, key, new[key]) for key in new if key not in old),
            *(ops.SetMapRow(path, key, new[key]) for key in new if old.get(key, new[key]) != new[key]),
            *(ops.DeleteMapRow(path, key) for key in old if key not in new),
        ]
        assert [result.refusal for result in self.runtime.apply(commands)] == [None] * len(commands)
        self._rows[file] = dict(new)

    def ask(
        self, target: str = "/", *headers: str, method: str = "GET", body: str = "", host: str = HOST
    ) -> Answer:
        return request(self.proxy.address, target, f"host: {host}", *headers, method=method, body=body)

    def app(self, target: str = "/", *headers: str, host: str = HOST) -> str:
        """Who answers."""
        return str(self.ask(target, *headers, host=host).seen["app"])


@contextmanager
def live_rules(binary: Path, directory: Path, **settings: Any) -> Iterator[LiveRules]:
    with ExitStack() as stack:
        made = {"none": Backend("none", ("none",), expected=False)}
        for name, number in (("web", 1), ("blue", 1), ("green", 1), ("ring", 4)):
            servers = {
                f"t{n}": Server(f"t{n}", 1000 * n, "127.0.0.1", stack.enter_context(application(f"{name}{n}")))
                for n in range(1, number + 1)
            }
            balance = Balance.HASH if name == "ring" else Balance.ROUND_ROBIN
            made[name] = Backend(name, (name,), expected=False, servers=servers, balance=balance)
        proxy = stack.enter_context(running(binary, directory, Desired("r", made), **settings))
        runtime = stack.enter_context(Runtime(proxy.runtime_url))
        live = LiveRules(proxy, runtime)
        live.route(Route(HOST, "/", "web", rules="web"), Route("ring.test", "/", "ring", rules="web"))
        yield live
