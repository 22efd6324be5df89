"""Settings, routes and rules between the model and the messages of `l7.v1`: the parts of `l7.serve.wire`. Pure."""

from __future__ import annotations

from l7.kit.errors import ProtocolError
from l7.model import (
    BackendSettings,
    Balance,
    Canary,
    ClientCertificate,
    Cors,
    HashKey,
    HashSource,
    HeaderAction,
    HeaderChange,
    HealthCheck,
    KeyPair,
    Protocol,
    ProxyHeader,
    RateLimit,
    Redirect,
    RetryOn,
    Route,
    Rules,
    Secret,
    ServerSettings,
    TlsHost,
)
from l7.v1 import sync_pb2 as pb

_TIMES = ("timeout_server", "timeout_tunnel", "timeout_connect", "queue_timeout")


def settings_to(settings: BackendSettings) -> pb.BackendSettings:
    """Everything about a backend but its servers."""
    message = pb.BackendSettings(
        services=settings.services,
        expected=settings.expected,
        balance=pb.Balance.Name(settings.balance),
        retry_on=pb.RetryOn.Name(settings.retry_on),
        server_settings=map(_server_settings_to, settings.servers),
        tcp=settings.tcp,
    )
    if (check := settings.check) is not None:
        message.health_check.CopyFrom(pb.HealthCheck(path=check.path, host=check.host, statuses=check.statuses))
    return message


def settings_from(message: pb.BackendSettings) -> BackendSettings:
    """Raises ProtocolError for a value that this version does not know."""
    check = message.health_check
    try:
        return BackendSettings(
            services=tuple(message.services),
            expected=message.expected,
            balance=Balance(message.balance),
            retry_on=RetryOn(message.retry_on),
            check=HealthCheck(check.path, check.host, tuple(check.statuses))
            if message.HasField("health_check")
            else None,
            servers=tuple(map(_server_settings_from, message.server_settings)),
            tcp=message.tcp,
        )
    except ValueError as error:
        raise ProtocolError(f"settings of {list(message.services)}: {error}") from error


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
        _secret_from(message.tls_ca) if message.HasField("tls_ca") else None,
        message.tls_name,
        _pair_from(message.tls_certificate) if message.HasField("tls_certificate") else None,
        ProxyHeader(message.proxy_header),
    )


def route_to(route: Route) -> pb.Route:
    """A route with all that answers on it."""
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


def route_from(message: pb.Route) -> Route:
    """Raises ProtocolError for a canary that names neither header nor cookie."""
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


def _canary_to(canary: Canary) -> pb.Canary:
    message = pb.Canary(backend=canary.backend, value=canary.value)
    setattr(message, canary.source, canary.name)
    return message


def _canary_from(message: pb.Canary) -> Canary:
    source = message.WhichOneof("by")
    if source is None:
        raise ProtocolError(f"a canary of {message.backend} without header and cookie")
    return Canary(message.backend, source, getattr(message, source), message.value)


def rules_to(rules: Rules) -> pb.Rules:
    """One set of rules."""
    message = pb.Rules(
        name=rules.name,
        https_redirect=rules.https_redirect,
        hsts=rules.hsts,
        allow_prefixes=rules.allow,
        max_body_bytes=rules.max_body,
        compression=rules.compression,
        request_headers=map(_header_to, rules.request_headers),
        response_headers=map(_header_to, rules.response_headers),
        basic_auth_realm=rules.basic_auth_realm,
        client_certificate=pb.ClientCertificate.Name(rules.client_certificate),
        **{f"{name}_milliseconds": getattr(rules, name) for name in _TIMES},
    )
    if (limit := rules.rate_limit) is not None:
        message.rate_limit.CopyFrom(pb.RateLimit(requests=limit.requests, period_milliseconds=limit.period))
    if rules.cors is not None:
        message.cors.CopyFrom(_cors_to(rules.cors))
    if (key := rules.hash_key) is not None:
        message.hash_key.CopyFrom(pb.HashKey(source=pb.HashSource.Name(key.source), name=key.name))
    if rules.basic_auth is not None:
        message.basic_auth.CopyFrom(_secret_to(rules.basic_auth))
    return message


def rules_from(message: pb.Rules) -> Rules:
    """Raises ProtocolError for a value that this version does not know."""
    limit, key = message.rate_limit, message.hash_key
    try:
        return Rules(
            name=message.name,
            https_redirect=message.https_redirect,
            hsts=message.hsts,
            allow=tuple(message.allow_prefixes),
            rate_limit=RateLimit(limit.requests, limit.period_milliseconds)
            if message.HasField("rate_limit")
            else None,
            max_body=message.max_body_bytes,
            compression=message.compression,
            cors=_cors_from(message.cors) if message.HasField("cors") else None,
            request_headers=tuple(map(_header_from, message.request_headers)),
            response_headers=tuple(map(_header_from, message.response_headers)),
            hash_key=HashKey(HashSource(key.source), key.name) if message.HasField("hash_key") else None,
            basic_auth=_secret_from(message.basic_auth) if message.HasField("basic_auth") else None,
            basic_auth_realm=message.basic_auth_realm,
            client_certificate=ClientCertificate(message.client_certificate),
            **{name: getattr(message, f"{name}_milliseconds") for name in _TIMES},
        )
    except ValueError as error:
        raise ProtocolError(f"rules {message.name}: {error}") from error


def _header_to(change: HeaderChange) -> pb.HeaderChange:
    return pb.HeaderChange(action=pb.HeaderAction.Name(change.action), name=change.name, value=change.value)


def _header_from(message: pb.HeaderChange) -> HeaderChange:
    return HeaderChange(HeaderAction(message.action), message.name, message.value)


def _cors_to(cors: Cors) -> pb.Cors:
    return pb.Cors(
        origins=cors.origins,
        methods=cors.methods,
        headers=cors.headers,
        credentials=cors.credentials,
        max_age_seconds=cors.max_age,
    )


def _cors_from(message: pb.Cors) -> Cors:
    return Cors(
        tuple(message.origins),
        tuple(message.methods),
        tuple(message.headers),
        message.credentials,
        message.max_age_seconds,
    )


# ---------------------------------------------------------------- TLS


def tls_host_to(host: TlsHost) -> pb.TlsHost:
    """How TLS is terminated for a host."""
    message = pb.TlsHost(
        host=host.host,
        service=host.service,
        certificate=_pair_to(host.certificate),
        client_certificate=pb.ClientCertificate.Name(host.client_certificate),
    )
    if host.client_ca is not None:
        message.client_ca.CopyFrom(_secret_to(host.client_ca))
    return message


def tls_host_from(message: pb.TlsHost) -> TlsHost:
    """Raises ProtocolError for a value that this version does not know."""
    try:
        return TlsHost(
            message.host,
            message.service,
            _pair_from(message.certificate),
            ClientCertificate(message.client_certificate),
            _secret_from(message.client_ca) if message.HasField("client_ca") else None,
        )
    except ValueError as error:
        raise ProtocolError(f"TLS of {message.host}: {error}") from error


def _secret_to(secret: Secret) -> pb.Secret:
    return pb.Secret(id=secret.id, name=secret.name, config=secret.config)


def _secret_from(message: pb.Secret) -> Secret:
    return Secret(message.id, message.name, message.config)


def _pair_to(pair: KeyPair) -> pb.KeyPair:
    message = pb.KeyPair(certificate=_secret_to(pair.certificate))
    if pair.key is not None:
        message.key.CopyFrom(_secret_to(pair.key))
    return message


def _pair_from(message: pb.KeyPair) -> KeyPair:
    return KeyPair(
        _secret_from(message.certificate), _secret_from(message.key) if message.HasField("key") else None
    )
