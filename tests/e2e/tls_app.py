"""An application that speaks TLS itself, with a certificate of its own: an HAProxy in a task, out of l7's image.

It answers 200 with what it saw, in headers of its answer: who it is (`x-instance`), the names of the request's
headers (`x-seen`), the server name that was asked for (`x-sni`), the common name of a client's certificate
(`x-client`), and the client's address as the PROXY protocol has it (`x-source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed import image
from testbed.system import LABEL
from tests.e2e.answers import NOTHING
from tests.e2e.installation import Installation

PORT = 8443
_CONFIG = """\
global
  log stdout format raw local0
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 1s
frontend tls
  bind :{port} ssl crt /run/secrets/app.pem alpn h2,http/1.1 {bind}
  http-request set-var(txn.names) req.hdr_names
  http-request set-var(txn.client) ssl_c_s_dn(cn)
  http-request return status 200 content-type text/plain lf-string "instance=%[env(INSTANCE)] version=%[env(VERSION)]\\n" hdr x-instance %[env(INSTANCE)] hdr x-seen %[var(txn.names)] hdr x-sni %[ssl_fc_sni] hdr x-client %[var(txn.client)] hdr x-source %[src]
"""  # noqa: E501


CLIENTS_CA = "/run/secrets/ca.pem"


class TlsApp:
    """Creates such services, and removes what it made. `ca`: there for them as `CLIENTS_CA`."""

    def __init__(self, l7: Installation, ca: bytes) -> None:
        self.l7 = l7
        self.ca = ca
        self._services: list[str] = []
        self._configs: list[str] = []
        self._secrets: list[str] = []

    def create(
        self,
        name: str,
        pem: bytes,
        hosts: str,
        labels: Mapping[str, str] = NOTHING,
        replicas: int = 1,
        bind: str = "",
    ) -> None:
        """A service whose tasks show the certificate in `pem`; `bind`: more words for their listener."""
        config = _CONFIG.format(port=PORT, bind=bind)
        words = [f"--config=source={self._config(name, config)},target=/app.cfg"]
        words += [f"--secret=source={self._secret(f'{name}-app', pem)},target=app.pem"]
        words += [f"--secret=source={self._secret(f'{name}-ca', self.ca)},target=ca.pem"]
        routed = {**self.l7.labels, "hosts": hosts, "port": str(PORT), **labels}
        words += [f"--label={LABEL}{key}={value}" for key, value in routed.items()]
        self._services.append(name)
        self.l7.cli(
            "service", "create", "--detach", "--no-resolve-image", "--restart-delay=0s", f"--name={name}",
            f"--network={self.l7.network}", f"--replicas={replicas}", "--env=INSTANCE={{.Task.ID}}",
            "--env=VERSION=1", *words, "--entrypoint=haproxy", image.TAG, "-db", "-f", "/app.cfg",
        )  # fmt: skip

    def _config(self, name: str, text: str) -> str:
        client: Any = self.l7.swarm.docker(self.l7.manager)
        client.create_config(f"{name}-app", text.encode())
        self._configs.append(f"{name}-app")
        return f"{name}-app"

    def _secret(self, name: str, data: bytes) -> str:
        client: Any = self.l7.swarm.docker(self.l7.manager)
        client.create_secret(name, data)
        self._secrets.append(name)
        return name

    def close(self) -> None:
        """Removes services, configs and secrets."""
        if self._services:
            self.l7.remove(*self._services)
        for kind, names in (("config", self._configs), ("secret", self._secrets)):
            if names:
                self.l7.until(f"{kind}s to be removed", lambda kind=kind, names=names: self._removed(kind, names))

    def _removed(self, kind: str, names: list[str]) -> bool:
        self.l7.cli(kind, "rm", *names)
        return True
