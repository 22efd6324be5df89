"""Which of the wanted certificates can be had: OpenSSL itself reads the files of the secrets, host by host, so that
a bad one costs its own host and not the whole configuration."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l7.v1 import sync_pb2 as pb
from nginx.state import State
from nginx.ways import key_of

PREFIX = "com.docker.lb."


@dataclass(frozen=True, slots=True)
class Material:
    """`certified`: hosts that can have TLS; `secrets`: what all files of the configuration name, by id. `lacking`:
    something is not there yet."""

    certified: frozenset[str]
    secrets: dict[str, pb.Secret]
    problems: tuple[pb.Problem, ...] = ()
    lacking: bool = False


def look(state: State, directory: Path) -> Material:
    """`directory`: with the secrets, files named by id."""
    certified, secrets = set[str](), dict[str, pb.Secret]()
    problems: list[pb.Problem] = []
    lacking = False
    for name, host in sorted(state.tls_hosts.items()):
        named = list(_named(host))
        missing = [each for each in named if not (directory / each.id).is_file()]
        reason = "" if missing else _reason(host, directory)
        lacking |= bool(missing)
        problems += [_missing(host, each) for each in missing]
        if reason:
            problems.append(_bad(host, reason))
        elif not missing:
            certified.add(name)
            secrets |= {each.id: each for each in named}
    of_tasks = {each.id: each for each in _of_tasks(state) if (directory / each.id).is_file()}
    return Material(frozenset(certified), secrets | of_tasks, tuple(problems), lacking)


def _named(host: pb.TlsHost) -> Iterator[pb.Secret]:
    yield host.certificate.certificate
    if host.certificate.HasField("key"):
        yield host.certificate.key
    if host.HasField("client_ca"):
        yield host.client_ca


def _of_tasks(state: State) -> Iterator[pb.Secret]:
    """What proves tasks, and proves proxies to them."""
    for backend in state.backends.values():
        for own in backend.settings.server_settings:
            if own.protocol == pb.PROTOCOL_HTTPS and own.HasField("tls_ca"):
                yield own.tls_ca
            if own.protocol == pb.PROTOCOL_HTTPS and own.HasField("tls_certificate"):
                yield own.tls_certificate.certificate
                yield key_of(own.tls_certificate)


def _reason(host: pb.TlsHost, directory: Path) -> str:
    """Why OpenSSL does not take them, "" when it does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        pair = host.certificate
        context.load_cert_chain(directory / pair.certificate.id, directory / key_of(pair).id, _no_password)
        if host.HasField("client_ca"):
            context.load_verify_locations(directory / host.client_ca.id)
    except (ssl.SSLError, OSError, ValueError) as error:
        return str(error.args[1] if len(error.args) > 1 else error)
    return ""


def _no_password() -> str:
    """A key that wants one can't be read: nobody is there to ask."""
    raise ValueError("the private key is encrypted")


def _bad(host: pb.TlsHost, reason: str) -> pb.Problem:
    message = f"no TLS for {host.host}: certificate, key or CA can't be read: {reason}"
    remedy = "make a secret of a certificate with its chain and key (PEM), and name that in the label"
    return pb.Problem(service=host.service, label=f"{PREFIX}ssl_cert", message=message, remedy=remedy)


def _missing(host: pb.TlsHost, secret: pb.Secret) -> pb.Problem:
    message = f"{'config' if secret.config else 'secret'} {secret.name} is not attached to the extension service"
    remedy = "core attaches it: see its log, and docker service ps of the extension service"
    return pb.Problem(service=host.service, label=f"{PREFIX}ssl_cert", message=message, remedy=remedy)
