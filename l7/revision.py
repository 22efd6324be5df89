"""The revision of a state: a digest of its content that costs what changes. Pure.

It is the sum, modulo 2^128, of the digests of all items: the same in whatever order they came. (A sum is no
defence against forgery; none is needed.)
"""

from __future__ import annotations

from hashlib import blake2b

from l7.model import BackendSettings, Route, Rules, Server, TlsHost

_MODULUS = 1 << 128


class Revision:
    """A sum that items enter and leave."""

    def __init__(self, config: bytes) -> None:
        self._sum = _digest("l7 state", 3) + _digest("config", config)

    def __str__(self) -> str:
        """32 hex digits."""
        return f"{self._sum % _MODULUS:032x}"

    def config(self, old: bytes, new: bytes) -> None:
        """The operator's settings changed."""
        self._sum += _digest("config", new) - _digest("config", old)

    def route(self, old: Route | None, new: Route | None) -> None:
        """A route came, changed or went."""
        self._sum += _item("route", new) - _item("route", old)

    def rules(self, old: Rules | None, new: Rules | None) -> None:
        """Rules came, changed or went."""
        self._sum += _item("rules", new) - _item("rules", old)

    def tls_host(self, old: TlsHost | None, new: TlsHost | None) -> None:
        """TLS of a host came, changed or went."""
        self._sum += _item("tls", new) - _item("tls", old)

    def challenge(self, token: str, old: str | None, new: str | None) -> None:
        """The answer to an ACME server came, changed or went."""
        self._sum += _challenge(token, new) - _challenge(token, old)

    def sources(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Where secrets are fetched changed; () at the beginning."""
        self._sum += _sources(new) - _sources(old)

    def settings(self, name: str, old: BackendSettings | None, new: BackendSettings | None) -> None:
        """Settings of a backend came, changed or went."""
        self._sum += _item(name, new) - _item(name, old)

    def server(self, name: str, old: Server | None, new: Server | None) -> None:
        """A server of the backend `name` came, changed or went."""
        self._sum += _server(name, new) - _server(name, old)


# repr() of a dataclass names all its fields, so that none is forgotten, and is the same everywhere.


def _item(name: str, value: Route | Rules | TlsHost | BackendSettings | None) -> int:
    return 0 if value is None else _digest(name, value)


def _challenge(token: str, authorization: str | None) -> int:
    return 0 if authorization is None else _digest("challenge", token, authorization)


def _sources(addresses: tuple[str, ...]) -> int:
    return _digest("sources", addresses) if addresses else 0


def _server(name: str, server: Server | None) -> int:
    if server is None:
        return 0
    s = server  # not the dataclass's own repr: there are 100,000 of these
    return _digest("server", name, s.task, s.id, s.address, s.port, s.weight, int(s.state), s.stop_in, s.service)


def _digest(*item: object) -> int:
    return int.from_bytes(blake2b(repr(item).encode("utf-8", "backslashreplace"), digest_size=16).digest(), "big")
