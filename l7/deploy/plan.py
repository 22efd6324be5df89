"""Wanted services, networks and identities against those there are → what to do, and what is wrong. Pure.

A cluster's networks and identities come first, then its extension service, then its proxies; in the next round,
what they needed is there. A fault of one cluster holds up no other. What nobody wants any more goes last, when
those that take its place serve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from l7.config import Cluster
from l7.deploy import applied, names, wanted
from l7.deploy.actions import Action, CreateIdentity, CreateNetwork, CreateService, Plan, UpdateService
from l7.deploy.decisions import Decision
from l7.deploy.existing import Existing, ManagedNetwork
from l7.deploy.file_mode import Files
from l7.deploy.leftover import left_over
from l7.deploy.merge import differing
from l7.deploy.mounted import referring, unreferring
from l7.deploy.stored import CA
from l7.deploy.subnets import free_subnet
from l7.deploy.wanted import Installation, Json
from l7.kit.errors import ConfigError
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER
from l7.model import Problem


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan is made from.

    `decisions`: by cluster; `foreign`: names of services that are not ours; `networks`: ours, `subnets`: all that
    are taken, `wide`: Swarm's own choice of a subnet has room for a cluster. `refused`: digests of specifications
    that Swarm rolled back, by the service's name. `published`: references to the published configuration
    (`mounted`), `files`: what proxies in file mode are run from, both by cluster.
    """

    installation: Installation
    decisions: Mapping[str, Decision]
    existing: tuple[Existing, ...] = ()
    foreign: frozenset[str] = frozenset()
    networks: tuple[ManagedNetwork, ...] = ()
    subnets: tuple[str, ...] = ()
    wide: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    files: Mapping[str, Files] = field(default_factory=dict)


def plan(clusters: Mapping[str, Cluster], situation: Situation) -> Plan:
    """What to do now. Same in, same out."""
    parts = list(_clusters(clusters, situation))
    parts.append(left_over(clusters, situation.existing, situation.networks))
    lacking = (each for each in situation.existing if each.trouble and each.lacking)
    parts.append(Plan(problems=tuple(map(_lacking, lacking))))
    return Plan(
        tuple(action for part in parts for action in part.actions),
        tuple(sorted(problem for part in parts for problem in part.problems)),
        any(part.waiting for part in parts),
    )


def digest(spec: Json) -> str:
    """Of a specification as it is wanted."""
    return hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


# ---------------------------------------------------------------- one cluster


def _clusters(clusters: Mapping[str, Cluster], situation: Situation) -> Iterator[Plan]:
    """One after the other, as no two of their networks may have the same addresses."""
    for name in sorted(clusters):
        found = _cluster(clusters[name], situation)
        made = (each.spec.get("IPAM", {}) for each in found.actions if isinstance(each, CreateNetwork))
        subnets = (each["Subnet"] for ipam in made for each in ipam.get("Config", ()))
        situation = replace(situation, subnets=(*situation.subnets, *subnets))
        yield found


def _cluster(cluster: Cluster, situation: Situation) -> Plan:
    if not _is_known(cluster, situation.installation):
        return _wrong(cluster, "", *_UNKNOWN)
    if CA not in situation.installation.identities:
        # Perhaps they are just not known yet: nothing is made that is there already.
        return _wrong(cluster, CA, *_NO_CA)
    try:
        needed: list[Action] = [*_networks(cluster, situation), *_identities(cluster, situation)]
    except ConfigError as error:
        return _wrong(cluster, error.path, error.reason, _OTHERS)
    if needed:
        return Plan(tuple(needed), waiting=True)
    if missing := _missing_networks(cluster, situation):
        return _wrong(cluster, ", ".join(missing), *_NO_NETWORK)
    decision = situation.decisions[cluster.name]
    extension = _service(cluster, wanted.extension_spec(cluster, situation.installation, decision), situation)
    proxies = Plan(problems=decision.problems, waiting=decision.withheld)
    if not decision.withheld:
        proxies = proxies.with_((_proxies if cluster.hitless else _file_proxies)(cluster, decision, situation))
    return _in_turn(extension, proxies, _found(names.extension_service(cluster), situation))


def _proxies(cluster: Cluster, decision: Decision, situation: Situation) -> Plan:
    """Newer identities are no reason to replace a proxy's task, which renews its own; they go along with one."""
    existing = _found(names.proxy_service(cluster), situation)
    if existing is not None:
        kept = wanted.keeping(situation.installation, existing.spec)
        found = _service(cluster, wanted.proxy_spec(cluster, kept, decision), situation)
        if not any(isinstance(each, UpdateService) and each.replaces for each in found.actions):
            return found
    return _service(cluster, wanted.proxy_spec(cluster, situation.installation, decision), situation)


def _file_proxies(cluster: Cluster, decision: Decision, situation: Situation) -> Plan:
    """Not before there is a configuration; one roll at a time, and what came during one goes with the next."""
    existing = _found(names.proxy_service(cluster), situation)
    files = situation.files.get(cluster.name)
    if files is None or (existing is not None and existing.in_flight):
        return Plan(waiting=True)
    spec = wanted.file_proxy_spec(cluster, situation.installation, decision, files)
    return _service(cluster, spec, situation, bundled=False)


def _is_known(cluster: Cluster, installation: Installation) -> bool:
    """Whether it is known what to run, and where it reaches core."""
    images = (each.image or installation.image for each in (cluster.extension_options, cluster.proxy_options))
    return bool(installation.endpoint) and all(images)


_OTHERS = "until then nothing is made for this service cluster; the others go on"
_NO_CA = (
    "is no secret of this Swarm, and without it the parts of l7 don't know each other",
    "`l7 pki init` makes it",
)
_UNKNOWN = (
    "core does not know its own image, or where its extensions can reach it: it does not run as a service",
    "run core as a service of this Swarm (`l7 install`), or set Image, ProxyImage and EndpointOverride",
)
_NO_NETWORK = ("Networks names what is no network of this Swarm", "create it, or remove it from Networks")


def _networks(cluster: Cluster, situation: Situation) -> Iterator[CreateNetwork]:
    """The shared network, where it is not there yet."""
    name = names.shared_network(cluster.name)
    if name not in wanted.network_names(cluster) or name in situation.installation.networks:
        return
    spec: Json = {
        "Name": name,
        "Driver": "overlay",
        "Attachable": True,
        "CheckDuplicate": True,
        "Labels": {names.MANAGED: names.FLEET, PROXY_CLUSTER: cluster.name},
    }
    if not situation.wide:
        # Docker's own default of 256 addresses is full at some 120 services, and a network can't grow later.
        spec["IPAM"] = {"Config": [{"Subnet": free_subnet(situation.subnets)}]}
    yield CreateNetwork(cluster.name, name, spec)


def _identities(cluster: Cluster, situation: Situation) -> Iterator[CreateIdentity]:
    for base in wanted.identities(cluster):
        if base not in situation.installation.identities:
            yield CreateIdentity(cluster.name, base)


def _missing_networks(cluster: Cluster, situation: Situation) -> list[str]:
    return [name for name in wanted.network_names(cluster) if name not in situation.installation.networks]


def _in_turn(extension: Plan, proxies: Plan, existing: Existing | None) -> Plan:
    """The proxies' tasks are replaced once the extension service has its own: they fetch their secrets there."""
    busy = existing is not None and existing.in_flight
    busy |= any(isinstance(each, UpdateService) and each.replaces for each in extension.actions)
    later = busy and any(isinstance(each, UpdateService) and each.replaces for each in proxies.actions)
    actions = extension.actions if later else (*extension.actions, *proxies.actions)
    return replace(extension.with_(proxies), actions=actions, waiting=later or extension.waiting or proxies.waiting)


def _service(cluster: Cluster, spec: Json, situation: Situation, bundled: bool = True) -> Plan:
    """`bundled`: its tasks find the published configuration as a whole (`mounted`)."""
    name = str(spec["Name"])
    existing = _found(name, situation)
    if existing is None and name in situation.foreign:
        return _wrong(cluster, name, *_FOREIGN)
    mark = digest(spec)
    published = situation.published.get(cluster.name, ()) if bundled else ()
    if existing is None:
        pinned = spec | {"Labels": spec["Labels"] | _pin(spec, situation)}
        made = dict(referring(applied.marked(pinned, spec), published))
        return Plan((CreateService(cluster.name, name, made),), waiting=True)
    merged = applied.merged(spec, existing.spec)
    if not bundled:
        merged = dict(unreferring(merged))
    if merged == existing.spec:
        return Plan(waiting=existing.in_flight)
    if situation.refused.get(name) == mark:
        reason = existing.trouble or existing.message or "its tasks failed"
        remedy = _TAKEN_BACK if bundled else _TAKEN_BACK_AND_AGAIN.format(name)
        return _wrong(cluster, name, f"Swarm took an update back: {reason}", remedy)
    if _mode(merged) != _mode(existing.spec):
        return _wrong(cluster, name, *_OTHER_MODE)
    replaces = differing(merged, existing.spec, _REPLACING)
    if replaces:
        merged = dict(referring(merged, published))
    update = UpdateService(cluster.name, name, existing.id, existing.version, merged, replaces, mark)
    return Plan((update,), waiting=True)


def _pin(spec: Json, situation: Situation) -> dict[str, str]:
    """What an extension service takes over from the one of another name before it: it is kept nowhere else."""
    place = {key: spec["Labels"][key] for key in (EXTENSION_TYPE[0], PROXY_CLUSTER)}.items()
    others = (each.labels for each in situation.existing if place <= each.labels.items())
    pins = [each[names.PIN] for each in others if names.PIN in each]
    return {names.PIN: pins[0]} if pins else {}


_TAKEN_BACK = "change the settings, or the image; what was before goes on"
_TAKEN_BACK_AND_AGAIN = "what was before goes on; it is tried again, as are changes (docker service ps {})"
_FOREIGN = (
    "a service of this name is there that l7 did not make: it is left alone",
    "give l7's another name (ServiceName, ProxyServiceName), or remove that one",
)
_OTHER_MODE = (
    "ProxyMode is another one, which Swarm can't change on a service that is there",
    "give the proxies another name as well (ProxyServiceName): the old ones go when the new ones serve",
)


def _mode(spec: Json) -> str:
    return "global" if "Global" in (spec.get("Mode") or {}) else "replicated"


_REPLACING = frozenset({"TaskTemplate", "EndpointSpec"})


def _found(name: str, situation: Situation) -> Existing | None:
    return next((each for each in situation.existing if each.name == name), None)


# ---------------------------------------------------------------- problems


def _lacking(existing: Existing) -> Problem:
    wanted = "" if existing.replicas is None else f" of {existing.replicas}"
    message = f"{existing.running}{wanted} tasks run; Swarm says: {existing.trouble}"
    remedy = f"docker service ps --no-trunc {existing.name}"
    return Problem("", "", existing.name, message, remedy, existing.cluster, fatal=False)


def _wrong(cluster: Cluster, value: str, message: str, remedy: str) -> Plan:
    return Plan(problems=(Problem("", "", value, message, remedy, cluster.name, fatal=False),))
