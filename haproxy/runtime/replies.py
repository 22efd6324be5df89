"""Did it work? HAProxy answers in prose, differently by command and version; this is the one place that reads it.

Success is only what is known to be success: an empty reply means it for some commands and text for others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from haproxy import ops
from haproxy.ops import Op


class Reason(Enum):
    """Why HAProxy refused, as far as a planner can act on it."""

    ALREADY_EXISTS = "already exists"
    NOT_FOUND = "not found"
    BUSY = "busy"
    """Still has connections or servers: the same command can succeed later."""
    UNSUPPORTED = "unsupported"
    """The command is not known to this version, or not permitted on this socket."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Refusal:
    """HAProxy understood and said no; `text` is its own words, one line."""

    reason: Reason
    text: str


_SUCCESS: dict[type[Op], str] = {
    ops.AddBackend: "New backend registered.",
    ops.PublishBackend: "Backend published.",
    ops.UnpublishBackend: "Backend unpublished.",
    ops.DeleteBackend: "Backend deleted.",
    ops.AddServer: "New server registered.",
    ops.DeleteServer: "Server deleted.",
}
"""All other ops answer nothing when they succeed."""

_REASONS: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (Reason.ALREADY_EXISTS, re.compile(r"^Already exists a server|name is already used by other proxy 'backend ")),
    (
        Reason.NOT_FOUND,
        re.compile(r"^No such |^(?:entry|Key) not found|^Can't find |^Unknown map identifier"),
    ),
    (
        Reason.BUSY,
        re.compile(
            r"^Server still has connections|^Only a backend without server|^Backend still has attached streams"
        ),
    ),
    (Reason.UNSUPPORTED, re.compile(r"^Unknown command|^Permission denied")),
)


def check(op: Op, reply: str) -> Refusal | None:
    """None when `reply` to `op` says that it was done.

    Only the last line with text counts: replies may carry older log lines ahead of their own.
    """
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if _is_unknown_command(lines):
        return Refusal(Reason.UNSUPPORTED, lines[0])
    last = lines[-1] if lines else ""
    if last == _SUCCESS.get(type(op), ""):
        return None
    return Refusal(_reason(last), last or "no answer")


def refusal(reply: str) -> Refusal | None:
    """As `check`, for commands that answer nothing when they succeed."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if not lines:
        return None
    shown = lines[0] if _is_unknown_command(lines) else lines[-1]
    return Refusal(_reason(shown), shown)


def _is_unknown_command(lines: list[str]) -> bool:
    """The only refusal of many lines: the first says it, a list of commands follows."""
    return bool(lines) and lines[0].startswith("Unknown command")


def _reason(text: str) -> Reason:
    return next((reason for reason, pattern in _REASONS if pattern.search(text)), Reason.OTHER)


def is_refused_show(reply: str) -> bool:
    """Whether a command that shows something answered with a refusal instead of data."""
    first = reply.strip().split("\n", 1)[0]
    return any(pattern.search(first) for reason, pattern in _REASONS if reason in _SHOW_REFUSALS)


_SHOW_REFUSALS = (Reason.NOT_FOUND, Reason.UNSUPPORTED)
