"""Clients of the TLS listeners, outside all nodes: `curl` and `openssl s_client`, as an operator would use them."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from testbed.certificates import Issued, TestAuthority
from testbed.namespace import TestbedError
from tests.e2e.answers import NOTHING, Answer
from tests.e2e.installation import Installation

_FINGERPRINT = re.compile(r"sha256 Fingerprint=([0-9A-F:]+)", re.I)


@dataclass(frozen=True, slots=True)
class Shown:
    """What `openssl s_client` saw of a handshake. `fingerprint`: SHA-256 of the certificate, hexadecimal, "" for
    none; `error`: what it said when the handshake failed, "" when it did not."""

    series: str
    fingerprint: str
    protocol: str
    cipher: str
    alpn: str
    error: str


def _instances(place: tuple[str, int], host: str, times: int) -> Counter[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found: Counter[str] = Counter()
    for _ in range(times):
        with socket.create_connection(place, 20) as plain:
            client = http.client.HTTPConnection(host)
            client.sock = context.wrap_socket(plain, server_hostname=host)
            client.request("GET", "/", headers={"Connection": "close"})
            answer = client.getresponse()
            found[answer.headers.get("x-instance", "")] += 1
            answer.read()
            client.close()
    return found


class TlsClient:
    """Speaks TLS with every proxy of an installation; files go to `directory`."""

    def __init__(self, l7: Installation, directory: Path) -> None:
        self.l7 = l7
        self.directory = directory

    # -- secrets -------------------------------------------------------------------------------------------

    def secret(self, name: str, data: bytes) -> str:
        """Creates a Docker secret; its id."""
        client: Any = self.l7.swarm.docker(self.l7.manager)
        return str(client.create_secret(name, data)["ID"])

    def pair(self, name: str, issued: Issued) -> dict[str, str]:
        """Creates the secrets `<name>.cert` and `<name>.key`; the labels that name them."""
        self.secret(f"{name}.cert", issued.certificate)
        self.secret(f"{name}.key", issued.key)
        return {"ssl_cert": f"{name}.cert", "ssl_key": f"{name}.key"}

    def file(self, name: str, data: bytes) -> str:
        """A file for a client; its path."""
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def trust(self, authority: TestAuthority) -> str:
        """The option by which curl trusts an authority."""
        return f"--cacert={self.file('ca.pem', authority.certificate)}"

    # -- curl ----------------------------------------------------------------------------------------------

    def curl(self, url: str, *options: str, headers: Mapping[str, str] = NOTHING) -> list[Answer]:
        """What each proxy answers to ``curl URL``; the URL's port is replaced by the proxy's own. `status` 0 and
        curl's own words in `error` when there is no answer."""
        return [self._curl(proxy, url, options, headers) for proxy in range(len(self.l7.services))]

    def _curl(self, proxy: int, url: str, options: tuple[str, ...], headers: Mapping[str, str]) -> Answer:
        words = self._command(proxy, url, [*options, *(f"--header={name}: {headers[name]}" for name in headers)])
        done = self._run(words)
        return self._answered(proxy, done.returncode, done.stdout, done.stderr)

    def _answered(self, proxy: int, status: int, output: str, errors: str) -> Answer:
        if status:
            return Answer(self.l7.series[proxy], 0, {"x-l7-error": errors.strip()}, "")
        return _answer(self.l7.series[proxy], output)

    def _command(self, proxy: int, url: str, options: Iterable[str]) -> list[str]:
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        places = self.l7.places(proxy, tls=scheme == "https")
        addresses, port = ",".join(address for address, _ in places), places[0][1]
        # By addresses, with the name in SNI and Host alone: as if the port were the usual one.
        words = ["--connect-to", f"{host}::proxy:{port}", "--resolve", f"proxy:{port}:{addresses}"]
        words += [word for option in options for word in _words(option)]
        target = f"{scheme}://{host}{slash}{path}"
        return ["curl", "--silent", "--show-error", "--include", "--max-time", "60", *words, target]

    @contextmanager
    def beside(self, url: str, *options: str) -> Iterator[list[Answer]]:
        """Asks each proxy while the block runs; the answers are there after it."""
        answers: list[Answer] = []
        commands = [self._command(proxy, url, options) for proxy in range(len(self.l7.services))]
        pipe = subprocess.PIPE
        running = [self.l7.swarm.run(None, each, stdout=pipe, stderr=pipe, text=True) for each in commands]
        try:
            yield answers
        finally:
            for proxy, each in enumerate(running):
                output, errors = each.communicate(timeout=90)
                answers.append(self._answered(proxy, each.returncode, output, errors))

    def instances(self, host: str, times: int) -> list[Counter[str]]:
        """How often each task answers, by proxy; each request on a connection of its own."""
        places = [self.l7.places(proxy, tls=True)[0] for proxy in range(len(self.l7.services))]
        return [self.l7.outside(partial(_instances, each, host, times)) for each in places]

    def served(self, url: str, *options: str, status: int = 200, timeout: float = 60.0) -> list[Answer]:
        """Waits until every proxy answers with this status."""
        last: list[Answer] = []

        def all_answer() -> list[Answer] | None:
            last[:] = self.curl(url, *options)
            return list(last) if all(each.status == status for each in last) else None

        try:
            return self.l7.until(f"{status} of {url}", all_answer, timeout)
        except TestbedError as error:
            error.add_note(f"last answers: {[(each.series, each.status, each.error) for each in last]}")
            raise

    # -- openssl -------------------------------------------------------------------------------------------

    def handshake(self, host: str, *options: str) -> list[Shown]:
        """What each proxy shows to ``openssl s_client``; `host` "": no SNI."""
        return [self._handshake(proxy, host, options) for proxy in range(len(self.l7.services))]

    def _handshake(self, proxy: int, host: str, options: tuple[str, ...]) -> Shown:
        sni = ("-servername", host) if host else ("-noservername",)
        for address, port in self.l7.places(proxy, tls=True):
            words = ["openssl", "s_client", "-connect", f"{address}:{port}", *sni, *options]
            done = self._run(words, text="")
            if "Connection refused" not in done.stderr:
                break
        error = "" if _SERVER.search(done.stdout) and not _ALERT.search(done.stderr) else done.stderr.strip()
        return Shown(
            self.l7.series[proxy],
            self._fingerprint(done.stdout),
            _found(r"^\s*Protocol\s*: (\S+)|^New, (TLSv[0-9.]+),", done.stdout),
            _found(r"Cipher is (\S+)", done.stdout),
            _found(r"^ALPN protocol: (\S+)", done.stdout),
            error,
        )

    def _fingerprint(self, output: str) -> str:
        certificate = _SERVER.search(output)
        if certificate is None:
            return ""
        words = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
        found = _FINGERPRINT.search(self._run(words, text=certificate[0]).stdout)
        return found[1].replace(":", "").lower() if found else ""

    def shows(self, host: str, fingerprint: str, timeout: float = 60.0) -> None:
        """Waits until every proxy shows this certificate for the host; "": until all refuse the handshake."""
        last: list[Shown] = []

        def all_show() -> bool:
            last[:] = self.handshake(host)
            return all(each.fingerprint == fingerprint and bool(each.error) != bool(fingerprint) for each in last)

        try:
            self.l7.until(f"{host} to show {fingerprint or 'nothing'}", all_show, timeout)
        except TestbedError as error:
            error.add_note(f"last handshakes: {last}")
            raise

    def _run(self, words: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """A program outside all nodes; environment variables of the machine's own proxies don't reach it."""
        pipe = subprocess.PIPE
        # With h2, what a server sends first is no text.
        options: dict[str, Any] = {"text": True, "errors": "replace"}
        process = self.l7.swarm.run(None, words, stdin=pipe, stdout=pipe, stderr=pipe, **options)
        output, errors = process.communicate(text, timeout=30)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)


_SERVER = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.S)
_ALERT = re.compile(r"alert|handshake failure|unexpected eof|errno", re.I)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    return next((group for group in match.groups() if group), "") if match else ""


def _answer(series: str, output: str) -> Answer:
    """The last of the answers in curl's output: an interim one, or that of a proxy, may come before it."""
    head, _, body = output.partition("\n\n") if "\r\n" not in output else output.partition("\r\n\r\n")
    while body.startswith("HTTP/"):
        head, _, body = body.partition("\r\n\r\n")
    lines = head.splitlines()
    headers = dict(_header(line) for line in lines[1:] if ":" in line)
    return Answer(series, int(lines[0].split()[1]), headers, body)


def _words(option: str) -> list[str]:
    """`--name=value` as curl has it: in two words."""
    name, equals, value = option.partition("=")
    return [name, value] if option.startswith("--") and equals else [option]


def _header(line: str) -> Iterator[str]:
    name, _, value = line.partition(":")
    return iter((name.lower(), value.strip()))
