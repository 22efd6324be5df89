from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_EXTENSION: _ClassVar[Role]

class HealthStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_STATUS_UNSPECIFIED: _ClassVar[HealthStatus]
    HEALTH_STATUS_UP: _ClassVar[HealthStatus]
    HEALTH_STATUS_DOWN: _ClassVar[HealthStatus]
    HEALTH_STATUS_MAINTENANCE: _ClassVar[HealthStatus]
    HEALTH_STATUS_GONE: _ClassVar[HealthStatus]

class UpdateKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPDATE_KIND_UNSPECIFIED: _ClassVar[UpdateKind]
    UPDATE_KIND_COMPLETE: _ClassVar[UpdateKind]
    UPDATE_KIND_INCREMENTAL: _ClassVar[UpdateKind]

class ClientCertificate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT_CERTIFICATE_UNSPECIFIED: _ClassVar[ClientCertificate]
    CLIENT_CERTIFICATE_OPTIONAL: _ClassVar[ClientCertificate]
    CLIENT_CERTIFICATE_REQUIRED: _ClassVar[ClientCertificate]

class Balance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BALANCE_UNSPECIFIED: _ClassVar[Balance]
    BALANCE_LEAST_CONNECTIONS: _ClassVar[Balance]
    BALANCE_RANDOM: _ClassVar[Balance]
    BALANCE_FIRST: _ClassVar[Balance]
    BALANCE_HASH: _ClassVar[Balance]

class RetryOn(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_ON_UNSPECIFIED: _ClassVar[RetryOn]
    RETRY_ON_SAFE: _ClassVar[RetryOn]
    RETRY_ON_ALL: _ClassVar[RetryOn]

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_H2C: _ClassVar[Protocol]
    PROTOCOL_HTTPS: _ClassVar[Protocol]

class ProxyHeader(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROXY_HEADER_UNSPECIFIED: _ClassVar[ProxyHeader]
    PROXY_HEADER_V1: _ClassVar[ProxyHeader]
    PROXY_HEADER_V2: _ClassVar[ProxyHeader]

class ServerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVER_STATE_UNSPECIFIED: _ClassVar[ServerState]
    SERVER_STATE_PENDING: _ClassVar[ServerState]
    SERVER_STATE_READY: _ClassVar[ServerState]
    SERVER_STATE_LEAVING: _ClassVar[ServerState]

class HeaderAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEADER_ACTION_UNSPECIFIED: _ClassVar[HeaderAction]
    HEADER_ACTION_SET: _ClassVar[HeaderAction]
    HEADER_ACTION_ADD: _ClassVar[HeaderAction]
    HEADER_ACTION_REMOVE: _ClassVar[HeaderAction]

class HashSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HASH_SOURCE_UNSPECIFIED: _ClassVar[HashSource]
    HASH_SOURCE_ADDRESS: _ClassVar[HashSource]
    HASH_SOURCE_URI: _ClassVar[HashSource]
    HASH_SOURCE_HEADER: _ClassVar[HashSource]
    HASH_SOURCE_COOKIE: _ClassVar[HashSource]
ROLE_UNSPECIFIED: Role
ROLE_EXTENSION: Role
HEALTH_STATUS_UNSPECIFIED: HealthStatus
HEALTH_STATUS_UP: HealthStatus
HEALTH_STATUS_DOWN: HealthStatus
HEALTH_STATUS_MAINTENANCE: HealthStatus
HEALTH_STATUS_GONE: HealthStatus
UPDATE_KIND_UNSPECIFIED: UpdateKind
UPDATE_KIND_COMPLETE: UpdateKind
UPDATE_KIND_INCREMENTAL: UpdateKind
CLIENT_CERTIFICATE_UNSPECIFIED: ClientCertificate
CLIENT_CERTIFICATE_OPTIONAL: ClientCertificate
CLIENT_CERTIFICATE_REQUIRED: ClientCertificate
BALANCE_UNSPECIFIED: Balance
BALANCE_LEAST_CONNECTIONS: Balance
BALANCE_RANDOM: Balance
BALANCE_FIRST: Balance
BALANCE_HASH: Balance
RETRY_ON_UNSPECIFIED: RetryOn
RETRY_ON_SAFE: RetryOn
RETRY_ON_ALL: RetryOn
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_H2C: Protocol
PROTOCOL_HTTPS: Protocol
PROXY_HEADER_UNSPECIFIED: ProxyHeader
PROXY_HEADER_V1: ProxyHeader
PROXY_HEADER_V2: ProxyHeader
SERVER_STATE_UNSPECIFIED: ServerState
SERVER_STATE_PENDING: ServerState
SERVER_STATE_READY: ServerState
SERVER_STATE_LEAVING: ServerState
HEADER_ACTION_UNSPECIFIED: HeaderAction
HEADER_ACTION_SET: HeaderAction
HEADER_ACTION_ADD: HeaderAction
HEADER_ACTION_REMOVE: HeaderAction
HASH_SOURCE_UNSPECIFIED: HashSource
HASH_SOURCE_ADDRESS: HashSource
HASH_SOURCE_URI: HashSource
HASH_SOURCE_HEADER: HashSource
HASH_SOURCE_COOKIE: HashSource

class SyncRequest(_message.Message):
    __slots__ = ("hello", "ack", "nack", "health", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    nack: Nack
    health: Health
    report: Report
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("cluster", "instance", "software", "proxy", "revision", "role")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    instance: str
    software: str
    proxy: str
    revision: str
    role: Role
    def __init__(self, cluster: _Optional[str] = ..., instance: _Optional[str] = ..., software: _Optional[str] = ..., proxy: _Optional[str] = ..., revision: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("revision", "apply_microseconds")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLY_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    revision: str
    apply_microseconds: int
    def __init__(self, revision: _Optional[str] = ..., apply_microseconds: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("revision", "reason")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    revision: str
    reason: str
    def __init__(self, revision: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("problems",)
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("service", "label", "message", "remedy")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    service: str
    label: str
    message: str
    remedy: str
    def __init__(self, service: _Optional[str] = ..., label: _Optional[str] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("servers", "counters", "cluster")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[ServerHealth]
    counters: Counters
    cluster: ClusterView
    def __init__(self, servers: _Optional[_Iterable[_Union[ServerHealth, _Mapping]]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., cluster: _Optional[_Union[ClusterView, _Mapping]] = ...) -> None: ...

class ServerHealth(_message.Message):
    __slots__ = ("backend", "task", "status", "up", "proxies")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    backend: str
    task: str
    status: HealthStatus
    up: int
    proxies: int
    def __init__(self, backend: _Optional[str] = ..., task: _Optional[str] = ..., status: _Optional[_Union[HealthStatus, str]] = ..., up: _Optional[int] = ..., proxies: _Optional[int] = ...) -> None: ...

class ClusterView(_message.Message):
    __slots__ = ("proxies", "silent", "up", "down", "maintenance", "sessions", "queued")
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    proxies: int
    silent: int
    up: int
    down: int
    maintenance: int
    sessions: int
    queued: int
    def __init__(self, proxies: _Optional[int] = ..., silent: _Optional[int] = ..., up: _Optional[int] = ..., down: _Optional[int] = ..., maintenance: _Optional[int] = ..., sessions: _Optional[int] = ..., queued: _Optional[int] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("reloads", "drift", "held_requests", "worker_pid")
    RELOADS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    HELD_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_PID_FIELD_NUMBER: _ClassVar[int]
    reloads: int
    drift: int
    held_requests: int
    worker_pid: int
    def __init__(self, reloads: _Optional[int] = ..., drift: _Optional[int] = ..., held_requests: _Optional[int] = ..., worker_pid: _Optional[int] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("kind", "applies_to", "results_in", "last", "changes", "observed_unix_nano")
    KIND_FIELD_NUMBER: _ClassVar[int]
    APPLIES_TO_FIELD_NUMBER: _ClassVar[int]
    RESULTS_IN_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    kind: UpdateKind
    applies_to: str
    results_in: str
    last: bool
    changes: Changes
    observed_unix_nano: int
    def __init__(self, kind: _Optional[_Union[UpdateKind, str]] = ..., applies_to: _Optional[str] = ..., results_in: _Optional[str] = ..., last: _Optional[bool] = ..., changes: _Optional[_Union[Changes, _Mapping]] = ..., observed_unix_nano: _Optional[int] = ...) -> None: ...

class Changes(_message.Message):
    __slots__ = ("backends", "removed_backends", "routes", "removed_routes", "rules", "removed_rules", "config", "tls_hosts", "removed_tls_hosts", "challenges", "removed_challenges", "secret_sources")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_BACKENDS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ROUTES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_RULES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    TLS_HOSTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_TLS_HOSTS_FIELD_NUMBER: _ClassVar[int]
    CHALLENGES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_CHALLENGES_FIELD_NUMBER: _ClassVar[int]
    SECRET_SOURCES_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    removed_backends: _containers.RepeatedScalarFieldContainer[str]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    removed_routes: _containers.RepeatedCompositeFieldContainer[RouteKey]
    rules: _containers.RepeatedCompositeFieldContainer[Rules]
    removed_rules: _containers.RepeatedScalarFieldContainer[str]
    config: Config
    tls_hosts: _containers.RepeatedCompositeFieldContainer[TlsHost]
    removed_tls_hosts: _containers.RepeatedScalarFieldContainer[str]
    challenges: _containers.RepeatedCompositeFieldContainer[Challenge]
    removed_challenges: _containers.RepeatedScalarFieldContainer[str]
    secret_sources: SecretSources
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., removed_backends: _Optional[_Iterable[str]] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., removed_routes: _Optional[_Iterable[_Union[RouteKey, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[Rules, _Mapping]]] = ..., removed_rules: _Optional[_Iterable[str]] = ..., config: _Optional[_Union[Config, _Mapping]] = ..., tls_hosts: _Optional[_Iterable[_Union[TlsHost, _Mapping]]] = ..., removed_tls_hosts: _Optional[_Iterable[str]] = ..., challenges: _Optional[_Iterable[_Union[Challenge, _Mapping]]] = ..., removed_challenges: _Optional[_Iterable[str]] = ..., secret_sources: _Optional[_Union[SecretSources, _Mapping]] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("id", "name", "config")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    config: bool
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., config: _Optional[bool] = ...) -> None: ...

class KeyPair(_message.Message):
    __slots__ = ("certificate", "key")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    certificate: Secret
    key: Secret
    def __init__(self, certificate: _Optional[_Union[Secret, _Mapping]] = ..., key: _Optional[_Union[Secret, _Mapping]] = ...) -> None: ...

class TlsHost(_message.Message):
    __slots__ = ("host", "service", "certificate", "client_certificate", "client_ca")
    HOST_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CA_FIELD_NUMBER: _ClassVar[int]
    host: str
    service: str
    certificate: KeyPair
    client_certificate: ClientCertificate
    client_ca: Secret
    def __init__(self, host: _Optional[str] = ..., service: _Optional[str] = ..., certificate: _Optional[_Union[KeyPair, _Mapping]] = ..., client_certificate: _Optional[_Union[ClientCertificate, str]] = ..., client_ca: _Optional[_Union[Secret, _Mapping]] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("token", "key_authorization")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    token: str
    key_authorization: str
    def __init__(self, token: _Optional[str] = ..., key_authorization: _Optional[str] = ...) -> None: ...

class SecretSources(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    def __init__(self, json: _Optional[bytes] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("name", "settings", "servers", "removed_servers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_SERVERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings: BackendSettings
    servers: _containers.RepeatedCompositeFieldContainer[Server]
    removed_servers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., settings: _Optional[_Union[BackendSettings, _Mapping]] = ..., servers: _Optional[_Iterable[_Union[Server, _Mapping]]] = ..., removed_servers: _Optional[_Iterable[str]] = ...) -> None: ...

class BackendSettings(_message.Message):
    __slots__ = ("services", "expected", "balance", "retry_on", "health_check", "server_settings", "tcp")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_FIELD_NUMBER: _ClassVar[int]
    SERVER_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    TCP_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    expected: bool
    balance: Balance
    retry_on: RetryOn
    health_check: HealthCheck
    server_settings: _containers.RepeatedCompositeFieldContainer[ServerSettings]
    tcp: bool
    def __init__(self, services: _Optional[_Iterable[str]] = ..., expected: _Optional[bool] = ..., balance: _Optional[_Union[Balance, str]] = ..., retry_on: _Optional[_Union[RetryOn, str]] = ..., health_check: _Optional[_Union[HealthCheck, _Mapping]] = ..., server_settings: _Optional[_Iterable[_Union[ServerSettings, _Mapping]]] = ..., tcp: _Optional[bool] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ("path", "host", "statuses")
    PATH_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    path: str
    host: str
    statuses: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, path: _Optional[str] = ..., host: _Optional[str] = ..., statuses: _Optional[_Iterable[int]] = ...) -> None: ...

class ServerSettings(_message.Message):
    __slots__ = ("protocol", "check_port", "check_interval_milliseconds", "check_rise", "check_fall", "slow_start_milliseconds", "max_connections", "max_fails", "fail_timeout_milliseconds", "drain_timeout_milliseconds", "tls_ca", "tls_name", "tls_certificate", "proxy_header")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CHECK_PORT_FIELD_NUMBER: _ClassVar[int]
    CHECK_INTERVAL_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    CHECK_RISE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FALL_FIELD_NUMBER: _ClassVar[int]
    SLOW_START_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILS_FIELD_NUMBER: _ClassVar[int]
    FAIL_TIMEOUT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_TIMEOUT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PROXY_HEADER_FIELD_NUMBER: _ClassVar[int]
    protocol: Protocol
    check_port: int
    check_interval_milliseconds: int
    check_rise: int
    check_fall: int
    slow_start_milliseconds: int
    max_connections: int
    max_fails: int
    fail_timeout_milliseconds: int
    drain_timeout_milliseconds: int
    tls_ca: Secret
    tls_name: str
    tls_certificate: KeyPair
    proxy_header: ProxyHeader
    def __init__(self, protocol: _Optional[_Union[Protocol, str]] = ..., check_port: _Optional[int] = ..., check_interval_milliseconds: _Optional[int] = ..., check_rise: _Optional[int] = ..., check_fall: _Optional[int] = ..., slow_start_milliseconds: _Optional[int] = ..., max_connections: _Optional[int] = ..., max_fails: _Optional[int] = ..., fail_timeout_milliseconds: _Optional[int] = ..., drain_timeout_milliseconds: _Optional[int] = ..., tls_ca: _Optional[_Union[Secret, _Mapping]] = ..., tls_name: _Optional[str] = ..., tls_certificate: _Optional[_Union[KeyPair, _Mapping]] = ..., proxy_header: _Optional[_Union[ProxyHeader, str]] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ("task", "id", "address", "port", "weight", "state", "stop_in_milliseconds", "service")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_IN_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    task: str
    id: int
    address: str
    port: int
    weight: int
    state: ServerState
    stop_in_milliseconds: int
    service: int
    def __init__(self, task: _Optional[str] = ..., id: _Optional[int] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., state: _Optional[_Union[ServerState, str]] = ..., stop_in_milliseconds: _Optional[int] = ..., service: _Optional[int] = ...) -> None: ...

class RouteKey(_message.Message):
    __slots__ = ("host", "path")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    host: str
    path: str
    def __init__(self, host: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("host", "path", "backend", "strip_path", "rules", "redirect", "canaries")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    STRIP_PATH_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_FIELD_NUMBER: _ClassVar[int]
    CANARIES_FIELD_NUMBER: _ClassVar[int]
    host: str
    path: str
    backend: str
    strip_path: bool
    rules: str
    redirect: Redirect
    canaries: _containers.RepeatedCompositeFieldContainer[Canary]
    def __init__(self, host: _Optional[str] = ..., path: _Optional[str] = ..., backend: _Optional[str] = ..., strip_path: _Optional[bool] = ..., rules: _Optional[str] = ..., redirect: _Optional[_Union[Redirect, _Mapping]] = ..., canaries: _Optional[_Iterable[_Union[Canary, _Mapping]]] = ...) -> None: ...

class Redirect(_message.Message):
    __slots__ = ("scheme", "location")
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    scheme: str
    location: str
    def __init__(self, scheme: _Optional[str] = ..., location: _Optional[str] = ...) -> None: ...

class Canary(_message.Message):
    __slots__ = ("backend", "header", "cookie", "value")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    backend: str
    header: str
    cookie: str
    value: str
    def __init__(self, backend: _Optional[str] = ..., header: _Optional[str] = ..., cookie: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Rules(_message.Message):
    __slots__ = ("name", "https_redirect", "hsts", "allow_prefixes", "rate_limit", "max_body_bytes", "compression", "cors", "request_headers", "response_headers", "hash_key", "timeout_server_milliseconds", "timeout_tunnel_milliseconds", "timeout_connect_milliseconds", "queue_timeout_milliseconds", "basic_auth", "basic_auth_realm", "client_certificate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HTTPS_REDIRECT_FIELD_NUMBER: _ClassVar[int]
    HSTS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    CORS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HEADERS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    HASH_KEY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SERVER_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_TUNNEL_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_CONNECT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIMEOUT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    BASIC_AUTH_FIELD_NUMBER: _ClassVar[int]
    BASIC_AUTH_REALM_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    https_redirect: bool
    hsts: str
    allow_prefixes: _containers.RepeatedScalarFieldContainer[str]
    rate_limit: RateLimit
    max_body_bytes: int
    compression: bool
    cors: Cors
    request_headers: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    response_headers: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    hash_key: HashKey
    timeout_server_milliseconds: int
    timeout_tunnel_milliseconds: int
    timeout_connect_milliseconds: int
    queue_timeout_milliseconds: int
    basic_auth: Secret
    basic_auth_realm: str
    client_certificate: ClientCertificate
    def __init__(self, name: _Optional[str] = ..., https_redirect: _Optional[bool] = ..., hsts: _Optional[str] = ..., allow_prefixes: _Optional[_Iterable[str]] = ..., rate_limit: _Optional[_Union[RateLimit, _Mapping]] = ..., max_body_bytes: _Optional[int] = ..., compression: _Optional[bool] = ..., cors: _Optional[_Union[Cors, _Mapping]] = ..., request_headers: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ..., response_headers: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ..., hash_key: _Optional[_Union[HashKey, _Mapping]] = ..., timeout_server_milliseconds: _Optional[int] = ..., timeout_tunnel_milliseconds: _Optional[int] = ..., timeout_connect_milliseconds: _Optional[int] = ..., queue_timeout_milliseconds: _Optional[int] = ..., basic_auth: _Optional[_Union[Secret, _Mapping]] = ..., basic_auth_realm: _Optional[str] = ..., client_certificate: _Optional[_Union[ClientCertificate, str]] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("requests", "period_milliseconds")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    requests: int
    period_milliseconds: int
    def __init__(self, requests: _Optional[int] = ..., period_milliseconds: _Optional[int] = ...) -> None: ...

class Cors(_message.Message):
    __slots__ = ("origins", "methods", "headers", "credentials", "max_age_seconds")
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    origins: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    headers: _containers.RepeatedScalarFieldContainer[str]
    credentials: bool
    max_age_seconds: int
    def __init__(self, origins: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., headers: _Optional[_Iterable[str]] = ..., credentials: _Optional[bool] = ..., max_age_seconds: _Optional[int] = ...) -> None: ...

class HeaderChange(_message.Message):
    __slots__ = ("action", "name", "value")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    action: HeaderAction
    name: str
    value: str
    def __init__(self, action: _Optional[_Union[HeaderAction, str]] = ..., name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class HashKey(_message.Message):
    __slots__ = ("source", "name")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    source: HashSource
    name: str
    def __init__(self, source: _Optional[_Union[HashSource, str]] = ..., name: _Optional[str] = ...) -> None: ...

class PublishConfigRequest(_message.Message):
    __slots__ = ("cluster", "revision", "files", "configuration", "counts", "deployment")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    revision: str
    files: _containers.RepeatedCompositeFieldContainer[ConfigFile]
    configuration: str
    counts: _containers.ScalarMap[str, int]
    deployment: Deployment
    def __init__(self, cluster: _Optional[str] = ..., revision: _Optional[str] = ..., files: _Optional[_Iterable[_Union[ConfigFile, _Mapping]]] = ..., configuration: _Optional[str] = ..., counts: _Optional[_Mapping[str, int]] = ..., deployment: _Optional[_Union[Deployment, _Mapping]] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("secrets", "command", "stop_signal")
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[MountedSecret]
    command: _containers.RepeatedScalarFieldContainer[str]
    stop_signal: str
    def __init__(self, secrets: _Optional[_Iterable[_Union[MountedSecret, _Mapping]]] = ..., command: _Optional[_Iterable[str]] = ..., stop_signal: _Optional[str] = ...) -> None: ...

class MountedSecret(_message.Message):
    __slots__ = ("secret", "mount")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    secret: Secret
    mount: str
    def __init__(self, secret: _Optional[_Union[Secret, _Mapping]] = ..., mount: _Optional[str] = ...) -> None: ...

class ConfigFile(_message.Message):
    __slots__ = ("name", "data", "mount")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    mount: str
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ..., mount: _Optional[str] = ...) -> None: ...

class PublishConfigResponse(_message.Message):
    __slots__ = ("objects", "proxy")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedScalarFieldContainer[str]
    proxy: str
    def __init__(self, objects: _Optional[_Iterable[str]] = ..., proxy: _Optional[str] = ...) -> None: ...
