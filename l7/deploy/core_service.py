"""Core's own service and its settings, as the Engine API writes them. Pure.

It keeps nothing on disk and needs root for two sockets, so it is uid 0 without any capability, on a read-only file
system, on whichever manager Swarm starts it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l7.deploy import first_settings, healthcheck, names
from l7.deploy.stored import ACME_ACCOUNT, CA, CA_KEY, CORE, Stored
from l7.deploy.wanted import RUN, SECOND, SECRETS

Json = Mapping[str, Any]

SERVICE = "l7-core"
NETWORK = "l7-control"
"""What core, extension services and proxies speak over; no application is on it."""
DNS_NAMES = (SERVICE, f"tasks.{SERVICE}")
ROLE = ("com.docker.l7.role", "core")
"""Label of core's containers."""
CONFIG_FILE = "/config.toml"
IDENTITIES = (CA, CA_KEY, CORE, ACME_ACCOUNT)
_CONFIG_NAME = re.compile(r"com\.docker\.l7\.conf-([0-9]{1,9})")
_KEPT = 5
"""Config objects with settings of before that are kept, to go back to."""


@dataclass(frozen=True, slots=True)
class Object:
    """A network or config by its id, "" while it is to be made."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Core:
    """What core's service is made from. `secrets`: those of `IDENTITIES` by base name; paths are the manager's."""

    image: str
    network: Object
    config: Object
    secrets: Mapping[str, Stored] = field(default_factory=dict)
    docker_socket: str = "/var/run/docker.sock"
    swarm_directory: str = "/var/run/docker/swarm"


def core_spec(core: Core) -> dict[str, Any]:
    """As POST /services/create takes it."""
    update = {"Parallelism": 1, "FailureAction": "rollback", "Monitor": 5 * SECOND, "Order": "start-first"}
    return {
        "Name": SERVICE,
        "Labels": {names.MANAGED: names.INSTALLED},
        "TaskTemplate": {
            "ContainerSpec": _container(core),
            "Networks": [{"Target": core.network.id}],
            "Placement": {"Constraints": ["node.role==manager", "node.platform.os==linux"]},
            "RestartPolicy": {"Condition": "any", "Delay": SECOND},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        # Two cores at once do no harm (same Swarm, same revisions), so the new one starts first.
        "UpdateConfig": update,
        "RollbackConfig": {key: value for key, value in update.items() if key != "FailureAction"},
        # One task needs no virtual address: its name leads straight to it, also where IP_VS is missing.
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def _container(core: Core) -> dict[str, Any]:
    return {
        "Image": core.image,
        "Labels": dict([ROLE]),
        "Args": ["core"],
        "Env": [
            f"L7_CONFIG={CONFIG_FILE}",
            "L7_SERVICE={{.Service.Name}}",
            f"L7_TLS_CA={SECRETS}/{CA}",
            f"L7_TLS_CA_KEY={SECRETS}/{CA_KEY}",
            f"L7_TLS_IDENTITY={SECRETS}/{CORE}",
        ],
        "Healthcheck": dict(healthcheck.CORE),
        "Init": True,
        "User": "0:0",
        "CapabilityDrop": ["ALL"],
        "ReadOnly": True,
        "Mounts": [
            {"Type": "bind", "Source": core.docker_socket, "Target": "/var/run/docker.sock"},
            # The directory, not the socket in it: a daemon that starts again makes a new socket.
            {
                "Type": "bind",
                "Source": core.swarm_directory,
                "Target": "/var/run/docker/swarm",
                "ReadOnly": True,
            },
            {"Type": "tmpfs", "Target": RUN},
        ],
        "Secrets": [_secret(base, core.secrets[base]) for base in IDENTITIES if base in core.secrets],
        "Configs": [config_reference(core.config)],
    }


def _secret(base: str, stored: Stored) -> dict[str, Any]:
    file = {"Name": base, "UID": "0", "GID": "0", "Mode": 0o400}
    return {"SecretID": stored.id, "SecretName": stored.name, "File": file}


def config_reference(config: Object) -> dict[str, Any]:
    file = {"Name": CONFIG_FILE, "UID": "0", "GID": "0", "Mode": 0o444}
    return {"ConfigID": config.id, "ConfigName": config.name, "File": file}


def network_spec(subnet: str) -> dict[str, Any]:
    """As POST /networks/create takes it; `subnet` "" leaves it to Swarm."""
    spec = {
        "Name": NETWORK,
        "Driver": "overlay",
        "CheckDuplicate": True,
        "Labels": {names.MANAGED: names.INSTALLED},
    }
    return spec | ({"IPAM": {"Config": [{"Subnet": subnet}]}} if subnet else {})


# ---------------------------------------------------------------- what there is


def find_core(services: Iterable[Json]) -> Json | None:
    """Core's service, whoever made it: by the label of its containers; the one of `l7 install` before others."""
    found = [each for each in services if is_core(each)]
    return min(found, key=lambda each: (not is_installed(each), each["Spec"]["Name"]), default=None)


def is_core(service: Json) -> bool:
    labels = container_of(service).get("Labels") or {}
    return labels.get(ROLE[0]) == ROLE[1] or is_installed(service)


def is_installed(service: Json) -> bool:
    """Whether `l7 install` made it."""
    return bool((service["Spec"].get("Labels") or {}).get(names.MANAGED) == names.INSTALLED)


def container_of(service: Json) -> Json:
    found: Json = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
    return found


def config_in_use(service: Json, file: str = CONFIG_FILE) -> Object | None:
    """The config object with the settings that core's service has, None when it has none."""
    for each in container_of(service).get("Configs") or ():
        if (each.get("File") or {}).get("Name") == file:
            return Object(str(each["ConfigID"]), str(each["ConfigName"]))
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """A config object with settings. `number`: of those that `l7` made, 0 for another one; `options`: what it was
    written from, "" when a person wrote it."""

    id: str
    name: str
    text: str
    number: int = 0
    options: str = ""


def settings_of(raw: Json) -> Settings:
    """An element of GET /configs."""
    spec = raw["Spec"]
    labels = spec.get("Labels") or {}
    match = _CONFIG_NAME.fullmatch(spec["Name"])
    number = int(match[1]) if match and labels.get(names.MANAGED) == names.INSTALLED else 0
    text = base64.b64decode(spec.get("Data") or "").decode("utf-8", "replace")
    return Settings(str(raw["ID"]), str(spec["Name"]), text, number, labels.get(first_settings.LABEL, ""))


def next_config(existing: Iterable[str]) -> str:
    """Name of the next config object, by the names of all there are."""
    numbers = (int(match[1]) for name in existing if (match := _CONFIG_NAME.fullmatch(name)))
    return f"com.docker.l7.conf-{max(numbers, default=0) + 1}"


def config_spec(name: str, text: str, options: str) -> dict[str, Any]:
    """As POST /configs/create takes it."""
    labels = {names.MANAGED: names.INSTALLED} | ({first_settings.LABEL: options} if options else {})
    return {"Name": name, "Labels": labels, "Data": base64.b64encode(text.encode()).decode()}


def outdated(settings: Iterable[Settings], used: Iterable[str]) -> tuple[Settings, ...]:
    """Those that can go: all but the newest few, and what is in use (by id)."""
    made = sorted((each for each in settings if each.number), key=lambda each: -each.number)
    return tuple(each for each in made[_KEPT:] if each.id not in frozenset(used))


def references(service: Json) -> frozenset[str]:
    """Ids of the configs that a service refers to, or would after a rollback."""
    specs = [service["Spec"], service.get("PreviousSpec") or {}]
    containers = ((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {} for spec in specs)
    return frozenset(str(each["ConfigID"]) for container in containers for each in container.get("Configs") or ())
