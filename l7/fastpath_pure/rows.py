"""A server as it is wanted, as the proxy has it, and the commands that lead from one to the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

PENDING, READY, LEAVING = 1, 2, 3
"""Values of l7.v1.ServerState."""

HOLD = "hold"
"""The placeholder of a backend, which is not decided here: no command while nobody wants a server of this name."""

FORCED_MAINT, FORCED_DRAIN = 0x01, 0x08
MAINTENANCE = 0x23
"""Bits of srv_admin_state: maintenance that is forced, inherited or for want of an address."""
OUT = 0x3B
"""These, and drain: it takes no new requests."""
CHECKED = 0x04
"""Bit of srv_check_state: HAProxy's own checks are on."""
STOPPED, RUNNING = 0, 2
"""Values of srv_op_state."""

LONGEST_NAME = 200
_NAME = re.compile(r"[A-Za-z0-9._:-]+")


def checked_name(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that HAProxy takes, else ValueError."""
    if len(name) > longest or not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of a backend or server")
    return name


def checked_number(what: str, value: int, low: int, high: int) -> int:
    """A number in bounds, else ValueError."""
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is not {low} to {high}")
    return value


def parse_address(text: str) -> Address:
    """An IPv4 or IPv6 address without a zone, else ValueError."""
    if "%" in text:
        raise ValueError(f"{text[:80]!r} is no IP address")
    return ip_address(text)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server as core wants it; fields as in l7.v1.Server, `stop_in` in milliseconds."""

    id: int
    address: Address
    port: int
    weight: int
    state: int
    stop_in: int
    service: int


def wanted(id: int, address: str, port: int, weight: int, state: int, stop_in: int, service: int) -> Wanted:  # noqa: PLR0913
    """Checked: ValueError for what HAProxy would not take."""
    return Wanted(
        checked_number("id", id, 1, 2**31 - 1),
        parse_address(address),
        checked_number("port", port, 1, 65535),
        checked_number("weight", weight, 0, 256),
        checked_number("state", state, PENDING, LEAVING),
        checked_number("stop_in", stop_in, 0, 2**32 - 1),
        checked_number("service", service, 0, 65535),
    )


@dataclass(frozen=True, slots=True)
class There:
    """A server as `show servers state` has it. `address` None: it has none, which HAProxy shows as `-`."""

    id: int
    address: Address | None
    port: int
    weight: int
    admin: int
    op: int
    check: int

    @property
    def commanded(self) -> tuple[object, ...]:
        """What only a command changes."""
        return self.id, self.address, self.port, self.weight, self.admin


class Verb(Enum):
    """Commands in the order in which those of one backend are given: make before break."""

    ADD = "add server"
    WEIGHT = "set weight"
    ENABLE = "enable server"
    HEALTH = "enable health"
    DISABLE = "disable server"
    DELETE = "del server"


PHASES = ((Verb.ADD,), (Verb.WEIGHT,), (Verb.ENABLE, Verb.HEALTH), (Verb.DISABLE,), (Verb.DELETE,))


def verbs(want: Wanted | None, there: There | None) -> set[Verb]:
    """What has to be said of a server. One that is there with another id, address or port is in the way: it goes,
    and is added anew once it has gone."""
    if there is None:
        return _adding(want) if want is not None else set()
    if want is None or (want.id, want.address, want.port) != (there.id, there.address, there.port):
        return {Verb.DELETE} if there.admin & MAINTENANCE else {Verb.DISABLE, Verb.DELETE}
    found = {Verb.WEIGHT} if want.weight != there.weight else set()
    if want.state == READY:
        if there.admin & (FORCED_MAINT | FORCED_DRAIN):
            found.add(Verb.ENABLE)
        if not there.check & CHECKED:
            found.add(Verb.HEALTH)
    elif want.state == LEAVING and not there.admin & OUT:
        found.add(Verb.DISABLE)
    return found


def _adding(want: Wanted) -> set[Verb]:
    if want.state == LEAVING:
        return set()
    return {Verb.ADD, Verb.ENABLE, Verb.HEALTH} if want.state == READY else {Verb.ADD}


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was sent. `want`: what was wanted of the server then; None of one that nobody wants."""

    verb: Verb
    backend: str
    server: str
    want: Wanted | None
    keywords: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.backend, self.server

    @property
    def line(self) -> bytes:
        """Its text, as `haproxy.runtime.codec` writes it."""
        return (_TEXTS[self.verb](f"{self.backend}/{self.server}", self) + "\n").encode()

    def result(self, there: There | None) -> There | None:
        """The server once HAProxy has done it. One that was never there is not changed, but by being added."""
        if self.verb is Verb.ADD and self.want is not None:
            want = self.want
            return There(want.id, want.address, want.port, want.weight, FORCED_MAINT, STOPPED, 0)
        return _EFFECTS[self.verb](there, self) if there is not None else None


def _add_text(server: str, command: Command) -> str:
    want = command.want
    assert want is not None
    host = f"[{want.address}]" if want.address.version == 6 else str(want.address)
    words = f" {command.keywords}" if command.keywords else ""
    return f"add server {server} {host}:{want.port} id {want.id} weight {want.weight}{words}"


def _weight(command: Command) -> int:
    return command.want.weight if command.want is not None else 0


_TEXTS: dict[Verb, Callable[[str, Command], str]] = {
    Verb.ADD: _add_text,
    Verb.WEIGHT: lambda server, command: f"set server {server} weight {_weight(command)}",
    Verb.ENABLE: lambda server, _: f"set server {server} state ready",
    Verb.HEALTH: lambda server, _: f"enable health {server}",
    Verb.DISABLE: lambda server, _: f"set server {server} state maint",
    Verb.DELETE: lambda server, _: f"del server {server}",
}

_EFFECTS: dict[Verb, Callable[[There, Command], There | None]] = {
    Verb.WEIGHT: lambda there, command: replace(there, weight=_weight(command)),
    Verb.ENABLE: lambda there, _: replace(there, admin=there.admin & ~(FORCED_MAINT | FORCED_DRAIN), op=RUNNING),
    Verb.HEALTH: lambda there, _: replace(there, check=there.check | CHECKED),
    Verb.DISABLE: lambda there, _: replace(there, admin=there.admin & ~FORCED_DRAIN | FORCED_MAINT, op=STOPPED),
    Verb.DELETE: lambda there, _: None,
}
