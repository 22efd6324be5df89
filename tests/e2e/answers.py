"""One request to a proxy, as a client outside all nodes sends it, and what is answered."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a proxy answered. `instance`: the task of the test application that did, "" for none; `error`: why
    the proxy itself answered, "" when it did not."""

    series: str
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def instance(self) -> str:
        return self.headers.get("x-instance", "")

    @property
    def error(self) -> str:
        return self.headers.get("x-l7-error", "")

    @property
    def upstream(self) -> str:
        """The address and port that the proxy sent the request to."""
        return self.headers.get("x-upstream-addr", "")


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. `source`: the client's address, "" for any."""

    host: str
    path: str
    headers: Mapping[str, str]
    source: str


def fetch(series: str, places: Sequence[tuple[str, int]], request: Request) -> Answer:
    """What is answered by the first place that takes the connection."""
    client = http.client.HTTPConnection(places[0][0])
    try:
        client.sock = connected(places, request.source)
        client.putrequest("GET", request.path, skip_host=True, skip_accept_encoding=True)
        client.putheader("Host", request.host)
        client.putheader("Connection", "close")
        for name, value in request.headers.items():
            client.putheader(name, value)
        client.endheaders()
        answer = client.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(series, answer.status, headers, answer.read().decode())
    finally:
        client.close()


def connected(places: Sequence[tuple[str, int]], source: str = "") -> socket.socket:
    """To the first that takes the connection; OSError of the last one when none does."""
    try:
        return socket.create_connection(places[0], 20, (source, 0) if source else None)
    except OSError:
        if len(places) == 1:
            raise
        return connected(places[1:], source)
