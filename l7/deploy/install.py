"""Does what a plan of `l7.deploy.install_plan` says, step by step, with a new look after each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from l7.config import Settings
from l7.deploy import core_service, install_plan, kernel, preflight, subnets
from l7.deploy import init as pki_init
from l7.deploy.apply import node_addresses
from l7.deploy.core_service import Object
from l7.deploy.install_plan import (
    Asked,
    CreateCore,
    Existing,
    MakeConfig,
    MakeIdentities,
    MakeNetwork,
    Step,
    UpdateCore,
)
from l7.deploy.preflight import Found
from l7.deploy.references import referred
from l7.deploy.secrets import Swarm
from l7.deploy.stored import KIND, stored
from l7.deploy.swarm_api import Json, SwarmApi
from l7.deploy.waiting import Speaker
from l7.kit.errors import Incompatible, ProtocolError, Unavailable
from l7.swarm import from_json
from l7.swarm.engine import Outdated

Planning: TypeAlias = Callable[[Existing, Asked], tuple[Step, ...]]
_STEPS = 20
"""More than any plan has, with every update lost to somebody else once."""


def check_daemon(api: SwarmApi) -> None:
    """Raises Incompatible where nothing can be installed by this daemon."""
    objection = preflight.daemon_objection(api.info(), api.api_version())
    if objection is not None:
        raise Incompatible(str(objection))


def check_core(api: SwarmApi) -> None:
    """Raises Incompatible where somebody else has made a core, or has taken its name."""
    told = tuple(preflight.core_objections(api.services()))
    if told:
        raise Incompatible("\n".join(map(str, told)))


def check(api: SwarmApi, settings: Settings, image: str, flags: bool) -> None:
    """Raises Incompatible with all that would keep these settings from coming up."""
    found = Found(
        image=not image or api.image(image) is not None,
        ip_vs=kernel.has_ip_vs(),
        nodes=tuple(map(from_json.parse_node, api.nodes())),
        services=tuple(map(from_json.parse_service, api.services())),
        tasks=tuple(map(from_json.parse_task, api.tasks())),
    )
    told = preflight.objections(found, tuple(settings.clusters.values()), image, flags)
    if told:
        raise Incompatible("nothing was made:\n" + "\n".join(map(str, told)))


def observe(api: SwarmApi) -> Existing:
    """What there is."""
    services, networks, configs = api.services(), api.networks(), api.configs()
    pki = [each for each in api.secrets() if (each["Spec"].get("Labels") or {}).get(KIND[0]) == KIND[1]]
    return Existing(
        core=core_service.find_core(services),
        network=_network(networks),
        subnet=_subnet(api, networks),
        settings=tuple(map(core_service.settings_of, configs)),
        config_names=frozenset(str(each["Spec"]["Name"]) for each in configs),
        identities=tuple(stored(each["ID"], each["Spec"]["Name"], each["Spec"]["Labels"]) for each in pki),
        referred=referred(services, api.tasks()),
    )


def _network(networks: list[Json]) -> Object | None:
    """One of the name, whoever made it: who made it before us meant it for this."""
    found = (each for each in networks if each["Name"] == core_service.NETWORK)
    return next((Object(str(each["Id"]), core_service.NETWORK) for each in found), None)


def _subnet(api: SwarmApi, networks: list[Json]) -> str:
    """Docker's own default has room for some 120 proxies, and a network can't grow later."""
    cluster = (api.info().get("Swarm") or {}).get("Cluster") or {}
    if 0 < int(cluster.get("SubnetSize") or 0) <= subnets.CONTROL or _network(networks) is not None:
        return ""
    configs = ((each.get("IPAM") or {}).get("Config") or () for each in networks)
    taken = [str(each["Subnet"]) for config in configs for each in config if each.get("Subnet")]
    taken += node_addresses(api.nodes())
    return subnets.free_subnet(taken, subnets.CONTROL)


def run(api: SwarmApi, asked: Asked, planning: Planning, speaker: Speaker) -> bool:
    """Takes steps until there are none; whether there were any. Raises L7Error."""
    taken: list[str] = []
    for _ in range(_STEPS):
        steps = planning(observe(api), asked)
        if not steps:
            return bool(taken)
        if str(steps[0]) in taken:
            raise ProtocolError(f"Docker did not keep what it was told: {steps[0]}")
        try:
            _take(api, steps[0])
        except Outdated:
            continue  # somebody else was faster: look again
        taken.append(str(steps[0]))
        speaker.say(f"done: {steps[0]}")
    raise Unavailable("core's service is changed by somebody else all the time: run this again")


def _take(api: SwarmApi, step: Step) -> None:
    match step:
        case MakeNetwork():
            api.create("network", step.spec)
        case MakeConfig():
            api.create("config", step.spec)
        case CreateCore():
            api.create("service", step.spec)
        case UpdateCore():
            api.update_service(dict(step.service), dict(step.spec))
        case MakeIdentities():
            place = Swarm(api.client)
            for secret in step.discarded:
                place.remove(secret)
            pki_init.init(place, (), core_service.DNS_NAMES)


def prune(api: SwarmApi) -> None:
    """Removes settings of long ago."""
    services = api.services()
    used = frozenset[str]().union(*map(core_service.references, services))
    for each in core_service.outdated(map(core_service.settings_of, api.configs()), used):
        api.remove("config", each.id)


def settings_in_force(existing: Existing, asked: Asked) -> tuple[str, str]:
    """The text of the settings that core is to run with, and what to call it in messages."""
    wanted = install_plan.wanted_settings(existing, asked)
    used = existing.used
    name = used.name if used is not None and used.text == wanted.text else "the settings"
    return wanted.text, name
