"""What one extension has, and what it is to get next. Pure: no gRPC, no clock, no store.

The rules (proto/l7/v1/sync.proto tells them to the other side):
 * An extension without a revision, or with one that is too old, gets the whole state.
 * One with a known revision gets the difference, as one update; at its Hello even an empty one, which tells
   it that it is up to date.
 * A refused revision is not sent again. The next one is sent whole, because what an extension holds after
   it refused something is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from l7.model import Delta, Problem, Snapshot
from l7.status import ClusterView

Since = Callable[[str], Delta | None]
"""From a revision to the current state, as one delta; None when unknown."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks and what it holds, see l7.v1.Hello. `serves`: it is a proxy, not the extension service."""

    cluster: str
    instance: str
    software: str = ""
    proxy: str = ""
    revision: str = ""
    serves: bool = True


@dataclass(frozen=True, slots=True)
class Ack:
    """A revision is in effect; `apply_microseconds` as in l7.v1.Ack."""

    revision: str
    apply_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class Nack:
    """A revision was refused as a whole."""

    revision: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a proxy sees a server: "up", "down", "maintenance" or "gone". Of the extension service: how most proxies
    do; `up` of `proxies` see it up, 0 where all agree."""

    backend: str
    task: str
    status: str
    up: int = 0
    proxies: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one proxy since its start, see l7.v1.Counters."""

    reloads: int = 0
    drift: int = 0
    held_requests: int = 0
    worker_pid: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """Changed verdicts, and the counters when they were sent; of the extension service, the totals of `cluster`."""

    verdicts: tuple[Verdict, ...] = ()
    counters: Counters | None = None
    cluster: ClusterView | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a proxy can't do of what users asked for, whole; `problems` are of the cluster of the stream."""

    problems: tuple[Problem, ...] = ()


Message = Hello | Ack | Nack | Health | Report


class Whole(Enum):
    """Stands for the complete state, which is made only when it is sent."""

    WHOLE = "whole"


WHOLE = Whole.WHOLE


@dataclass(frozen=True, slots=True)
class Session:
    """One stream. `held`: the revision the extension has once everything sent has arrived, "" when unknown.

    `greeted`: a Hello still waits for its answer. `observed`: sent and unacknowledged revisions with the
    time at which core learnt of their first change.
    """

    hello: Hello
    held: str = ""
    acked: str = ""
    refused: str = ""
    greeted: bool = True
    observed: tuple[tuple[str, int], ...] = ()


PENDING = 64
"""So many unacknowledged revisions are remembered; older ones are forgotten, at the loss of a measurement."""


def opened(hello: Hello) -> Session:
    """A stream after its first Hello."""
    return Session(hello=hello, held=hello.revision)


def greeted_again(session: Session, hello: Hello) -> Session:
    """A Hello on a running stream: the extension lost its chain and says what it holds now."""
    return replace(session, hello=hello, held=hello.revision, refused="", greeted=True)


def acknowledged(session: Session, ack: Ack) -> Session:
    """The revision is in effect, and what was sent before it no longer waits."""
    revisions = [revision for revision, _ in session.observed]
    rest = session.observed
    if ack.revision in revisions:
        rest = rest[revisions.index(ack.revision) + 1 :]
    refused = "" if session.refused == ack.revision else session.refused
    return replace(session, acked=ack.revision, refused=refused, observed=rest)


def refused(session: Session, nack: Nack) -> Session:
    """The revision is not sent again; if nothing later is on its way, the next update is a whole one."""
    rest = tuple(pair for pair in session.observed if pair[0] != nack.revision)
    held = "" if session.held == nack.revision else session.held
    return replace(session, refused=nack.revision, held=held, observed=rest)


def observed_at(session: Session, revision: str) -> int:
    """When core learnt of the first change in a sent, unacknowledged revision; 0 when unknown."""
    return dict(session.observed).get(revision, 0)


def next_update(session: Session, current: str, since: Since) -> Delta | Whole | None:
    """What to send now, when `current` is the current revision ("" when nothing is known)."""
    if not current:
        return None
    if current in (session.refused, session.held) and not session.greeted:
        return None
    difference = since(session.held) if session.held else None
    return WHOLE if difference is None else difference


def sent(session: Session, update: Snapshot | Delta) -> Session:
    """After the update was handed to the transport. What was refused before it may be sent again later."""
    if isinstance(update, Delta):
        revision, observed = update.results_in, update.observed
    else:
        revision, observed = update.revision, 0
    pending = (*session.observed, (revision, observed))[-PENDING:]
    return replace(session, held=revision, refused="", greeted=False, observed=pending)
