"""`acme=true` on a real Swarm, with a real ACME server, whose look at a host is shown to every proxy there is."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from l7.issued import HOST, NOT_AFTER
from testbed import processes
from testbed.pebble import Pebble, Site
from testbed.swarm import BRIDGE_PORT, NODE_NETWORK
from testbed.system import CORE, toml
from tests.e2e.answers import Answer
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, carried
from tests.e2e.tls_client import TlsClient

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

ADDRESS = f"{NODE_NETWORK}.{BRIDGE_PORT}"
LIFE = 45
"""Seconds that certificates are valid: so they are renewed after 30."""

SETTINGS = """
[ACME]
Directory = "{url}"
Email = "ops@example.org"
CAFile = "/acme-ca.pem"
"""


@dataclass
class Front:
    """What all names lead to: it asks every proxy, and answers only if all answer the same."""

    l7: Installation
    port: int = 0
    looks: list[tuple[str, str, list[Answer]]] = field(default_factory=list)

    def look(self, host: str, path: str) -> str | None:
        answers = self.l7.ask(host, path)
        self.looks.append((host, path, answers))
        found = {(each.status, each.body) for each in answers}
        status, body = found.pop()
        return body if status == 200 and not found else None

    def of(self, host: str) -> list[list[Answer]]:
        return [answers for name, _, answers in self.looks if name == host]


@contextmanager
def fronting(l7: Installation) -> Iterator[Front]:
    """A web server outside all nodes."""
    front = Front(l7)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = front.look(self.headers["Host"].partition(":")[0], self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    assert l7.swarm.bridge is not None
    listen = partial(http.server.ThreadingHTTPServer, (ADDRESS, 0), Handler)
    with processes.within(l7.swarm.bridge.net, listen) as server:
        front.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def front(installation: Installation) -> Iterator[Front]:
    with fronting(installation) as front:
        yield front


@pytest.fixture(scope="module")
def server(installation: Installation, front: Front) -> Iterator[Pebble]:
    """The ACME server, outside all nodes."""
    bridge = installation.swarm.bridge
    assert bridge is not None
    site = Site(front.port, ADDRESS, ADDRESS, life=LIFE, command=bridge.command, pid=bridge.pid)
    with Pebble.up(installation.swarm.directory / "pebble", site) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def configured(installation: Installation, server: Pebble) -> Iterator[None]:
    """Core with that server in its settings; nothing is reloaded for it, and no request fails."""
    l7 = installation
    file = l7.swarm.directory / "acme.toml"
    file.write_text(toml(l7.settings()) + SETTINGS.format(url=server.url))
    l7.cli("config", "create", "acme-settings", str(file))
    l7.cli("config", "create", "acme-ca", str(server.ca_file))
    configs = {"acme-settings": "/l7.toml", "acme-ca": "/acme-ca.pem"}
    with l7.load(WITNESS) as reports:
        l7.restart_core(
            *(f"--config-add=source={name},target={target}" for name, target in configs.items()),
            "--env-add=L7_CONFIG=/l7.toml",
        )
        yield
        l7.restart_core(*(f"--config-rm={name}" for name in configs), "--env-add=L7_CONFIG=/config.toml")
    assert carried(reports)
    l7.cli("config", "rm", *configs)


@pytest.fixture
def tls(l7: Installation, tmp_path: Path) -> Iterator[TlsClient]:
    before = [l7.task_ids(name) for name in l7.services]
    yield TlsClient(l7, tmp_path)
    assert [l7.task_ids(name) for name in l7.services] == before, "a proxy's task was replaced"


def secrets(l7: Installation, host: str) -> list[dict[str, Any]]:
    """The certificates of a host that Swarm has, the one that ends last at the end."""
    client: Any = l7.swarm.docker(l7.manager)
    found = client.secrets(filters={"label": f"{HOST}={host}"})
    return sorted(found, key=lambda each: int(each["Spec"]["Labels"][NOT_AFTER]))


def orders(server: Pebble) -> int:
    return server.log.count("Added order")


def shown(tls: TlsClient, host: str) -> str:
    """The fingerprint of the certificate that all proxies show; "" while they differ or refuse."""
    found = {(each.fingerprint, bool(each.error)) for each in tls.handshake(host)}
    (fingerprint, failed), *others = found
    return "" if others or failed else fingerprint


def test_a_label_gets_a_certificate_which_every_proxy_proves_and_serves(
    l7: Installation, create: Create, tls: TlsClient, server: Pebble, front: Front
) -> None:
    """Verified by curl against the server's root; what another core starts with is what there is."""
    host = "acme1.example.org"
    create("acme1", host, labels={"acme": "true"})
    root = ("--cacert", tls.file("root.pem", server.root()))
    tls.served(f"https://{host}/", *root, timeout=60)
    looks = front.of(host)
    assert looks
    for answers in looks:
        assert [each.status for each in answers] == [200] * len(l7.series)
        assert len({each.body for each in answers}) == 1
    (secret,) = secrets(l7, host)
    assert secret["Spec"]["Name"].startswith(f"l7-acme-{host}-")
    told = [each["message"] for each in l7.status()["problems"] if each["service"] == "acme1"]
    assert all("expires in less than" in text for text in told), told
    first, ordered = shown(tls, host), orders(server)
    l7.restart_core()
    assert [each["ID"] for each in secrets(l7, host)] == [secret["ID"]]
    assert orders(server) == ordered
    l7.until("the renewal", lambda: shown(tls, host) not in ("", first), timeout=90)
    tls.served(f"https://{host}/", *root)
    ids = {each["ID"] for each in secrets(l7, host)[:-1]}
    l7.until("the old one to go", lambda: not ids & {each["ID"] for each in secrets(l7, host)}, timeout=120)


def test_the_challenge_is_gone_afterwards(l7: Installation, create: Create, front: Front) -> None:
    host = "acme2.example.org"
    create("acme2", host, labels={"acme": "true"})
    l7.until("the certificate", lambda: secrets(l7, host), timeout=60)
    path, answer = next((path, answers[0].body) for name, path, answers in front.looks if name == host)
    assert answer.startswith(path.rpartition("/")[2] + ".")
    l7.until("the challenge to be gone", lambda: all(each.body != answer for each in l7.ask(host, path)))


def test_a_name_that_leads_elsewhere_is_told_and_the_others_go_on(l7: Installation, create: Create) -> None:
    bad, good = "acme3.invalid", "acme3.example.org"
    create("acme3", f"{bad},{good}", labels={"acme": "true"})
    l7.until("the certificate", lambda: secrets(l7, good), timeout=60)

    def told() -> dict[str, Any] | None:
        found = (each for each in l7.status()["problems"] if each["service"] == "acme3")
        return next((each for each in found if "could not resolve" in each["message"]), None)

    problem = l7.until("a problem in the server's words", told)
    assert problem["value"] == bad
    l7.answered(bad)
    l7.answered(good)


def test_no_key_is_anywhere_but_in_the_secret(l7: Installation) -> None:
    """Neither in logs, nor in the status, nor in what Docker shows of the services."""
    client: Any = l7.swarm.docker(l7.manager)
    specs = [client.inspect_service(name)["Spec"] for name in (CORE, *l7.services)]
    text = "".join([l7.log_of(CORE), *map(l7.log_of, l7.services), orjson.dumps([l7.status(), specs]).decode()])
    assert "PRIVATE KEY" not in text
