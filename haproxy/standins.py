"""Servers of before that stand in for what the labels of now ask for, as long as that is not ready. Pure.

A new port or check makes new servers. What was there before serves until they are ready, or have had their time.
Where they never get ready, nobody would notice until then: so it is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.mirror import key_of
from haproxy.model import HOLD, Backend, ServerRow, ServerState
from haproxy.observation import Observation
from haproxy.policy import task_of
from l7.v1 import sync_pb2 as pb

LOOKS = 3
"""Audits in a row, of about a second: any change has stand-ins for some milliseconds."""


def stand_ins(
    keys: Iterable[str], seen: Observation, backend: Backend | None, current: Callable[[str], Collection[str]]
) -> Counter[str]:
    """Service -> tasks that serve by a server of before only, of one backend of core's (None: it is not wanted).
    `keys`: those under which it has a place. `current`: names of the servers that one is to have, by its key; asked
    only where something of before is left."""
    found: Counter[str] = Counter()
    if backend is None:
        return found
    key = key_of(backend)
    for logical in keys:
        rows = seen.of(logical)
        if key == logical and not _doubled(rows):
            continue
        names = set(current(key))
        ready = {task_of(name) for name, row in seen.of(key).items() if row.usable and name in names}
        for row in rows.values():
            server = backend.servers.get(task_of(row.name))
            before = key != logical or row.name not in names
            if server is None or server.state is not ServerState.READY or not (before and row.usable):
                continue
            if server.task not in ready and server.service < len(backend.services):
                found[backend.services[server.service]] += 1
    return found


def _doubled(rows: Mapping[str, ServerRow]) -> bool:
    """Whether a task has servers of more than one generation."""
    tasks = [task_of(name) for name in rows if name != HOLD]
    return len(set(tasks)) < len(tasks)


@dataclass(slots=True)
class StandIns:
    """Those of the last audits. `problems`: what is to be told of them."""

    problems: tuple[pb.Problem, ...] = ()
    _found: dict[str, Counter[str]] = field(default_factory=dict)
    _looks: Counter[str] = field(default_factory=Counter)

    def note(self, backend: str, found: Counter[str]) -> None:
        """How it is with one of core's backends, until it is noted again."""
        self._found.pop(backend, None)
        if found:
            self._found[backend] = found

    def look(self, deadline: float, apart: Collection[str] = ()) -> bool:
        """An audit is over; whether there is something new to tell, services in `apart` apart. `deadline`: seconds
        for which what was before may stand in."""
        services = {service for found in self._found.values() for service in found} - set(apart)
        self._looks = Counter({service: self._looks[service] + 1 for service in services})
        late = sorted(service for service, looks in self._looks.items() if looks >= LOOKS)
        before, self.problems = self.problems, tuple(_problem(service, deadline) for service in late)
        return self.problems != before


def _problem(service: str, deadline: float) -> pb.Problem:
    return pb.Problem(
        service=service,
        message="its tasks are not ready by the labels of now: those of before are in effect, "
        f"for {deadline:g} s after the change at the longest, then requests are refused",
        remedy="look at port, protocol and health_check_*: do the tasks answer there?",
    )
