"""Where the PKI is kept: Docker secrets of the Swarm, or files of a directory.

Docker never gives a secret's data back. What must be read again (the CA's key, to make an identity for one
more cluster) is read where core has it mounted. What must be known of the others is in their labels (`stored`).
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

from l7.deploy import pki
from l7.deploy.pki import Authority
from l7.deploy.stored import (
    AUTHORITIES,
    BASE,
    CA,
    CA_KEY,
    CORE,
    GENERATION,
    KEYS,
    KIND,
    NOT_AFTER,
    Stored,
    named,
    stored,
)
from l7.kit import tls
from l7.kit.errors import ConfigError, L7Error, Rejected, Unavailable
from l7.swarm import engine
from l7.swarm.engine import Address

ROLE_LABEL = "com.docker.l7.role"
"""Container label by which core is found on its node: `com.docker.l7.role=core`."""

SECRETS = "/run/secrets"

TIMEOUT = 10
"""Seconds for a call of the Engine API."""


ATTEMPTS = 5
END = "\nend of file"


def labels_of(base: str, generation: int, data: bytes) -> dict[str, str]:
    """What `stored` reads."""
    labels = {KIND[0]: KIND[1], BASE: base, GENERATION: str(generation)}
    if base not in KEYS:
        labels[NOT_AFTER] = str(int(pki.not_after(data).timestamp()))
    if base == CA:
        labels[AUTHORITIES] = ",".join(pki.fingerprint(each) for each in tls.certificates(data))
    return labels


class PkiStore(Protocol):
    """A place for PEM texts by name and generation, each written once."""

    def stored(self) -> tuple[Stored, ...]:
        """What is there already."""

    def create(self, base: str, generation: int, data: bytes) -> str:
        """Keeps a text; the name that it was given."""

    def authority(self) -> Authority:
        """The CA that is in use. Raises ConfigError when it cannot be read from here."""

    def expected(self, generation: int) -> str:
        """Fingerprint of the CA of a generation, "" when unknown."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Files `<name>.pem`, keys readable by their owner alone; for use without Swarm."""

    path: Path

    def stored(self) -> tuple[Stored, ...]:
        return tuple(Stored(file.stem, file.stem, file.stem) for file in sorted(self.path.glob("*.pem")))

    def create(self, base: str, generation: int, data: bytes) -> str:
        """Raises ConfigError when the file cannot be written, or is there already."""
        name = named(base, generation)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise ConfigError(str(self._file(name)), f"cannot be written: {error.strerror}") from error
        return name

    def authority(self) -> Authority:
        return pki.authority(self._read(CA), self._read(CA_KEY), b"")

    def expected(self, generation: int) -> str:
        return ""

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

    def stored(self) -> tuple[Stored, ...]:
        """Raises Unavailable without a daemon, Rejected when it is no manager."""
        with mapped("list secrets"):
            found = self._client.secrets.list(filters={"label": "=".join(KIND)})
        specs = [(str(each.id), each.attrs["Spec"]) for each in found]
        return tuple(stored(id, spec["Name"], spec.get("Labels") or {}) for id, spec in specs)

    def create(self, base: str, generation: int, data: bytes) -> str:
        """Raises Rejected when there is one of that name."""
        name = named(base, generation)
        with mapped(f"create secret {name}"):
            self._client.secrets.create(name=name, data=data, labels=labels_of(base, generation, data))
        return name

    def remove(self, secret: Stored) -> None:
        """Raises Rejected while a service refers to it."""
        with mapped(f"remove secret {secret.name}"):
            self._client.api.remove_secret(secret.id)

    def authority(self) -> Authority:
        """From core's container on this node: the only place where the CA's key is mounted."""
        core = core_container(self._client)
        if core is None:
            raise ConfigError(
                CA_KEY,
                "the CA exists as a Docker secret, which only core can read: run this on the node where core runs; "
                "if core never ran, remove the secrets l7-* and begin anew",
            )
        return pki.authority(*(self._mounted(core, name) for name in (CA, CA_KEY, CORE)))

    def core_names(self) -> tuple[str, ...]:
        """DNS names of core's identity, from the same place."""
        core = core_container(self._client)
        return () if core is None else pki.dns_names(self._mounted(core, CORE))

    def expected(self, generation: int) -> str:
        cas = [each for each in self.stored() if each.base == CA and each.generation == generation]
        return cas[0].authorities[0] if cas and cas[0].authorities else ""

    def _mounted(self, container: Any, name: str) -> bytes:
        found = read_in(container, f"{SECRETS}/{name}")
        if found is None:
            raise ConfigError(name, "is not mounted in core: attach the secret to core's service")
        return found

    # ------------------------------------------------------------ services

    def services(self) -> list[dict[str, Any]]:
        """All services, as the Engine API has them."""
        api: Any = self._client.api
        with mapped("list services"):
            found: list[dict[str, Any]] = api.services()
        return found

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks that Swarm wants to run."""
        api: Any = self._client.api
        with mapped("list tasks"):
            found: list[dict[str, Any]] = api.tasks(filters={"desired-state": "running"})
        return found

    def update(self, service: Mapping[str, Any]) -> None:
        """Gives a service of `services` its changed specification. Raises Unavailable when somebody else was
        faster, Rejected when Docker refuses it."""
        api: Any = self._client.api
        with mapped(f"update service {service['Spec']['Name']}"):
            url = f"{api.base_url}/v{api.api_version}/services/{service['ID']}/update"
            answer = api.post(
                url, json=service["Spec"], params={"version": service["Version"]["Index"]}, timeout=10
            )
            api._raise_for_status(answer)


def connect(where: Address | str) -> docker.DockerClient:
    """A client of the Engine API there, or at a URL. Raises Unavailable, and ConfigError for a file of TLS that is
    missing."""
    address = Address(where) if isinstance(where, str) else where
    tls_config = engine.tls_config(address)
    with mapped(f"connect to {address.url}"):
        version = engine.api_version(address, TIMEOUT)
        client = docker.DockerClient(base_url=address.url, version=version, timeout=TIMEOUT, tls=tls_config)
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


def read_in(container: Any, path: str) -> bytes | None:
    """A file of a container, None where it can't be read. Raises Unavailable.

    On a busy node Docker may lose what a command said that has ended already, and says nothing of it: so a mark is
    written after the file, and where that is missing it is read again.
    """
    for _ in range(ATTEMPTS):
        status, output = run_in(container, ["sh", "-c", 'cat "$1" && printf %s "$2"', "-", path, END])
        if status != 0:
            return None
        if output.endswith(END.encode()):
            return output.removesuffix(END.encode())
    raise Unavailable(f"Docker loses what commands in {container.name} say: {path} can't be read; try again")


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
