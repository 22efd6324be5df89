from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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

class ServerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVER_STATE_UNSPECIFIED: _ClassVar[ServerState]
    SERVER_STATE_PENDING: _ClassVar[ServerState]
    SERVER_STATE_READY: _ClassVar[ServerState]
    SERVER_STATE_LEAVING: _ClassVar[ServerState]
HEALTH_STATUS_UNSPECIFIED: HealthStatus
HEALTH_STATUS_UP: HealthStatus
HEALTH_STATUS_DOWN: HealthStatus
HEALTH_STATUS_MAINTENANCE: HealthStatus
HEALTH_STATUS_GONE: HealthStatus
UPDATE_KIND_UNSPECIFIED: UpdateKind
UPDATE_KIND_COMPLETE: UpdateKind
UPDATE_KIND_INCREMENTAL: UpdateKind
SERVER_STATE_UNSPECIFIED: ServerState
SERVER_STATE_PENDING: ServerState
SERVER_STATE_READY: ServerState
SERVER_STATE_LEAVING: ServerState

class SyncRequest(_message.Message):
    __slots__ = ("hello", "ack", "nack", "health")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    nack: Nack
    health: Health
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("cluster", "instance", "software", "proxy", "revision")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    instance: str
    software: str
    proxy: str
    revision: str
    def __init__(self, cluster: _Optional[str] = ..., instance: _Optional[str] = ..., software: _Optional[str] = ..., proxy: _Optional[str] = ..., revision: _Optional[str] = ...) -> None: ...

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

class Health(_message.Message):
    __slots__ = ("servers", "counters")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[ServerHealth]
    counters: Counters
    def __init__(self, servers: _Optional[_Iterable[_Union[ServerHealth, _Mapping]]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ...) -> None: ...

class ServerHealth(_message.Message):
    __slots__ = ("backend", "task", "status")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    backend: str
    task: str
    status: HealthStatus
    def __init__(self, backend: _Optional[str] = ..., task: _Optional[str] = ..., status: _Optional[_Union[HealthStatus, str]] = ...) -> None: ...

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
    __slots__ = ("backends", "removed_backends", "routes", "removed_routes")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_BACKENDS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ROUTES_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    removed_backends: _containers.RepeatedScalarFieldContainer[str]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    removed_routes: _containers.RepeatedCompositeFieldContainer[RouteKey]
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., removed_backends: _Optional[_Iterable[str]] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., removed_routes: _Optional[_Iterable[_Union[RouteKey, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("services", "expected")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    expected: bool
    def __init__(self, services: _Optional[_Iterable[str]] = ..., expected: _Optional[bool] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ("task", "id", "address", "port", "weight", "state", "stop_in_milliseconds")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_IN_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    task: str
    id: int
    address: str
    port: int
    weight: int
    state: ServerState
    stop_in_milliseconds: int
    def __init__(self, task: _Optional[str] = ..., id: _Optional[int] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., state: _Optional[_Union[ServerState, str]] = ..., stop_in_milliseconds: _Optional[int] = ...) -> None: ...

class RouteKey(_message.Message):
    __slots__ = ("host", "path")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    host: str
    path: str
    def __init__(self, host: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("host", "path", "backend", "strip_path")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    STRIP_PATH_FIELD_NUMBER: _ClassVar[int]
    host: str
    path: str
    backend: str
    strip_path: bool
    def __init__(self, host: _Optional[str] = ..., path: _Optional[str] = ..., backend: _Optional[str] = ..., strip_path: _Optional[bool] = ...) -> None: ...

class PublishConfigRequest(_message.Message):
    __slots__ = ("cluster", "revision", "files")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    revision: str
    files: _containers.RepeatedCompositeFieldContainer[ConfigFile]
    def __init__(self, cluster: _Optional[str] = ..., revision: _Optional[str] = ..., files: _Optional[_Iterable[_Union[ConfigFile, _Mapping]]] = ...) -> None: ...

class ConfigFile(_message.Message):
    __slots__ = ("name", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishConfigResponse(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, objects: _Optional[_Iterable[str]] = ...) -> None: ...
