"""What is told about hosts that have no certificate from an ACME server, or none of late. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from l7.acme.orders import SERVER
from l7.labels.grammar import printable
from l7.labels.table import PREFIX
from l7.model import Problem

LABEL = PREFIX + "acme"
_TEXT = 480

_SERVER_REMEDY = "see [ACME] in the TOML file: Directory, CAFile; core must reach the server; it is tried again"
_HOST_REMEDY = "the host must lead to the proxies, and the ACME server reach their port 80; it is tried again"
_REMEDIES = {
    "rateLimited": "nothing: it is tried again when the server allows it",
    "rejectedIdentifier": "the server issues none for this name: use ssl_cert",
    "malformed": "the server issues none for this name: use ssl_cert",
    "caa": "the CAA record of the name must admit this CA; it is tried again",
}

Wanted = Mapping[str, Mapping[str, str]]
"""By service cluster: host -> name of the service."""


def of(wanted: Wanted, failures: Mapping[str, tuple[str, str]], due: Collection[str]) -> tuple[Problem, ...]:
    """`failures`: (message, kind of error) by host; of `SERVER`: it holds up all that are due."""
    return tuple(sorted(_found(wanted, failures, due)))


def _found(
    wanted: Wanted, failures: Mapping[str, tuple[str, str]], due: Collection[str]
) -> Iterator[Problem]:
    for cluster, host, service in _each(wanted):
        if host in failures:
            message, kind = failures[host]
            yield _problem(cluster, host, service, message, _REMEDIES.get(kind, _HOST_REMEDY))
        elif SERVER in failures and host in due:
            yield _problem(cluster, host, service, failures[SERVER][0], _SERVER_REMEDY)


def _each(wanted: Wanted) -> Iterator[tuple[str, str, str]]:
    return ((cluster, host, service) for cluster, hosts in wanted.items() for host, service in hosts.items())


def _problem(cluster: str, host: str, service: str, message: str, remedy: str) -> Problem:
    text = printable(f"no certificate for {host}: {message}", _TEXT)
    return Problem(service, LABEL, printable(host), text, remedy, cluster, fatal=False)
