from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ShowRequest(_message.Message):
    __slots__ = ("look", "introduction", "names", "piece", "end")
    LOOK_FIELD_NUMBER: _ClassVar[int]
    INTRODUCTION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    look: int
    introduction: Introduction
    names: Names
    piece: Piece
    end: End
    def __init__(self, look: _Optional[int] = ..., introduction: _Optional[_Union[Introduction, _Mapping]] = ..., names: _Optional[_Union[Names, _Mapping]] = ..., piece: _Optional[_Union[Piece, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ...) -> None: ...

class Introduction(_message.Message):
    __slots__ = ("instance", "proxy")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    instance: str
    proxy: str
    def __init__(self, instance: _Optional[str] = ..., proxy: _Optional[str] = ...) -> None: ...

class Names(_message.Message):
    __slots__ = ("backends",)
    class BackendsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.ScalarMap[str, str]
    def __init__(self, backends: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ("error", "microseconds")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    error: str
    microseconds: int
    def __init__(self, error: _Optional[str] = ..., microseconds: _Optional[int] = ...) -> None: ...

class ShowResponse(_message.Message):
    __slots__ = ("look",)
    LOOK_FIELD_NUMBER: _ClassVar[int]
    look: int
    def __init__(self, look: _Optional[int] = ...) -> None: ...
