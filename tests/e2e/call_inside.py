"""Asks every gRPC service of an address in every way that an application's container could, and prints what came of
it, JSON: ``python -m tests.e2e.call_inside <address:port> <name> <CA> <identity>``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import orjson
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from l7.v1 import pki_pb2, pki_pb2_grpc, secrets_pb2, secrets_pb2_grpc, sync_pb2, sync_pb2_grpc

TIMEOUT = 10


def calls(channel: grpc.Channel) -> Iterator[tuple[str, Any]]:
    """A call of each service."""
    hello = sync_pb2.SyncRequest(hello=sync_pb2.Hello(instance="inside"))
    sync = sync_pb2_grpc.SyncServiceStub(channel)  # type: ignore[no-untyped-call]
    yield "sync", lambda: next(sync.Sync(iter([hello]), timeout=TIMEOUT))
    renew = pki_pb2_grpc.PkiServiceStub(channel)  # type: ignore[no-untyped-call]
    yield "renew", lambda: renew.Renew(pki_pb2.RenewRequest(), timeout=TIMEOUT)
    fetch = secrets_pb2_grpc.SecretServiceStub(channel)  # type: ignore[no-untyped-call]
    yield "fetch", lambda: list(fetch.Fetch(secrets_pb2.FetchRequest(ids=["x"]), timeout=TIMEOUT))
    health = health_pb2_grpc.HealthStub(channel)
    yield "health", lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    yield "reflection", lambda: next(reflection.ServerReflectionInfo(iter([listing]), timeout=TIMEOUT))


def channels(address: str, name: str, ca: bytes, identity: bytes) -> Iterator[tuple[str, grpc.Channel]]:
    """Plain; over TLS without a certificate; with the identity. All trust the right CA, so that it
    is the server who refuses."""
    options = [("grpc.ssl_target_name_override", name)]
    yield "plain", grpc.insecure_channel(address)
    yield "nobody", grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), options)
    credentials = grpc.ssl_channel_credentials(ca, identity, identity)
    yield "identity", grpc.secure_channel(address, credentials, options)


def code_of(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)  # type: ignore[attr-defined]
    return "OK"


def main(address: str, name: str, ca: str, identity: str) -> None:
    found = {
        f"{who} {what}": code_of(call)
        for who, channel in channels(address, name, Path(ca).read_bytes(), Path(identity).read_bytes())
        for what, call in calls(channel)
    }
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
