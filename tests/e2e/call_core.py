"""A client of core's gRPC API, for use inside a container's network: ``python call_core.py ADDRESS CLUSTER [CA
[IDENTITY]]``. Prints what came of it: the kind of the first update, or gRPC's status code.

Without CA it speaks plain; with CA alone it has no certificate of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import grpc

from l7.v1 import sync_pb2, sync_pb2_grpc

_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.S)


def channel(address: str, ca: str = "", identity: str = "") -> grpc.Channel:
    if not ca:
        return grpc.insecure_channel(address)
    pem = Path(identity).read_bytes() if identity else b""
    key = _KEY.findall(pem)[0] if pem else None
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes(), key, _KEY.sub(b"", pem) or None)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "core")])


def main(address: str, cluster: str, *files: str) -> str:
    hello = sync_pb2.SyncRequest(hello=sync_pb2.Hello(cluster=cluster, instance="intruder"))
    with channel(address, *files) as opened:
        try:
            stub: Any = sync_pb2_grpc.SyncServiceStub(opened)  # type: ignore[no-untyped-call]
            stream = stub.Sync(iter([hello]), timeout=10)
            return str(sync_pb2.UpdateKind.Name(next(iter(stream)).kind))
        except grpc.RpcError as error:
            return str(error.code().name)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
