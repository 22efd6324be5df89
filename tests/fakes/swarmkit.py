"""SwarmKit's control socket in front of a `FakeSwarm`: what `l7.swarm.swarmkit` speaks, over TLS as the real one.

    async with Swarmkit(swarm.source(), directory / "control.sock") as swarmkit:
        SwarmkitSource(swarmkit.path, swarmkit.trust_root)

So a core in a process of its own can follow a FakeSwarm by its product's own way. Held to the real one by
tests/contract/test_watch_contract.py. An object is encoded once per version: a listing costs its bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from l7.kit.errors import Unavailable
from l7.model import Task
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm import swarmkit_pb2_grpc as rpc
from l7.swarm.cache import Event, Listing, Object, Upsert
from testbed.certificates import TestAuthority
from tests.fakes.swarm import FakeSource
from tests.fakes.swarm_messages import message_of, object_of, removal_of

UPDATED, REMOVED = 2, 4
_SPECIFICATION = b"\x1a"
"""Tag of Task.spec (field 3, length-delimited), which l7 does not read."""


class Swarmkit:
    """Listens at `path` while entered. `padding`: bytes of a task that l7 skips; a real one has some 500."""

    def __init__(self, source: FakeSource, path: Path, padding: int = 0) -> None:
        self.path = path
        self.source = source
        self._padding = _SPECIFICATION + _varint(padding) + bytes(padding) if padding else b""
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._authority = TestAuthority("Swarm")
        identity = self._authority.issue("swarm-manager")
        credentials = grpc.ssl_server_credentials([(identity.key, identity.certificate)])
        self._server = grpc.aio.server(options=(("grpc.max_send_message_length", -1),))
        self._server.add_secure_port(f"unix:{path}", credentials)
        rpc.add_WatchServicer_to_server(_Watch(source), self._server)  # type: ignore[no-untyped-call]
        self._server.add_generic_rpc_handlers((self._control(),))

    async def trust_root(self) -> bytes:
        return self._authority.certificate

    async def __aenter__(self) -> Swarmkit:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(0)

    def listed(self, kind: str) -> bytes:
        """The answer to a list call: "tasks", "services", "nodes" or "networks"."""
        return b"".join(map(self._row, getattr(self.source.swarm, kind).values()))

    # ------------------------------------------------------------ inside

    def _control(self) -> Any:
        """Answers are bytes already."""
        kinds = {"ListNodes": "nodes", "ListNetworks": "networks", "ListServices": "services", "ListTasks": "tasks"}
        handlers = {method: grpc.unary_unary_rpc_method_handler(self._lister(kinds[method])) for method in kinds}
        return grpc.method_handlers_generic_handler("docker.swarmkit.v1.Control", handlers)

    def _lister(self, kind: str) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            if not self.source.up:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not up")
            return self.listed(kind)

        return answer

    def _row(self, object_: Object) -> bytes:
        """The object as an element of field 1, the only one of every answer to a list call."""
        version, row = self._encoded.get(object_.id, (-1, b""))
        if version != object_.version:
            body = message_of(object_).SerializeToString() + (self._padding if isinstance(object_, Task) else b"")
            row = b"\x0a" + _varint(len(body)) + body
            self._encoded[object_.id] = object_.version, row
        return row


class _Watch(rpc.WatchServicer):
    def __init__(self, source: FakeSource) -> None:
        self._source = source

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchMessage]:
        resume = request.resume_from.index
        try:
            async with aclosing(self._source.updates(resume)) as updates:
                async for update in updates:
                    if isinstance(update, Listing):  # by our own call; this stream only says that it stands
                        if resume:
                            await context.abort(
                                grpc.StatusCode.UNKNOWN, "requested index is unavailable due to compaction"
                            )
                        update = ()
                    yield _message(update)
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def _message(events: Iterable[Event]) -> pb.WatchMessage:
    return pb.WatchMessage(events=map(_event, events))


def _event(event: Event) -> pb.WatchMessage.Event:
    if isinstance(event, Upsert):
        return pb.WatchMessage.Event(action=UPDATED, object=object_of(event.object))
    return pb.WatchMessage.Event(action=REMOVED, object=removal_of(event.kind, event.id))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
