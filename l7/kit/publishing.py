"""How an extension hands a configuration to core (`PublishConfig`, proto/l7/v1/sync.proto)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import grpc

from l7.kit.channel import open_channel
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc

PIECE = 512 * 1024
"""Bytes of files per message."""
PATIENCE = 120.0
"""Seconds that core may take: Docker may not answer it for a while."""
FINAL = frozenset(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""No second try helps, until something changes."""


async def publish(
    core: str,
    tls: NewestFiles | None,
    first: pb.PublishConfigRequest,
    files: Mapping[str, bytes],
    mounts: Mapping[str, str],
) -> pb.PublishConfigResponse:
    """Core's answer, when the configuration is stored. `first`: all but the files; `mounts`: where proxies in file
    mode find some of them. Raises AioRpcError, and ConfigError for TLS files that can't be read."""
    async with open_channel(core, tls and tls()) as channel:
        stub = rpc.SyncServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: pb.PublishConfigResponse = await stub.PublishConfig(_pieces(first, files, mounts), timeout=PATIENCE)
        return answer


async def _pieces(
    first: pb.PublishConfigRequest, files: Mapping[str, bytes], mounts: Mapping[str, str]
) -> AsyncIterator[pb.PublishConfigRequest]:
    yield first
    for name, content in sorted(files.items()):
        for at in range(0, max(1, len(content)), PIECE):
            file = pb.ConfigFile(name=name, data=content[at : at + PIECE], mount=mounts.get(name, ""))
            yield pb.PublishConfigRequest(files=[file])


def mounted(path: str, id_: str, name: str, config: bool) -> pb.MountedSecret:
    """A secret, or a config, as a file of the proxies."""
    return pb.MountedSecret(secret=pb.Secret(id=id_, name=name, config=config), mount=path)
