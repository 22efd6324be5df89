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
"""What it is for some ops. That of TLS is below; all others answer nothing when they succeed."""

_TLS_SUCCESS: dict[type[Op], tuple[str, ...]] = {
    ops.NewCertificate: ("New empty certificate store '{0.store}'!",),
    # Of another store it is its transaction that has the PEM now: versions before 3.0.
    ops.SetCertificate: (
        "Transaction created for certificate {0.store}!",
        "Transaction updated for certificate {0.store}!",
    ),
    ops.CommitCertificate: ("Success!",),
    ops.AbortCertificate: ("Transaction aborted for certificate '{0.store}'!", "No ongoing transaction!"),
    ops.DeleteCertificate: ("Certificate '{0.store}' deleted!",),
    ops.AddCrtListEntry: ("Success!",),
    ops.DeleteCrtListEntry: ("Entry '{0.store}' deleted in crtlist '{0.list}'!",),
    ops.NewAuthority: ("New CA file created '{0.store}'!",),
    ops.SetAuthority: (
        "transaction created for CA {0.store}!",
        "transaction updated for CA {0.store}!",
    ),
    ops.CommitAuthority: ("Success!",),
    ops.AbortAuthority: ("Transaction aborted for certificate '{0.store}'!", "No ongoing transaction!"),
    ops.DeleteAuthority: ("CA file '{0.store}' deleted!",),
}

_REASONS: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        Reason.ALREADY_EXISTS,
        re.compile(
            r"^Already exists a server|name is already used by other proxy 'backend "
            r"|^(?:Certificate|CA file) '[^']*' already exists!"
        ),
    ),
    (
        Reason.NOT_FOUND,
        re.compile(
            r"^No such |^(?:entry|Key) not found|^Can't find |^Unknown map identifier"
            r"|^Can't display the |^didn't find the specified filename"
            r"|^Can't (?:remove|delete|edit) the .* (?:does not|doesn't) exist!"
            r"|^Can't delete the entry: .* can't be found"
            r"|^Can't replace a .* not referenced by the configuration!"
        ),
    ),
    (
        Reason.BUSY,
        re.compile(
            r"^Server still has connections|^Only a backend without server|^Backend still has attached streams"
            r"|^Can't remove the .*(?: in use, can't be deleted!|: ongoing transaction)"
            r"|^The ongoing transaction is about "
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
    if type(op) in _TLS_SUCCESS:
        return _check_tls(op, lines)
    if last == _SUCCESS.get(type(op), ""):
        return None
    return Refusal(_reason(last), last or "no answer")


def _check_tls(op: Op, lines: list[str]) -> Refusal | None:
    """The last line says that it failed, those before it why."""
    if lines and lines[-1] in (done.format(op) for done in _TLS_SUCCESS[type(op)]):
        return None
    reasons = (_reason(line) for line in lines)
    known = next((reason for reason in reasons if reason is not Reason.OTHER), Reason.OTHER)
    return Refusal(known, " ".join(lines) or "no answer")


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
