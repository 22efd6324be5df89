"""The revision of a state: a digest of its content that costs what changes. Pure.

It is the sum, modulo 2^128, of the digests of all items: the same in whatever order they came. (A sum is no
defence against forgery; none is needed.)
"""

from __future__ import annotations

from hashlib import blake2b

from l7.model import BackendSettings, Route, Rules, Server

_MODULUS = 1 << 128


class Revision:
    """A sum that items enter and leave."""

    def __init__(self, config: bytes) -> None:
        self._sum = _digest("l7 state", 2) + _digest("config", config)

    def __str__(self) -> str:
        """32 hex digits."""
        return f"{self._sum % _MODULUS:032x}"

    def route(self, old: Route | None, new: Route | None) -> None:
        """A route came, changed or went."""
        self._sum += _item("route", new) - _item("route", old)

    def rules(self, old: Rules | None, new: Rules | None) -> None:
        """Rules came, changed or went."""
        self._sum += _item("rules", new) - _item("rules", old)

    def settings(self, name: str, old: BackendSettings | None, new: BackendSettings | None) -> None:
        """Settings of a backend came, changed or went."""
        self._sum += _item(name, new) - _item(name, old)

    def server(self, name: str, old: Server | None, new: Server | None) -> None:
        """A server of the backend `name` came, changed or went."""
        self._sum += _server(name, new) - _server(name, old)


# repr() of a dataclass names all its fields, so that none is forgotten, and is the same everywhere.


def _item(name: str, value: Route | Rules | BackendSettings | None) -> int:
    return 0 if value is None else _digest(name, value)


def _server(name: str, server: Server | None) -> int:
    if server is None:
        return 0
    s = server  # not the dataclass's own repr: there are 100,000 of these
    return _digest("server", name, s.task, s.id, s.address, s.port, s.weight, int(s.state), s.stop_in, s.service)


def _digest(*item: object) -> int:
    return int.from_bytes(blake2b(repr(item).encode("utf-8", "backslashreplace"), digest_size=16).digest(), "big")
