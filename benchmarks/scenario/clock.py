"""When Swarm said what: a client of SwarmKit's Watch of our own, so that l7 is not asked about itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import grpc

from l7.model import TaskState
from l7.swarm import swarmkit_pb2 as pb
from testbed.namespace import TestbedError
from testbed.swarm import Swarm

REMOVED = 4
"""SwarmKit's action of an event that says that an object is gone."""


class Moments:
    """Unix seconds at which a task was first seen so; 0.0: not yet. `leaving`: its desired state is past RUNNING;
    `ended`: its state is."""

    __slots__ = ("ended", "leaving", "running", "service", "task")

    def __init__(self, task: str, service: str) -> None:
        self.task = task
        self.service = service
        self.running = 0.0
        self.leaving = 0.0
        self.ended = 0.0


class Clock:
    """Follows all tasks between entry and exit, in a thread of its own."""

    def __init__(
        self, swarm: Swarm, node: int = 0, told: Callable[[pb.Task, bool], None] = lambda _task, _removed: None
    ) -> None:
        """`told` is called in that thread, with each task that changed and whether it was removed."""
        self.tasks: dict[str, Moments] = {}
        self._told = told
        self._news = threading.Condition()
        root = swarm.docker(node).inspect_swarm()["TLSInfo"]["TrustRoot"].encode()
        options = (("grpc.ssl_target_name_override", "swarm-manager"), ("grpc.max_receive_message_length", -1))
        self._channel = grpc.secure_channel(
            f"unix:{swarm.node(node).control_socket}", grpc.ssl_channel_credentials(root), options
        )
        self._stream = self._open()
        self._thread = threading.Thread(target=self._follow, name="clock", daemon=True)

    def _open(self) -> grpc.Call:
        watch = self._channel.unary_stream(
            "/docker.swarmkit.v1.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchMessage.FromString,
        )
        stream = watch(pb.WatchRequest(entries=[pb.WatchRequest.WatchEntry(kind="task", action=7)]))
        next(stream)  # the first message is empty: from now on nothing is missed
        return stream

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.cancel()
        self._thread.join()
        self._channel.close()

    def _follow(self) -> None:
        try:
            for message in self._stream:
                now = time.time()
                with self._news:
                    for event in message.events:
                        self._note(event, now)
                    self._news.notify_all()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise

    def _note(self, event: pb.WatchMessage.Event, now: float) -> None:
        task = event.object.task
        if not task.service_id:
            return
        moments = self.tasks.setdefault(task.id, Moments(task.id, task.service_id))
        if task.status.state == TaskState.RUNNING:
            moments.running = moments.running or now
        if task.desired_state > TaskState.RUNNING or event.action == REMOVED:
            moments.leaving = moments.leaving or now
        if task.status.state > TaskState.RUNNING or event.action == REMOVED:
            moments.ended = moments.ended or now
        self._told(task, event.action == REMOVED)

    def of(self, service: str) -> list[Moments]:
        """All tasks of a service (id) seen so far."""
        with self._news:
            return [each for each in self.tasks.values() if each.service == service]

    def wait(self, what: str, find: Callable[[list[Moments]], Moments | None], timeout: float = 60.0) -> Moments:
        """The first task for which `find`, given all of them, gives one."""
        deadline = time.monotonic() + timeout
        with self._news:
            while (found := find(list(self.tasks.values()))) is None:
                if not self._news.wait(deadline - time.monotonic()):
                    raise TestbedError(f"waited {timeout:.0f} s in vain for {what}")
            return found
