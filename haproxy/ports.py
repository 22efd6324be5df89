"""TCP ports that services want: which are open, which need a reload to be, and which can't be."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from haproxy.checks import PREFIX
from haproxy.mirror import Mirror
from haproxy.routes import is_tcp
from haproxy.settings import Settings
from haproxy.tcp import open_ports
from l7.v1 import sync_pb2 as pb


@dataclass(slots=True)
class Ports:
    """`wanted`: all that services want. `refused`: of them, those that HAProxy could not open, with reasons."""

    wanted: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)

    def update(self, touched: Iterable[str], hosts: Collection[str]) -> None:
        """These hosts of routes may have come or gone; `hosts`: all there are."""
        for host in filter(is_tcp, touched):
            (self.wanted.add if host in hosts else self.wanted.discard)(int(host[1:]))
        self.refused = {port: why for port, why in self.refused.items() if port in self.wanted}

    def refuse(self, ports: Iterable[int], reason: str) -> None:
        """They are not tried again as long as they are wanted."""
        self.refused |= dict.fromkeys(ports, reason)

    def outside(self, settings: Settings) -> tuple[int, ...]:
        """Those that have to be opened besides the declared ones, sorted."""
        return tuple(sorted(self.wanted - _declared(settings) - _http(settings) - self.refused.keys()))

    def open_outside(self, settings: Settings, running: Settings) -> tuple[int, ...]:
        """Those of them that are open already."""
        return tuple(sorted(set(self.outside(settings)) & set(running.extra_tcp_ports)))

    def problems(self, settings: Settings, mirror: Mirror, static: bool, reloads: bool) -> list[pb.Problem]:
        """For each service whose port is not, and will not be, open. `settings` are those of the running HAProxy;
        `static`: which someone else runs; `reloads`: whether a reload may open a port."""
        found = []
        for port in sorted(self.wanted - set(open_ports(settings))):
            reason, remedy = self._reason(port, settings, static, reloads)
            for service in _services(mirror, port) if reason else ():
                message = f"port {port} is not open: {reason}"
                found.append(pb.Problem(service=service, label=f"{PREFIX}tcp_port", message=message, remedy=remedy))
        return found

    def _reason(self, port: int, settings: Settings, static: bool, reloads: bool) -> tuple[str, str]:
        declare = f"declare it: TCPPorts of the extension's Config, {port} among them"
        if port in _http(settings):
            return "the proxies listen there for HTTP", "choose another port"
        if port in self.refused:
            return self.refused[port], "choose another port, or free this one"
        if static:
            return "HAProxy is not run by l7", "add a bind for it to what `l7 haproxy render --static` made"
        return ("" if reloads else "AllowPolicyReload is false and the port is not declared"), declare


def _declared(settings: Settings) -> set[int]:
    return set(settings.tcp_ports)


def _http(settings: Settings) -> set[int]:
    ports = (address.rpartition(":")[2] for address in settings.bind)
    return {int(port) for port in ports if port.isdigit()}


def _services(mirror: Mirror, port: int) -> tuple[str, ...]:
    route = mirror.routes.get((f":{port}", "/"))
    backend = mirror.named.get(route.backend) if route is not None else None
    return backend.services if backend is not None else ()


def is_free(address: str, port: int) -> bool:
    """Whether HAProxy could listen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
            probe.listen()
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
