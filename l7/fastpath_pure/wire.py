"""What the fast path reads of a SyncResponse, and nothing else: all other fields are unknown here, and skipped.

So protobuf itself says which bytes are a message. `settings` are bytes, to be kept as they are; that they may come
several times is protobuf's rule for a message in a message: the parts, joined, are the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "l7.fastpath"

_SCHEMA = {
    "Server": (
        ("task", 1, _Field.TYPE_STRING, ""),
        ("id", 2, _Field.TYPE_UINT32, ""),
        ("address", 3, _Field.TYPE_STRING, ""),
        ("port", 4, _Field.TYPE_UINT32, ""),
        ("weight", 5, _Field.TYPE_UINT32, ""),
        ("state", 6, _Field.TYPE_INT32, ""),
        ("stop_in", 7, _Field.TYPE_UINT32, ""),
        ("service", 8, _Field.TYPE_UINT32, ""),
    ),
    "Backend": (
        ("name", 1, _Field.TYPE_STRING, ""),
        ("settings", 2, _Field.TYPE_BYTES, ""),
        ("servers", 3, _Field.TYPE_MESSAGE, "Server"),
    ),
    "Changes": (("backends", 1, _Field.TYPE_MESSAGE, "Backend"),),
    "SyncResponse": (("kind", 1, _Field.TYPE_INT32, ""), ("changes", 5, _Field.TYPE_MESSAGE, "Changes")),
}
_REPEATED = {"settings", "servers", "backends"}


def _message_class(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="l7/fastpath.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        kind = file.message_type.add(name=message_name)
        for field, number, type_, of in fields:
            label = _Field.LABEL_REPEATED if field in _REPEATED else _Field.LABEL_OPTIONAL
            type_name = f".{_PACKAGE}.{of}" if of else None
            kind.field.add(name=field, number=number, type=type_, label=label, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_SyncResponse = _message_class("SyncResponse")
_INCREMENTAL = 2


class WireBackend(NamedTuple):
    """A Backend message. `settings` None: it has none. `servers`: task, id, address, port, weight, state,
    stop_in, service."""

    name: str
    settings: bytes | None
    servers: list[tuple[str, int, str, int, int, int, int, int]]


def backends_of(chunks: Iterable[bytes]) -> Iterator[WireBackend]:
    """Backends of all messages, in order. ValueError for bytes that are no message, and for an INCREMENTAL."""
    for chunk in chunks:
        try:
            response = _SyncResponse.FromString(bytes(chunk))
        except message.DecodeError as error:
            raise ValueError(f"not a SyncResponse: {error}") from error
        if response.kind == _INCREMENTAL:
            raise ValueError("an INCREMENTAL is not the whole state")
        for each in response.changes.backends:
            yield WireBackend(each.name, b"".join(each.settings) if each.settings else None, _servers(each))


def _servers(backend: Any) -> list[tuple[str, int, str, int, int, int, int, int]]:
    return [(s.task, s.id, s.address, s.port, s.weight, s.state, s.stop_in, s.service) for s in backend.servers]
