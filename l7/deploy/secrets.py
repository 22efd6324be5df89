"""Where the PKI is kept: Docker secrets of the Swarm, or files of a directory.

Docker never gives a secret's data back. What must be read again (the CA's key, to make an identity for one
more cluster) is read where core has it mounted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import docker
import docker.errors
import requests

from l7.deploy.pki import Authority
from l7.kit.errors import ConfigError, L7Error, Rejected, Unavailable

CA = "l7-ca"
CA_KEY = "l7-ca-key"
CORE = "l7-core"
PROXY = "l7-proxy"

ROLE_LABEL = "com.docker.l7.role"
"""Container label by which core is found on its node: `com.docker.l7.role=core`."""

SECRETS = "/run/secrets"


class PkiStore(Protocol):
    """A place for named PEM texts, each written once."""

    def names(self) -> frozenset[str]:
        """What is there already."""

    def create(self, name: str, data: bytes) -> None:
        """Keeps a text under a new name."""

    def authority(self) -> Authority:
        """The CA that is there. Raises ConfigError when it cannot be read from here."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Files `<name>.pem`, keys readable by their owner alone; for use without Swarm."""

    path: Path

    def names(self) -> frozenset[str]:
        return frozenset(file.stem for file in self.path.glob("*.pem"))

    def create(self, name: str, data: bytes) -> None:
        """Raises ConfigError when the file cannot be written, or is there already."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise ConfigError(str(self._file(name)), f"cannot be written: {error.strerror}") from error

    def authority(self) -> Authority:
        return Authority(self._read(CA), self._read(CA_KEY))

    def _read(self, name: str) -> bytes:
        try:
            return self._file(name).read_bytes()
        except OSError as error:
            raise ConfigError(str(self._file(name)), f"cannot be read: {error.strerror}") from error

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.pem"


class Swarm:
    """Docker secrets, through the Engine API of a manager."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    def names(self) -> frozenset[str]:
        """Raises Unavailable without a daemon, Rejected when it is no manager."""
        with mapped("list secrets"):
            return frozenset(str(secret.name) for secret in self._client.secrets.list())

    def create(self, name: str, data: bytes) -> None:
        """Raises Rejected when there is one of that name."""
        with mapped(f"create secret {name}"):
            self._client.secrets.create(name=name, data=data, labels={"com.docker.l7": "pki"})

    def authority(self) -> Authority:
        """From core's container on this node: the only place where the CA's key is mounted."""
        core = core_container(self._client)
        if core is None:
            raise ConfigError(
                CA_KEY,
                "the CA exists as a Docker secret, which only core can read: run this on the node where core runs; "
                "if core never ran, remove the secrets l7-* and begin anew",
            )
        return Authority(self._mounted(core, CA), self._mounted(core, CA_KEY))

    def _mounted(self, container: Any, name: str) -> bytes:
        status, output = run_in(container, ["cat", f"{SECRETS}/{name}"])
        if status != 0:
            raise ConfigError(name, "is not mounted in core: attach the secret to core's service")
        return output


def connect(url: str) -> docker.DockerClient:
    """A client of the Engine API at `url`. Raises Unavailable."""
    with mapped(f"connect to {url}"):
        client = docker.DockerClient(base_url=url, version="auto", timeout=10)
    # REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE of the environment would override the client's own CA.
    client.api.trust_env = False
    return client


def core_container(client: docker.DockerClient) -> Any | None:
    """The container of core on this node, None when it does not run here."""
    with mapped("list containers"):
        found = client.containers.list(filters={"label": f"{ROLE_LABEL}=core", "status": "running"})
    return found[0] if found else None


def run_in(container: Any, command: list[str], environment: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """(exit status, standard output) of a command in a container."""
    with mapped(f"run {command[0]} in {container.name}"):
        status, (output, errors) = container.exec_run(command, demux=True, environment=dict(environment or {}))
    return int(status), (output or errors or b"")


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Docker's exceptions as l7's, once."""
    try:
        yield
    except docker.errors.APIError as error:
        raise _api_error(what, error) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise Unavailable(f"Docker, {what}: {error}") from error


def _api_error(what: str, error: docker.errors.APIError) -> L7Error:
    explanation = str(error.explanation or error)
    return Rejected(what, explanation) if error.is_client_error() else Unavailable(f"Docker, {what}: {explanation}")
