"""A real ACME server for tests: Debian's ``pebble`` with its own CA, and DNS that leads all names to one place.

    with Pebble.up(directory, Site(challenges=8000)) as pebble:
        pebble.url, pebble.ca_file

Names are answered by a few lines of DNS of our own (RFC 1035), since pebble asks a server, and no test asks the
internet. Everything listens on one address, in the network namespace that `command` leads to.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from testbed import processes
from testbed.certificates import TestAuthority
from testbed.namespace import TestbedError
from testbed.swarm import wait_for

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[1]
NOWHERE = ".invalid"
"""Names below it do not exist (RFC 6761, section 6.4)."""

_HEADER = struct.Struct("!6H")
_TYPE_A, _NO_SUCH_NAME = 1, 3


def _same(argv: list[str]) -> list[str]:
    return argv


@dataclass(frozen=True, slots=True)
class Site:
    """`address` and ports of pebble; `challenges`: the port at which it looks for answers, at `names`, to which all
    names lead. `life`: seconds that certificates are valid. `command` runs a program in another network namespace,
    which is that of process `pid`.
    """

    challenges: int
    names: str = "127.0.0.1"
    address: str = "127.0.0.1"
    port: int = 14000
    management: int = 15000
    dns: int = 15353
    life: int = 90 * 86400
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Callable[[list[str]], list[str]] = _same
    pid: int = 0


class Pebble:
    """A running server; ended by `stop` or the context manager. Its certificates end with it."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory = directory
        self.site = site
        self._running: list[subprocess.Popen[bytes]] = []

    @classmethod
    def up(cls, directory: Path, site: Site) -> Pebble:
        """Starts it in `directory`, made for it, and waits until it answers. Raises TestbedError."""
        if not shutil.which("pebble"):
            raise TestbedError("pebble not found: run `make setup`")
        directory.mkdir(parents=True, exist_ok=True)
        pebble = cls(directory, site)
        try:
            pebble._start()
        except BaseException:
            pebble.stop()
            raise
        return pebble

    def __enter__(self) -> Pebble:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TestbedError):
            error.add_note(self.log[-4000:])
        self.stop()

    @property
    def url(self) -> str:
        """Of its directory."""
        return f"https://{self.site.address}:{self.site.port}/dir"

    @property
    def ca_file(self) -> Path:
        """Whom to trust about the server itself; not about what it issues (`root`)."""
        return self.directory / "ca.pem"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def root(self) -> bytes:
        """The CA of the certificates that it issues, PEM; another one at each start."""
        return self._get(self.site.management, "/roots/0")

    def stop(self) -> None:
        """Ends both processes and waits for them."""
        for each in self._running:
            each.terminate()
        for each in self._running:
            each.wait()
        self._running.clear()

    def _start(self) -> None:
        site = self.site
        self._write()
        dns = f"{site.address}:{site.dns}"
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        environment |= {"PATH": os.environ["PATH"], **site.environment}
        server = ["pebble", "-strict=false", "-config", str(self.directory / "config.json"), "-dnsserver", dns]
        resolver = [sys.executable, "-m", "testbed.pebble", site.address, str(site.dns), site.names]
        with (self.directory / "log").open("wb") as log:
            for argv in (resolver, server):
                self._running.append(
                    subprocess.Popen(
                        site.command(argv),
                        cwd=REPOSITORY,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        wait_for("DNS to answer", self._resolves, timeout=30)
        wait_for("pebble to answer", self._answers, timeout=30)

    def _write(self) -> None:
        """Certificate, key and configuration."""
        authority = TestAuthority("pebble's own CA")
        issued = authority.issue("localhost", self.site.address)
        self.ca_file.write_bytes(authority.certificate)
        (self.directory / "certificate.pem").write_bytes(issued.certificate)
        key = self.directory / "key.pem"
        key.touch(0o600)
        key.write_bytes(issued.key)
        config = {
            "listenAddress": f"{self.site.address}:{self.site.port}",
            "managementListenAddress": f"{self.site.address}:{self.site.management}",
            "certificate": str(self.directory / "certificate.pem"),
            "privateKey": str(key),
            "httpPort": self.site.challenges,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": self.site.life,
        }
        (self.directory / "config.json").write_text(json.dumps({"pebble": config}))

    def _answers(self) -> bool:
        self._check_running()
        try:
            return bool(self._get(self.site.port, "/dir"))
        except OSError:
            return False

    def _resolves(self) -> bool:
        """Whether a question is answered: whoever asks too early is told that there is no such name."""
        self._check_running()
        question = _HEADER.pack(1, 0x0100, 1, 0, 0, 0) + b"\x04name\x04test\x00" + struct.pack("!2H", _TYPE_A, 1)

        def ask() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(1)
                client.connect((self.site.address, self.site.dns))
                client.send(question)
                return client.recv(512).endswith(socket.inet_aton(self.site.names))

        try:
            return self._inside(ask)
        except OSError:
            return False

    def _check_running(self) -> None:
        ended = [each.args for each in self._running if each.poll() is not None]
        if ended:
            raise TestbedError(f"{ended} ended at its start: {self.log[-2000:]}")

    def _get(self, port: int, page: str) -> bytes:
        def fetch() -> bytes:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            client = http.client.HTTPSConnection(self.site.address, port, timeout=5, context=context)
            try:
                client.request("GET", page)
                return client.getresponse().read()
            finally:
                client.close()

        return self._inside(fetch)

    def _inside(self, call: Callable[[], T]) -> T:
        """What `call` gives in the server's network namespace."""
        return processes.within(Path(f"/proc/{self.site.pid}/ns/net"), call) if self.site.pid else call()


# -- DNS ---------------------------------------------------------------------------------------------------------


def dns_answer(query: bytes, address: str) -> bytes:
    """The response to a query of one question: `address` for IPv4, nothing for other types, and no such name for
    those of `NOWHERE`. Raises ValueError for what is no query (RFC 1035, section 4.1)."""
    if len(query) < _HEADER.size or (header := _HEADER.unpack_from(query))[2] != 1:
        raise ValueError("not one question")
    labels, at = [], _HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    question = query[_HEADER.size : at + 5]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    missing = f".{labels[-1] if labels else ''}" == NOWHERE
    count = 1 if kind == _TYPE_A and not missing else 0
    # Response, authoritative, recursion desired as asked, and available.
    flags = 0x8480 | (header[1] & 0x0100) | (_NO_SUCH_NAME if missing else 0)
    # The name is a pointer to the question's, at offset 12.
    record = struct.pack("!HHHIH4s", 0xC00C, _TYPE_A, 1, 0, 4, socket.inet_aton(address)) if count else b""
    return _HEADER.pack(header[0], flags, 1, count, 0, 0) + question + record


def serve_dns(listen: tuple[str, int], address: str) -> None:
    """Answers until it is ended by a signal."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(listen)
        while True:
            query, client = server.recvfrom(1500)
            try:
                answer = dns_answer(query, address)
            except (ValueError, IndexError, struct.error):
                continue
            server.sendto(answer, client)


def main() -> None:
    parser = argparse.ArgumentParser(prog="testbed.pebble", description="DNS that gives one address to all names")
    parser.add_argument("listen")
    parser.add_argument("port", type=int)
    parser.add_argument("address", help="what every name leads to")
    options = parser.parse_args()
    serve_dns((options.listen, options.port), options.address)


if __name__ == "__main__":
    main()
