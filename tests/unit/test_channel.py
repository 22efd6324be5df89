"""The options of our gRPC connections. gRPC ignores a name that it does not know, without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from l7.kit.channel import CLIENT_OPTIONS, SERVER_OPTIONS


@pytest.fixture(scope="module")
def library() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", sorted(dict((*CLIENT_OPTIONS, *SERVER_OPTIONS))))
def test_grpc_knows_the_option(library: bytes, name: str) -> None:
    assert f"{name}\0".encode() in library


def test_grpc_does_not_know_just_any_option(library: bytes) -> None:
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in library


def test_a_client_may_ping_as_often_as_ours_does() -> None:
    """More often than the server allows would be answered with "Too many pings" and the connection's end."""
    client, server = dict(CLIENT_OPTIONS), dict(SERVER_OPTIONS)
    assert int(server["grpc.http2.min_ping_interval_without_data_ms"]) < int(client["grpc.keepalive_time_ms"])
