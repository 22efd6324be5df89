"""What labels say together about TLS and passwords. What can't be had together is noted, or refused where less
protection than was asked for would be left. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from l7.labels import request_labels as requests
from l7.labels import routing_labels as routing
from l7.labels import server_labels as servers
from l7.labels import settings
from l7.labels import tls_labels as tls
from l7.labels.grammar import Bad
from l7.labels.label import Label
from l7.labels.reading import Reading
from l7.labels.spec import NO_TLS, RedirectSpec, RouteSpec, TlsSpec
from l7.model import ClientCertificate, Protocol, Rules

_HTTPS_REDIRECT = (requests.HTTPS_REDIRECT.key, tls.SSL_ONLY.key)
_BESIDE_PASSTHROUGH = frozenset(
    (routing.HOSTS.key, routing.REDIRECTS.key, tls.SSL_PASSTHROUGH.key, *_HTTPS_REDIRECT)
)
"""Labels about HTTP that work where TLS is passed through."""
_OF_TASKS: tuple[Label[object], ...] = (
    tls.SSL_BACKEND_CA,
    tls.SSL_BACKEND_NAME,
    tls.SSL_BACKEND_CERT,
    tls.SSL_BACKEND_KEY,
)


def read_tls(reading: Reading, spec: RouteSpec, service: str) -> RouteSpec:
    """With TLS and passwords; `spec` is the rest of what a service with HTTP asks for."""
    hosts = reading.get(routing.HOSTS, ())
    name = next((host for host in hosts if not host.startswith("*")), "")
    asked = TlsSpec(
        certificate=_certificate(reading),
        key=_key(reading),
        acme=_acme(reading),
        basic_auth=reading.get(tls.BASIC_AUTH, ""),
    )
    asked = _with_clients(reading, asked)
    protocol = _protocol(reading, spec.server.protocol)
    server = spec.server
    if protocol is Protocol.HTTPS:
        server = replace(server, protocol=protocol, tls_name=reading.get(tls.SSL_BACKEND_NAME, name))
        asked = _with_tasks(reading, asked, server.tls_name)
    elif not _unreadable(reading, tls.SSL_BACKEND, servers.PROTOCOL):
        _note_clear(reading)
    realm = _realm(reading, name or service or "l7")
    rules = replace(spec.rules, basic_auth_realm=realm, client_certificate=asked.client)
    return replace(spec, tls=asked, server=server, rules=rules)


# ---------------------------------------------------------------- towards clients


def _certificate(reading: Reading) -> str:
    """Name of the secret; "" where it means nothing."""
    if reading.has(tls.SSL_KEY) and not reading.has(tls.SSL_CERT):
        remedy = f"add {tls.SSL_CERT.key}, or remove it"
        reading.note(tls.SSL_KEY, "has no effect without ssl_cert", remedy)
    if reading.has(routing.HOSTS):
        return reading.get(tls.SSL_CERT, "")
    remedy = f"add {routing.HOSTS.key}, or remove it; for unknown hosts the settings have DefaultCertificate"
    reading.note_if(tls.SSL_CERT, "has no effect without hosts", remedy)
    return ""


def _key(reading: Reading) -> str:
    return reading.get(tls.SSL_KEY, "") if reading.has(tls.SSL_CERT) and reading.has(routing.HOSTS) else ""


def _acme(reading: Reading) -> bool:
    """Whether there is at least one host to get a certificate for."""
    if not reading.get(tls.ACME, False):
        return False
    hosts = reading.get(routing.HOSTS, ())
    wild = [host for host in hosts if host.startswith("*")]
    if not reading.has(routing.HOSTS):
        reading.note(tls.ACME, "has no effect without hosts", f"add {routing.HOSTS.key}, or remove it")
    elif reading.has(tls.SSL_CERT):
        reading.note(tls.ACME, "has no effect beside ssl_cert", f"remove one of the two: {tls.SSL_CERT.key} holds")
        return False
    elif wild:
        message = f"has no effect for {wild[0]}: no certificate for a wildcard can be had by HTTP"
        reading.note(tls.ACME, message, f"give such hosts to a service with {tls.SSL_CERT.key}")
    return len(hosts) > len(wild)


def _with_clients(reading: Reading, asked: TlsSpec) -> TlsSpec:
    """Whether clients need a certificate. What can't be verified is refused, so that nobody gets in instead."""
    verify = reading.get(tls.SSL_CLIENT_VERIFY, ClientCertificate.REQUIRED)
    if not reading.has(tls.SSL_CLIENT_CA):
        remedy = f"add {tls.SSL_CLIENT_CA.key}, or remove it"
        if verify is ClientCertificate.OPTIONAL:
            reading.note(tls.SSL_CLIENT_VERIFY, "has no effect without ssl_client_ca", remedy)
        elif reading.has(tls.SSL_CLIENT_VERIFY):
            _refuse(reading, tls.SSL_CLIENT_VERIFY, "has no CA to verify clients by", remedy)
        return asked
    if not (asked.certificate or asked.acme) and not _unreadable(reading, tls.SSL_CERT, routing.HOSTS, tls.ACME):
        message = "asks for certificates of clients, but there is no TLS by which they could show one"
        _refuse(reading, tls.SSL_CLIENT_CA, message, f"add {tls.SSL_CERT.key}, or {tls.ACME.key}=true")
    return replace(asked, client=verify, client_ca=reading.get(tls.SSL_CLIENT_CA, ""))


def _realm(reading: Reading, default: str) -> str:
    if reading.has(tls.BASIC_AUTH):
        return reading.get(tls.BASIC_AUTH_REALM, default)
    remedy = f"add {tls.BASIC_AUTH.key}, or remove it"
    reading.note_if(tls.BASIC_AUTH_REALM, "has no effect without basic_auth", remedy)
    return ""


# ---------------------------------------------------------------- towards tasks


def _protocol(reading: Reading, written: Protocol) -> Protocol:
    """`ssl_backend` wins: what is to be secret never goes in the clear."""
    if not reading.get(tls.SSL_BACKEND, False):
        return written
    if reading.has(servers.PROTOCOL) and written is not Protocol.HTTPS:
        remedy = "remove one of the two; over TLS, tasks that offer HTTP/2 are spoken to by it"
        reading.note(servers.PROTOCOL, "can't be combined with ssl_backend, which holds", remedy)
    return Protocol.HTTPS


def _note_clear(reading: Reading) -> None:
    """Note what is about TLS towards tasks that are spoken to in the clear. No verification is what they get."""
    asked = (tls.SSL_BACKEND_TLS_VERIFY,) if reading.get(tls.SSL_BACKEND_TLS_VERIFY, False) else ()
    for label in (*asked, *_OF_TASKS):
        remedy = f"add {tls.SSL_BACKEND.key}=true, or remove it"
        reading.note_if(label, "has no effect without ssl_backend", remedy)


def _with_tasks(reading: Reading, asked: TlsSpec, name: str) -> TlsSpec:
    """How tasks are verified, and what the proxies prove themselves by."""
    certificate = reading.get(tls.SSL_BACKEND_CERT, "")
    if not reading.has(tls.SSL_BACKEND_CERT):
        remedy = f"add {tls.SSL_BACKEND_CERT.key}, or remove it"
        reading.note_if(tls.SSL_BACKEND_KEY, "has no effect without ssl_backend_cert", remedy)
    key = reading.get(tls.SSL_BACKEND_KEY, "") if certificate else ""
    asked = replace(asked, backend_certificate=certificate, backend_key=key)
    if not reading.get(tls.SSL_BACKEND_TLS_VERIFY, reading.has(tls.SSL_BACKEND_CA)):
        remedy = f"write {tls.SSL_BACKEND_TLS_VERIFY.key}=required, or remove it"
        reading.note_if(tls.SSL_BACKEND_CA, "has no effect with ssl_backend_tls_verify=none", remedy)
        return asked
    if not reading.has(tls.SSL_BACKEND_CA):
        remedy = f"add {tls.SSL_BACKEND_CA.key} with the CA of the tasks' certificates, or write none"
        _refuse(reading, tls.SSL_BACKEND_TLS_VERIFY, "has no CA to verify tasks by", remedy)
    elif not name and not _unreadable(reading, tls.SSL_BACKEND_NAME, routing.HOSTS):
        remedy = f"add {tls.SSL_BACKEND_NAME.key} with the name that the tasks' certificates are for"
        _refuse(reading, tls.SSL_BACKEND_CA, "has no name to verify tasks by", remedy)
    return replace(asked, backend_ca=reading.get(tls.SSL_BACKEND_CA, ""))


# ---------------------------------------------------------------- passed through


def passes_through(reading: Reading) -> bool:
    """Whether the proxies see no request to the service."""
    return reading.get(tls.SSL_PASSTHROUGH, False)


def read_passthrough(reading: Reading, spec: RouteSpec) -> RouteSpec:
    """What is left of it where TLS goes to the tasks as it is."""
    if not reading.has(routing.HOSTS):
        # Whatever has no host is plain HTTP, which would reach the tasks where they expect TLS.
        remedy = f"add {routing.HOSTS.key}, or remove it"
        _refuse(reading, tls.SSL_PASSTHROUGH, "has no hosts that TLS connections could ask for", remedy)
    balance = settings.read_balance(reading)[0] if spec.vip else settings.read_tcp_balance(reading)
    for key, label in reading.rows.items():
        idle = label.tcp or label.idle or key in _BESIDE_PASSTHROUGH
        if not idle and reading.enabled(key) and not reading.told(key):
            message = "has no effect with ssl_passthrough: requests are the application's own affair"
            remedy = f"remove it, or {tls.SSL_PASSTHROUGH.key}"
            reading.note(key, message, remedy)
    return RouteSpec(
        hosts=spec.hosts,
        port=spec.port,
        network=spec.network,
        cluster=spec.cluster,
        redirects=spec.redirects,
        vip=spec.vip,
        weight=spec.weight,
        tcp_port=spec.tcp_port,
        balance=balance,
        server=replace(spec.server, protocol=Protocol.HTTP),
        rules=Rules(https_redirect=settings.read_https_redirect(reading)),
        tls=replace(NO_TLS, passthrough=True),
        written=spec.written,
    )


def in_the_clear(reading: Reading, given: Iterable[RedirectSpec]) -> tuple[RedirectSpec, ...]:
    """Redirects beside passthrough: the proxies see no request to one of `hosts` over TLS."""
    hosts = reading.get(routing.HOSTS, ())
    redirects: list[RedirectSpec] = []
    for each in given:
        if each.host not in hosts:
            redirects.append(each)
        elif each.scheme == "https":
            message = f"names https://{each.host}, which ssl_passthrough leaves to the application"
            reading.note(routing.REDIRECTS, message, "write http:// in front of such a source")
        else:
            redirects.append(replace(each, scheme="http"))
    return tuple(redirects)


def _unreadable(reading: Reading, *labels: Label[object]) -> bool:
    """Whether one of them is there but bad, which is told already."""
    return any(reading.has(label) and reading.get(label, None) is None for label in labels)


def _refuse(reading: Reading, label: Label[object], message: str, remedy: str) -> None:
    reading.refuse(label.key, Bad(message, remedy))
