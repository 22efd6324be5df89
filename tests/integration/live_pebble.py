"""A real ACME server on loopback, and an HTTP server that answers its challenges."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from testbed.pebble import Pebble, Site
from tests.integration.live_haproxy import free_port

WELL_KNOWN = "/.well-known/acme-challenge/"


class Answers:
    """Token -> key authorization. `asked`: (host, token) of each request."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.port = 0


@contextmanager
def answering() -> Iterator[Answers]:
    """A web server in a thread that knows nothing but answers to challenges."""
    answers = Answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.path.removeprefix(WELL_KNOWN)
            answers.asked.append((self.headers["Host"].partition(":")[0], token))
            text = answers.known.get(token)
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def pebble(directory: Path, challenges: int, life: int = 90 * 86400, **environment: str) -> Iterator[Pebble]:
    """It looks for answers at the port `challenges` of loopback."""
    settings: Mapping[str, str] = environment
    site = Site(
        challenges, port=free_port(), management=free_port(), dns=free_port(), life=life, environment=settings
    )
    with Pebble.up(directory, site) as server:
        yield server


def account_key(path: Path, kind: str = "ec") -> str:
    """A new private key in a file; its path."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    none = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    return str(path)
