"""An installation's PKI as files, and the parts that use it, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc

from haproxy.service import ExtensionService, Options
from l7.deploy import pki
from l7.deploy.issuer import Issuer
from l7.kit.channel import open_channel
from l7.kit.metrics import Metrics
from l7.kit.tls import TlsFiles, authorities_digest, extension_name
from l7.model import Snapshot
from l7.serve.grpc_api import Endpoint, Server, SyncApi
from l7.serve.pki_api import PkiApi
from l7.status import Extensions
from l7.store import Store
from l7.v1 import pki_pb2, pki_pb2_grpc, secrets_pb2, secrets_pb2_grpc


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it changes at the other end of a socket
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Pki:
    """Writes identities of a CA into a directory."""

    directory: Path
    authority: pki.Authority

    def files(self, name: str, identity: bytes, trusted: bytes = b"") -> TlsFiles:
        ca, path = self.directory / f"{name}.ca", self.directory / f"{name}.pem"
        ca.write_bytes(trusted or self.authority.certificate)
        path.write_bytes(identity)
        return TlsFiles(str(ca), str(path))

    def core(self, trusted: bytes = b"") -> TlsFiles:
        return self.files("core", pki.core_identity(self.authority), trusted)

    def proxy(self, cluster: str = "", trusted: bytes = b"") -> TlsFiles:
        return self.files(f"proxy-{cluster}", pki.proxy_identity(self.authority, cluster), trusted)

    def extension(self, cluster: str = "", trusted: bytes = b"") -> TlsFiles:
        return self.files(f"extension-{cluster}", pki.extension_identity(self.authority, cluster), trusted)

    def issuer(self, files: TlsFiles, lifetime: timedelta = pki.RENEWED) -> Issuer:
        key = self.directory / "ca.key"
        key.write_bytes(self.authority.key)
        return Issuer(files, str(key), lifetime)


@asynccontextmanager
async def core_running(
    files: TlsFiles | None, issuer: Issuer | None, address: str = "127.0.0.1:0"
) -> AsyncIterator[str]:
    """Core's server, with nothing to route; its address."""
    store = Store(lambda cluster: Snapshot(cluster, "r1", {}, {}))
    store.put("")
    api = SyncApi(store, [""], Extensions(), Metrics("core", "test"))
    if files is not None:
        api.authorities = lambda: authorities_digest(Path(files.ca).read_bytes())
    server = Server(api, [Endpoint(address, files)], PkiApi(issuer))
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"localhost:{server.ports[0]}"
    finally:
        await server.stop(grace=0.2)


@asynccontextmanager
async def service_running(
    directory: Path, files: TlsFiles | None, cluster: str = "", core: str = ""
) -> AsyncIterator[tuple[ExtensionService, str]]:
    """The extension service with the secrets of `directory`, and its address."""
    run_dir = directory.with_name("run")
    options = Options("127.0.0.1:0", str(directory), cluster, files, core, str(run_dir))
    service = ExtensionService(options)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await until(lambda: service.port or running.done())
    try:
        yield service, f"127.0.0.1:{service.port}"
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)


async def fetched(address: str, files: TlsFiles | None, *ids: str, cluster: str = "") -> dict[str, bytes]:
    """What an extension service sends. Raises grpc.aio.AioRpcError."""
    async with open_channel(address, files, extension_name(cluster), own=True) as channel:
        stub = secrets_pb2_grpc.SecretServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Fetch(secrets_pb2.FetchRequest(ids=ids), timeout=10)
        return {response.id: response.data async for response in call}


async def renewed(address: str, files: TlsFiles | None, request: bytes) -> pki_pb2.RenewResponse:
    """What core's PkiService answers. Raises grpc.aio.AioRpcError."""
    async with open_channel(address, files, own=True) as channel:
        stub = pki_pb2_grpc.PkiServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: pki_pb2.RenewResponse = await stub.Renew(
            pki_pb2.RenewRequest(certificate_request=request), timeout=10
        )
        return answer


async def code_of(call: object) -> grpc.StatusCode:
    """The status that a call ends with."""
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
