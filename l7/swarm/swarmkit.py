"""SwarmKit's Watch on the manager's local control socket: every change of a task within milliseconds.

The socket speaks gRPC over TLS, with a server certificate for "swarm-manager" under the Swarm's own root and
no client certificate. It is there only while the node is a manager, and equals root on the cluster: we only
read from it, and only the kinds that we need (others carry secrets in clear).
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from l7.kit import collector
from l7.kit.errors import Unavailable
from l7.model import Service, Task
from l7.swarm import from_proto
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Kind, Listing
from l7.swarm.known import Known
from l7.swarm.source import Update

# Never secrets and configs, which the stream would deliver with their content.
_WATCHED = (Kind.NODE, Kind.NETWORK, Kind.SERVICE, Kind.TASK)
_PACKAGE = "/docker.swarmkit.v1"
_ALL_ACTIONS = 7
_OPTIONS = (
    ("grpc.ssl_target_name_override", "swarm-manager"),
    ("grpc.max_receive_message_length", -1),  # a listing of 100,000 tasks is 70 MB
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, not a remembered failure
)
# How SwarmKit says, with status UNKNOWN, that it can't resume: compacted, or a version from the future.
_NOT_RESUMABLE = ("compaction", "out of order")


class SwarmkitSource:
    """A `Source`. `socket` is the control socket, or the directory in which `control.sock` comes and goes.

    `trust_root` fetches the Swarm's root certificate (PEM). `timeout` (seconds) is for each call, and for the
    stream to stand.
    """

    name = "swarmkit"

    def __init__(self, socket: Path, trust_root: Callable[[], Awaitable[bytes]], timeout: float = 3.0) -> None:
        self._socket = socket
        self._fetch_trust_root = trust_root
        self._timeout = timeout
        self._trust_root = b""
        self._suspect = False
        self._services: Known[pb.Service, Service] = Known(from_proto.head, from_proto.parse_service)
        self._tasks: Known[pb.Task, Task] = Known(from_proto.head, from_proto.parse_task)

    def available(self) -> bool:
        try:
            return stat.S_ISSOCK(self._address().stat().st_mode)
        except OSError:
            return False

    async def updates(self, resume: int) -> AsyncGenerator[Update, None]:
        async with self._channel() as channel:
            call, resumed = await self._open(channel, resume)
            try:
                # Only now: what changes from here on is on the stream, so list and stream leave no gap.
                yield () if resumed else await self._list(channel)
                while (message := await call.read()) is not grpc.aio.EOF:
                    yield from_proto.parse_message(message)
            finally:
                call.cancel()
        raise Unavailable("SwarmKit ended the stream")

    async def list(self) -> Listing:
        async with self._channel() as channel:
            return await self._list(channel)

    async def close(self) -> None:
        """Nothing is held between calls."""

    # ------------------------------------------------------------ inside

    def _address(self) -> Path:
        """Looked up each time: the directory, too, may be made after we started."""
        return self._socket / "control.sock" if self._socket.is_dir() else self._socket

    async def _open(self, channel: Any, resume: int) -> tuple[Any, bool]:
        """A stream that stands, and whether it resumes."""
        try:
            return await self._watch(channel, resume), resume > 0
        except grpc.aio.AioRpcError as error:
            if not resume or not any(text in (error.details() or "") for text in _NOT_RESUMABLE):
                raise
        return await self._watch(channel, 0), False

    async def _watch(self, channel: Any, resume: int) -> Any:
        entry = pb.WatchRequest.WatchEntry
        request = pb.WatchRequest(entries=[entry(kind=kind.value, action=_ALL_ACTIONS) for kind in _WATCHED])
        if resume:
            request.resume_from.index = resume
        call = channel.unary_stream(
            f"{_PACKAGE}.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchMessage.FromString,
        )(request)
        try:
            async with asyncio.timeout(self._timeout):
                ready = await call.read()
        except BaseException:
            call.cancel()
            raise
        if ready is grpc.aio.EOF:
            raise Unavailable("SwarmKit ended the stream before it stood")
        return call

    async def _list(self, channel: Any) -> Listing:
        nodes, networks, services, tasks = await asyncio.gather(
            self._call(channel, "ListNodes"),
            self._call(channel, "ListNetworks"),
            self._call(channel, "ListServices"),
            self._call(channel, "ListTasks"),
        )
        # In a thread: 100,000 tasks take seconds to read, and the loop must go on meanwhile.
        with collector.paused():
            return await asyncio.to_thread(self._parse, nodes, networks, services, tasks)

    def _parse(self, nodes: bytes, networks: bytes, services: bytes, tasks: bytes) -> Listing:
        return Listing(
            nodes=tuple(map(from_proto.parse_node, pb.ListNodesResponse.FromString(nodes).nodes)),
            networks=from_proto.parse_networks(pb.ListNetworksResponse.FromString(networks).networks),
            services=self._services.read(pb.ListServicesResponse.FromString(services).services),
            tasks=self._tasks.read(pb.ListTasksResponse.FromString(tasks).tasks),
        )

    async def _call(self, channel: Any, method: str) -> bytes:
        call = channel.unary_unary(
            f"{_PACKAGE}.Control/{method}", request_serializer=pb.ListRequest.SerializeToString
        )
        reply: bytes = await call(pb.ListRequest(), timeout=self._timeout)
        return reply

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Any]:
        """A channel of its own; gRPC's errors inside become Unavailable."""
        root = await self._root()
        credentials = grpc.ssl_channel_credentials(root)
        try:
            async with grpc.aio.secure_channel(f"unix:{self._address()}", credentials, _OPTIONS) as channel:
                yield channel
        except grpc.aio.AioRpcError as error:
            # The root may be another one by now: the node may have joined another Swarm.
            self._suspect = error.code() is grpc.StatusCode.UNAVAILABLE
            raise Unavailable(f"SwarmKit: {error.code().name}: {error.details()}") from error
        except TimeoutError as error:
            raise Unavailable(f"SwarmKit: no answer in {self._timeout:g} s") from error

    async def _root(self) -> bytes:
        """The root certificate, fetched again only after a failure: without a leader, Docker can't say it."""
        if self._trust_root and not self._suspect:
            return self._trust_root
        try:
            self._trust_root = await self._fetch_trust_root()
        except Unavailable:
            if not self._trust_root:
                raise
        self._suspect = False
        return self._trust_root
