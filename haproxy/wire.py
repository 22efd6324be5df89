"""Between the messages of `l7.v1` and the values of `haproxy.model`: the extension's only converter."""

from __future__ import annotations

from collections.abc import Iterable

from haproxy.model import Backend, Desired, Route, Server, ServerState
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb


def server_from(message: pb.Server) -> Server:
    """One server. Raises ProtocolError for a state that this version does not know."""
    try:
        state = ServerState(message.state)
    except ValueError as error:
        raise ProtocolError(f"server {message.task}: unknown state {message.state}") from error
    return Server(
        task=message.task,
        id=message.id,
        address=message.address,
        port=message.port,
        weight=message.weight,
        state=state,
        stop_in=message.stop_in_milliseconds,
    )


def route_from(message: pb.Route) -> Route:
    return Route(message.host, message.path, message.backend, message.strip_path)


def changes_from(desired: Desired) -> pb.Changes:
    """The whole of `desired` as one message, to be kept on tmpfs for a restart without core."""
    return pb.Changes(
        backends=[_backend_to(desired.backends[name]) for name in sorted(desired.backends)],
        routes=[_route_to(desired.routes[key]) for key in sorted(desired.routes)],
    )


def _backend_to(backend: Backend) -> pb.Backend:
    return pb.Backend(
        name=backend.name,
        settings=pb.BackendSettings(services=backend.services, expected=backend.expected),
        servers=_servers_to(backend.servers[task] for task in sorted(backend.servers)),
    )


def _servers_to(servers: Iterable[Server]) -> list[pb.Server]:
    return [
        pb.Server(
            task=server.task,
            id=server.id,
            address=server.address,
            port=server.port,
            weight=server.weight,
            state=pb.ServerState.Name(server.state),
            stop_in_milliseconds=server.stop_in,
        )
        for server in servers
    ]


def _route_to(route: Route) -> pb.Route:
    return pb.Route(host=route.host, path=route.path, backend=route.backend, strip_path=route.strip_path)
