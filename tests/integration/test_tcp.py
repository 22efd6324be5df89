"""Raw TCP: a declared port leads where its row says, changed while HAProxy runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from haproxy import features, ops
from haproxy.model import Backend, Desired, Route, Server
from haproxy.runtime.client import Runtime
from haproxy.settings import TCP_MAP
from tests.integration.live_haproxy import PATIENCE, LiveHAProxy, application, free_port, request, running

pytestmark = pytest.mark.haproxy


def tcp_route(port: int, backend: str) -> Route:
    return Route(f":{port}", "/", backend)


@dataclass
class LiveTcp:
    proxy: LiveHAProxy
    runtime: Runtime
    ports: tuple[int, int, int]

    def app(self, port: int) -> str:
        """Who answers there; "" when the connection is closed without a word."""
        try:
            answer = request(("127.0.0.1", port), "/", "host: any")
        except ConnectionError:
            return ""
        return str(answer.seen["app"]) if answer.status else ""

    def point(self, port: int, backend: str) -> None:
        file = self.proxy.settings.file(TCP_MAP)
        rows = features.tcp_rows([tcp_route(port, backend)])
        commands = [ops.AddMapRow(file, key, value) for key, value in rows.items()]
        assert [result.refusal for result in self.runtime.apply(commands)] == [None] * len(commands)

    def clear(self, port: int) -> None:
        assert self.runtime.apply([ops.DeleteMapRow(self.proxy.settings.file(TCP_MAP), str(port))])[0].ok


@pytest.fixture(params=[False, True], ids=["plain", "proxy-protocol"])
def live(request: pytest.FixtureRequest, haproxy_binary: Path, tmp_path: Path) -> Iterator[LiveTcp]:
    ports = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        made = {}
        for name in ("db", "mq"):
            server = Server("t", 1, "127.0.0.1", stack.enter_context(application(name)))
            made[f"{name}.tcp"] = Backend(f"{name}.tcp", (name,), expected=False, servers={"t": server}, tcp=True)
        route = tcp_route(ports[0], "db.tcp")
        trusted: dict[str, Any] = (
            {"trusted_proxies": ("10.0.0.0/8",), "proxy_protocol": True} if request.param else {}
        )
        proxy = stack.enter_context(
            running(
                haproxy_binary, tmp_path, Desired("r", made, {(route.host, "/"): route}),
                tcp_address="127.0.0.1", tcp_ports=ports[:2], extra_tcp_ports=ports[2:], **trusted,
            )
        )  # fmt: skip
        yield LiveTcp(proxy, stack.enter_context(Runtime(proxy.runtime_url)), ports)


def test_a_port_leads_to_its_service_and_others_are_closed(live: LiveTcp) -> None:
    first, second, extra = live.ports
    assert [live.app(port) for port in live.ports] == ["db", "", ""]
    live.point(second, "mq.tcp")
    live.point(extra, "db.tcp")
    assert [live.app(port) for port in live.ports] == ["db", "mq", "db"]
    live.clear(first)
    assert [live.app(port) for port in live.ports] == ["", "mq", "db"]


def test_a_port_of_a_backend_that_is_not_there_is_closed(live: LiveTcp) -> None:
    live.point(live.ports[1], "gone.tcp")
    assert live.app(live.ports[1]) == ""


def test_the_port_is_the_listeners_whatever_a_trusted_proxy_says(haproxy_binary: Path, tmp_path: Path) -> None:
    port = free_port()
    with application("db") as behind:
        made = Backend("db.tcp", expected=False, servers={"t": Server("t", 1, "127.0.0.1", behind)}, tcp=True)
        wanted = Desired("r", {"db.tcp": made}, {(f":{port}", "/"): tcp_route(port, "db.tcp")})
        with running(
            haproxy_binary, tmp_path, wanted, tcp_address="127.0.0.1", tcp_ports=(port,),
            trusted_proxies=("127.0.0.0/8",), proxy_protocol=True,
        ):  # fmt: skip
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                connection.sendall(b"PROXY TCP4 198.51.100.7 192.0.2.1 5555 9\r\n")
                connection.sendall(b"GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n")
                assert b'"app": "db"' in b"".join(iter(lambda: connection.recv(65536), b""))
