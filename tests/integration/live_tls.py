"""A real HAProxy that terminates TLS with certificates of the test's own making, and clients of it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from haproxy import tls
from haproxy.credentials import NO_CREDENTIALS, Credentials
from haproxy.model import Backend, ClientCertificate, Desired, Route, Secret, Server, ServerSettings
from haproxy.settings import Settings
from l7.v1 import sync_pb2 as pb
from testbed.certificates import Issued, TestAuthority
from tests.integration.live_haproxy import (
    PATIENCE,
    Answer,
    LiveHAProxy,
    application,
    await_true,
    free_port,
    receive,
    running,
    send,
)

HANDSHAKE_REFUSED = (ssl.SSLError, ConnectionError)


@dataclass(frozen=True)
class Host:
    """What a host has; all of it is in HAProxy from its start."""

    certificate: Issued
    client: ClientCertificate = ClientCertificate.NONE
    client_ca: bytes = b""


@dataclass
class Setup:
    """What HAProxy starts with, below `directory`."""

    directory: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    backends: dict[str, Backend] = field(default_factory=dict)
    rules: dict[str, pb.Rules] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    authorities: dict[Secret, bytes] = field(default_factory=dict)
    identities: dict[str, bytes] = field(default_factory=dict)
    credentials: Credentials = NO_CREDENTIALS

    @property
    def settings(self) -> Settings:
        return Settings(run_dir=str(self.directory))

    def stores(self) -> tls.Stores:
        """Certificates of all hosts, and whose clients they ask for."""
        entries, certificates = [], {}
        authorities = {tls.authority_store(self.settings, each): pem for each, pem in self.authorities.items()}
        for name, host in self.hosts.items():
            store = tls.certificate_store(self.settings, name)
            certificates[store] = host.certificate.combined
            ca = ""
            if host.client_ca:
                ca = tls.authority_store(self.settings, Secret(f"ca{len(authorities)}", "ca"))
                authorities[ca] = host.client_ca
            entries.append(tls.Entry(store, name, host.client, ca))
        return tls.Stores(certificates, authorities, self.identities, tuple(entries), self.credentials)

    def desired(self) -> Desired:
        routes = {(route.host, route.path): route for route in self.routes}
        return Desired("r", self.backends, routes, self.rules, challenges=self.challenges)

    def serve(self, name: str, port: int, settings: ServerSettings | None = None, tcp: bool = False) -> None:
        """A backend with one server on loopback."""
        servers = {"t": Server("t", 1, "127.0.0.1", port)}
        own = (settings,) if settings else ()
        self.backends[name] = Backend(name, (name,), expected=False, settings=own, servers=servers, tcp=tcp)


@dataclass
class LiveTls:
    """`address`: of the TLS listener."""

    proxy: LiveHAProxy
    address: tuple[str, int]
    directory: Path

    def ask(
        self,
        host: str,
        target: str = "/",
        *headers: str,
        context: ssl.SSLContext | None = None,
        sni: str | None = "",
    ) -> Answer:
        """One request over a TLS connection of its own. `sni`: `host` unless said; None: no name."""
        with self.connected(host if sni == "" else sni, context) as connection:
            send(connection, target, f"host: {host}", *headers)
            return receive(connection)

    def plainly(self, host: str, target: str = "/", *headers: str) -> Answer:
        """One request without TLS."""
        with socket.create_connection(self.proxy.address, timeout=PATIENCE) as connection:
            send(connection, target, f"host: {host}", *headers)
            return receive(connection)

    @contextmanager
    def connected(
        self, sni: str | None, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> Iterator[ssl.SSLSocket]:
        """A connection after its handshake."""
        with socket.create_connection(self.address, timeout=PATIENCE) as plain:
            with (context or client()).wrap_socket(plain, server_hostname=sni, session=session) as connection:
                yield connection

    def shown(self, sni: str | None) -> str:
        """Fingerprint of the certificate that is shown for a name; "" when the handshake is refused."""
        try:
            with self.connected(sni) as connection:
                return fingerprint(connection)
        except HANDSHAKE_REFUSED:
            return ""

    def logged(self) -> list[dict[str, Any]]:
        """The log, as far as it is JSON."""
        text = (self.directory / "log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def await_logged(self, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """The first such line."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [line for line in self.logged() if wanted(line)]
            return bool(found)

        await_true(there, "a line of the log")
        return found[0]


def fingerprint(connection: ssl.SSLSocket) -> str:
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).fingerprint(SHA256()).hex()


def client(
    identity: Path | None = None, ca: bytes = b"", version: ssl.TLSVersion | None = None, *protocols: str
) -> ssl.SSLContext:
    """Trusts `ca`, or whatever is shown; shows `identity`, a PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(cadata=ca.decode())
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity:
        context.load_cert_chain(identity)
    if version:
        context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def identity(directory: Path, authority: TestAuthority, name: str) -> Path:
    """A file with a client's certificate and key."""
    path = directory / f"{name}.pem"
    path.write_bytes(authority.issue(common_name=name).combined)
    return path


@contextmanager
def live_tls(binary: Path, setup: Setup, **settings: Any) -> Iterator[LiveTls]:
    """With an application `web`, to which everything goes that has no route of its own."""
    with ExitStack() as stack:
        setup.serve("web", stack.enter_context(application("web")))
        if not setup.routes:
            setup.routes = [Route("*", "/", "web")]
        address = ("127.0.0.1", free_port())
        bind = {"tls_bind": (f"127.0.0.1:{address[1]}",), **settings}
        proxy = stack.enter_context(
            running(binary, setup.directory, setup.desired(), stores=setup.stores(), **bind)
        )
        yield LiveTls(proxy, address, setup.directory)


def of(authority: TestAuthority, *names: str) -> dict[str, Host]:
    """Hosts with a certificate each."""
    return {name: Host(authority.issue(name)) for name in names}


def asking(host: Host, client: ClientCertificate, authority: TestAuthority) -> Host:
    """The same host, which wants to know its clients."""
    return replace(host, client=client, client_ca=authority.certificate)
