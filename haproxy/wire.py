"""Between the messages of `l7.v1` and the values of `haproxy.model`: the extension's only converter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from haproxy.model import (
    Backend,
    Balance,
    Canary,
    ClientCertificate,
    Desired,
    HealthCheck,
    KeyPair,
    Protocol,
    ProxyHeader,
    Redirect,
    RetryOn,
    Route,
    Secret,
    Server,
    ServerSettings,
    ServerState,
    TlsHost,
)
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb


def server_from(message: pb.Server) -> Server:
    """One server. Raises ProtocolError for a state that this version does not know."""
    try:
        state = ServerState(message.state)
    except ValueError as error:
        raise ProtocolError(f"server {message.task}: unknown state {message.state}") from error
    return Server(
        task=message.task,
        id=message.id,
        address=message.address,
        port=message.port,
        weight=message.weight,
        state=state,
        stop_in=message.stop_in_milliseconds,
        service=message.service,
    )


def with_settings(backend: Backend, message: pb.BackendSettings) -> Backend:
    """`backend` with other settings and the same servers. Raises ProtocolError for a value that is unknown."""
    check = message.health_check
    try:
        return replace(
            backend,
            services=tuple(message.services),
            expected=message.expected,
            balance=Balance(message.balance),
            retry_on=RetryOn(message.retry_on),
            check=HealthCheck(check.path, check.host, tuple(check.statuses))
            if message.HasField("health_check")
            else None,
            settings=tuple(map(_server_settings_from, message.server_settings)),
            tcp=message.tcp,
        )
    except ValueError as error:
        raise ProtocolError(f"settings of backend {backend.name}: {error}") from error


def route_from(message: pb.Route) -> Route:
    """One route. Raises ProtocolError for a canary that names neither header nor cookie."""
    redirect = message.redirect
    return Route(
        message.host,
        message.path,
        message.backend,
        message.strip_path,
        message.rules,
        Redirect(redirect.scheme, redirect.location) if message.HasField("redirect") else None,
        tuple(map(_canary_from, message.canaries)),
    )


def tls_host_from(message: pb.TlsHost) -> TlsHost:
    """One host. Raises ProtocolError for one without a certificate, or with a value that is unknown."""
    try:
        return TlsHost(
            message.host,
            message.service,
            _pair_from(message.certificate),
            ClientCertificate(message.client_certificate),
            secret_from(message.client_ca) if message.HasField("client_ca") else None,
        )
    except ValueError as error:
        raise ProtocolError(f"TLS of {message.host}: {error}") from error


def secret_from(message: pb.Secret) -> Secret:
    return Secret(message.id, message.name, message.config)


def changes_from(desired: Desired) -> pb.Changes:
    """The whole of `desired` as one message, to be kept on tmpfs for a restart without core."""
    return pb.Changes(
        backends=[_backend_to(desired.backends[name]) for name in sorted(desired.backends)],
        routes=[_route_to(desired.routes[key]) for key in sorted(desired.routes)],
        rules=[desired.rules[name] for name in sorted(desired.rules)],
        config=pb.Config(json=desired.config),
        tls_hosts=[_tls_host_to(desired.tls_hosts[host]) for host in sorted(desired.tls_hosts)],
        challenges=[
            pb.Challenge(token=token, key_authorization=text) for token, text in sorted(desired.challenges.items())
        ],
        secret_sources=pb.SecretSources(addresses=desired.secret_sources),
    )


def _backend_to(backend: Backend) -> pb.Backend:
    return pb.Backend(
        name=backend.name,
        settings=_settings_to(backend),
        servers=_servers_to(backend.servers[task] for task in sorted(backend.servers)),
    )


def _settings_to(backend: Backend) -> pb.BackendSettings:
    message = pb.BackendSettings(
        services=backend.services,
        expected=backend.expected,
        balance=pb.Balance.Name(backend.balance),
        retry_on=pb.RetryOn.Name(backend.retry_on),
        server_settings=map(_server_settings_to, backend.settings),
        tcp=backend.tcp,
    )
    if (check := backend.check) is not None:
        message.health_check.CopyFrom(pb.HealthCheck(path=check.path, host=check.host, statuses=check.statuses))
    return message


def _server_settings_to(settings: ServerSettings) -> pb.ServerSettings:
    message = pb.ServerSettings(
        protocol=pb.Protocol.Name(settings.protocol),
        check_port=settings.check_port,
        check_interval_milliseconds=settings.check_interval,
        check_rise=settings.check_rise,
        check_fall=settings.check_fall,
        slow_start_milliseconds=settings.slow_start,
        max_connections=settings.max_connections,
        max_fails=settings.max_fails,
        fail_timeout_milliseconds=settings.fail_timeout,
        drain_timeout_milliseconds=settings.drain_timeout,
        tls_name=settings.tls_name,
        proxy_header=pb.ProxyHeader.Name(settings.proxy_header),
    )
    if settings.tls_ca is not None:
        message.tls_ca.CopyFrom(_secret_to(settings.tls_ca))
    if settings.tls_certificate is not None:
        message.tls_certificate.CopyFrom(_pair_to(settings.tls_certificate))
    return message


def _server_settings_from(message: pb.ServerSettings) -> ServerSettings:
    return ServerSettings(
        Protocol(message.protocol),
        message.check_port,
        message.check_interval_milliseconds,
        message.check_rise,
        message.check_fall,
        message.slow_start_milliseconds,
        message.max_connections,
        message.max_fails,
        message.fail_timeout_milliseconds,
        message.drain_timeout_milliseconds,
        secret_from(message.tls_ca) if message.HasField("tls_ca") else None,
        message.tls_name,
        _pair_from(message.tls_certificate) if message.HasField("tls_certificate") else None,
        ProxyHeader(message.proxy_header),
    )


def _pair_from(message: pb.KeyPair) -> KeyPair:
    if not message.certificate.id:
        raise ValueError("a certificate without an id")
    key = secret_from(message.key) if message.HasField("key") else None
    return KeyPair(secret_from(message.certificate), key)


def _pair_to(pair: KeyPair) -> pb.KeyPair:
    key = None if pair.key is None else _secret_to(pair.key)
    return pb.KeyPair(certificate=_secret_to(pair.certificate), key=key)


def _secret_to(secret: Secret) -> pb.Secret:
    return pb.Secret(id=secret.id, name=secret.name, config=secret.config)


def _tls_host_to(host: TlsHost) -> pb.TlsHost:
    return pb.TlsHost(
        host=host.host,
        service=host.service,
        certificate=_pair_to(host.certificate),
        client_certificate=pb.ClientCertificate.Name(host.client_certificate),
        client_ca=None if host.client_ca is None else _secret_to(host.client_ca),
    )


def _canary_from(message: pb.Canary) -> Canary:
    source = message.WhichOneof("by")
    if source is None:
        raise ProtocolError(f"a canary of {message.backend} without header and cookie")
    return Canary(message.backend, source, getattr(message, source), message.value)


def _canary_to(canary: Canary) -> pb.Canary:
    message = pb.Canary(backend=canary.backend, value=canary.value)
    setattr(message, canary.source, canary.name)
    return message


def _servers_to(servers: Iterable[Server]) -> list[pb.Server]:
    return [
        pb.Server(
            task=server.task,
            id=server.id,
            address=server.address,
            port=server.port,
            weight=server.weight,
            state=pb.ServerState.Name(server.state),
            stop_in_milliseconds=server.stop_in,
            service=server.service,
        )
        for server in servers
    ]


def _route_to(route: Route) -> pb.Route:
    message = pb.Route(
        host=route.host,
        path=route.path,
        backend=route.backend,
        strip_path=route.strip_path,
        rules=route.rules,
        canaries=map(_canary_to, route.canaries),
    )
    if route.redirect is not None:
        message.redirect.CopyFrom(pb.Redirect(scheme=route.redirect.scheme, location=route.redirect.location))
    return message
