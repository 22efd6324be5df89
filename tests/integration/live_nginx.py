"""A real NGINX on loopback that runs from what the extension renders, as a task of the proxy service would."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from l7.v1 import sync_pb2 as pb
from nginx.hosts import Places
from nginx.roll import FileSet, Roller
from nginx.state import State
from nginx.ways import SECRETS
from tests.integration.live_haproxy import await_true, free_port

BINARY = shutil.which("nginx") or "/usr/sbin/nginx"


@dataclass
class World:
    """What is wanted, and where: below `directory`, on two ports of loopback. `resolver`: nobody, if not told."""

    directory: Path
    state: State = field(default_factory=State)
    http: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    resolver: str = "127.0.0.1:9"

    def __post_init__(self) -> None:
        for name in ("secrets", "run", "etc", "tmp"):
            (self.directory / name).mkdir()
        self.config: dict[str, object] = {
            "User": "root", "PidPath": f"{self.directory}/pid",
            "AccessLogPath": f"{self.directory}/access.log", "ErrorLogPath": f"{self.directory}/error.log",
        }  # fmt: skip

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.http

    @property
    def roller(self) -> Roller:
        etc = str(self.directory / "etc")
        places = Places(
            f"127.0.0.1:{self.http}", f"127.0.0.1:{self.tls}", etc, str(self.directory / "tmp"), "", 80, 443,
            self.resolver,
        )
        return Roller(places, f"{etc}/nginx.conf", self.directory / "secrets", self.directory / "run", BINARY)

    def secret(self, name: str, content: bytes) -> pb.Secret:
        (self.directory / "secrets" / name).write_bytes(content)
        return pb.Secret(id=name, name=name)

    def backend(
        self, name: str, *ports: int, settings: pb.BackendSettings | None = None, address: str = "127.0.0.1",
        state: pb.ServerState = pb.SERVER_STATE_READY,
    ) -> None:  # fmt: skip
        """With a server for each port."""
        servers = [
            pb.Server(task=f"{name}{n}", id=n, address=address, port=port, weight=1, state=state)
            for n, port in enumerate(ports, 1)
        ]
        message = pb.Backend(name=name, settings=settings or pb.BackendSettings(services=[name]), servers=servers)
        self.state.backends[name] = message

    def route(self, host: str, path: str = "/", backend: str = "", **more: object) -> None:
        self.state.routes[host, path] = pb.Route(host=host, path=path, backend=backend, **more)  # type: ignore[arg-type]

    def files(self) -> FileSet:
        self.state.config = json.dumps(self.config).encode()
        outcome = self.roller.render(self.state)
        assert outcome.files is not None, outcome.problems
        return outcome.files

    def write(self) -> None:
        """Files where they are mounted; secrets are looked for in this test's directory."""
        files = self.files()
        for name, path in files.mounts.items():
            text = files.files[name].decode().replace(f"{SECRETS}/", f"{self.directory}/secrets/")
            Path(path).write_text(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.write()
        log = self.directory / "stderr"
        with log.open("wb") as err:
            process = subprocess.Popen([BINARY, *self.roller.command[1:]], stdout=err, stderr=err)
        try:
            await_true(lambda: accepts(self.address) or process.poll() is not None, "NGINX listens")
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait()


def accepts(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0
