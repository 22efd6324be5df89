"""Looks at what of ours is in a Swarm, and does what a plan says. The thin shell of `l7.deploy.plan`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from l7.deploy import names, pki
from l7.deploy.actions import (
    Action,
    CreateIdentity,
    CreateNetwork,
    CreateService,
    RemoveNetwork,
    RemoveService,
    UpdateService,
)
from l7.deploy.existing import Existing, ManagedNetwork
from l7.deploy.init import identity
from l7.deploy.own import Asking
from l7.deploy.secrets import labels_of
from l7.deploy.stored import named
from l7.kit.errors import ConfigError
from l7.labels.table import PROXY_CLUSTER

Json = Mapping[str, Any]
OURS = orjson.dumps({"label": [f"{names.MANAGED}={names.FLEET}"]}).decode()
WIDE = 16
"""Length of the prefix of a network that is large enough."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look gives: our services, the Swarm's networks and nodes as the API has them, and whether Swarm's own
    choice of a subnet is large."""

    services: tuple[Existing, ...]
    networks: tuple[Json, ...]
    nodes: tuple[Json, ...]
    wide: bool

    @property
    def network_ids(self) -> dict[str, str]:
        return {str(each["Name"]): str(each["Id"]) for each in self.networks}

    @property
    def subnets(self) -> tuple[str, ...]:
        configs = ((net.get("IPAM") or {}).get("Config") or () for net in self.networks)
        nets = (str(each["Subnet"]) for config in configs for each in config if each.get("Subnet"))
        return (*nets, *node_addresses(self.nodes))

    @property
    def managed_networks(self) -> tuple[ManagedNetwork, ...]:
        labels = ((each, each.get("Labels") or {}) for each in self.networks)
        return tuple(
            ManagedNetwork(str(each["Id"]), str(each["Name"]), str(of.get(PROXY_CLUSTER, "")))
            for each, of in labels
            if of.get(names.MANAGED) == names.FLEET
        )

    @property
    def managers(self) -> list[str]:
        """Their addresses."""
        found = ((each.get("Status") or {}).get("Addr", "") for each in self.nodes if _is_manager(each))
        return [str(address) for address in found if address]


def node_addresses(nodes: Iterable[Json]) -> Iterator[str]:
    """Those that no network may have in it: its tasks could not reach that node. IPv6 is out of the question."""
    for each in nodes:
        address = str((each.get("Status") or {}).get("Addr", ""))
        if address and ":" not in address:
            yield address


def _is_manager(node: Json) -> bool:
    return bool((node.get("Spec") or {}).get("Role") == "manager")


async def observe(api: Asking, running: Mapping[str, int]) -> Seen:
    """`running`: how many tasks of a service (by id) serve."""
    # Also tells that there is a leader: the list of networks would do without, and leave some out.
    swarm = await api.ask("GET", "/swarm")
    services = await api.ask("GET", "/services", {"filters": OURS})
    networks = await api.ask("GET", "/networks", {"filters": orjson.dumps({"scope": ["swarm"]}).decode()})
    nodes = await api.ask("GET", "/nodes")
    found = [existing(each, running.get(each["ID"], 0)) for each in services]
    return Seen(
        tuple([await _with_trouble(api, each) for each in found]),
        tuple(networks),
        tuple(nodes),
        0 < int(swarm.get("SubnetSize") or 0) <= WIDE,
    )


def existing(raw: Json, running: int) -> Existing:
    """An element of GET /services. Pure."""
    update = raw.get("UpdateStatus") or {}
    state, message = str(update.get("State", "")), str(update.get("Message", ""))
    id_, version, previous = str(raw["ID"]), int(raw["Version"]["Index"]), raw.get("PreviousSpec")
    return Existing(id_, version, raw["Spec"], state, message, running, previous=previous)


async def _with_trouble(api: Asking, service: Existing) -> Existing:
    """Asks for the tasks of a service of which not all run (of a global one, none), or that Swarm rolled back."""
    if not service.lacking and not service.rolled_back:
        return service
    filters = orjson.dumps({"service": [service.id]}).decode()
    return replace(service, trouble=trouble(await api.ask("GET", "/tasks", {"filters": filters})))


def trouble(tasks: Sequence[Json]) -> str:
    """Why tasks don't run: the newest reason that Swarm gives, "" when it gives none. Pure."""
    statuses = [each["Status"] for each in sorted(tasks, key=lambda each: str(each.get("CreatedAt", "")))]
    reasons = [str(each.get("Err") or "") for each in statuses if each.get("State") != "running"]
    return next((reason for reason in reversed(reasons) if reason), "")


async def apply(api: Asking, action: Action, authority: pki.Authority | None, generation: int) -> None:
    """Does one thing. Raises Rejected, Unavailable; ConfigError for an identity without a CA's key."""
    match action:
        case CreateNetwork():
            await api.ask("POST", "/networks/create", body=action.spec)
        case RemoveNetwork():
            await api.ask("DELETE", f"/networks/{action.id}")
        case CreateService():
            await api.ask("POST", "/services/create", body=action.spec)
        case UpdateService():
            params = {"version": str(action.version)}
            await api.ask("POST", f"/services/{action.id}/update", params, action.spec)
        case RemoveService():
            await api.ask("DELETE", f"/services/{action.id}")
        case CreateIdentity():
            await _create_identity(api, action, authority, generation)


async def _create_identity(
    api: Asking, action: CreateIdentity, authority: pki.Authority | None, generation: int
) -> None:
    if authority is None:
        reason = "core has no key of the CA to make it with (--tls-ca-key)"
        raise ConfigError(action.name, f"{reason}: run `l7 pki init --cluster {action.cluster}`")
    data = identity(authority, action.name, action.cluster)
    await api.ask("POST", "/secrets/create", body=secret_spec(action.name, generation, data))


def secret_spec(base: str, generation: int, data: bytes) -> Json:
    """A secret of the PKI, as the API takes it. Pure."""
    return {
        "Name": named(base, generation),
        "Labels": labels_of(base, generation, data),
        "Data": base64.b64encode(data).decode(),
    }
