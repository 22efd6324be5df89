"""What `l7 uninstall` takes away: all that l7 has made in a Swarm, and nothing else. Pure.

Core goes first, so that nothing is made anew; the networks go last, when no task is on them any more. Ours is what
has l7's labels, and of an installation by a stack what the services of that stack refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from l7 import issued
from l7.deploy import core_service, names
from l7.deploy.stored import KIND
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER, PROXY_TYPE, STACK

Json = Mapping[str, Any]
_MADE = (names.FLEET, names.INSTALLED)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something to remove. `kind`: service, config, secret or network."""

    kind: str
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Everything:
    """All objects of the Swarm, as the Engine API has them."""

    services: tuple[Json, ...] = ()
    networks: tuple[Json, ...] = ()
    configs: tuple[Json, ...] = ()
    secrets: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """`cores` go first, then `services`, then the `rest` in this order. `kept`: networks of ours that
    stay, each with the services on it."""

    cores: tuple[Thing, ...]
    services: tuple[Thing, ...]
    rest: tuple[Thing, ...]
    kept: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def all(self) -> tuple[Thing, ...]:
        return (*self.cores, *self.services, *self.rest)


def removal(found: Everything) -> Removal:
    """What to take away."""
    cores = [each for each in found.services if core_service.is_core(each)]
    fleet = [each for each in found.services if _is_fleet(each) and each not in cores]
    gone = {str(each["ID"]) for each in (*cores, *fleet)}
    configs = {id_ for each in (*cores, *fleet) if _stack(each) for id_ in core_service.references(each)}
    networks = [each for each in found.networks if _is_ours(each, [*cores, *fleet])]
    users = {str(each["Id"]): _users(each, found.services, gone) for each in networks}
    return Removal(
        _things("service", cores),
        _things("service", fleet),
        (
            *_things("config", (each for each in found.configs if _made(each) or each["ID"] in configs)),
            *_things("secret", filter(_is_our_secret, found.secrets)),
            *(_network(each) for each in networks if not users[str(each["Id"])]),
        ),
        tuple((str(each["Name"]), users[str(each["Id"])]) for each in networks if users[str(each["Id"])]),
    )


def _things(kind: str, objects: Iterable[Json]) -> tuple[Thing, ...]:
    found = (Thing(kind, str(each["ID"]), str(each["Spec"]["Name"])) for each in objects)
    return tuple(sorted(found, key=lambda each: each.name))


def _network(raw: Json) -> Thing:
    return Thing("network", str(raw["Id"]), str(raw["Name"]))


def _is_fleet(service: Json) -> bool:
    """Made by core; or deployed by hand or a stack, as before core made them: then it speaks to core."""
    labels = service["Spec"].get("Labels") or {}
    if labels.get(names.MANAGED) == names.FLEET:
        return True
    typed = any(labels.get(key) == value for key, value in (PROXY_TYPE, EXTENSION_TYPE))
    return typed and PROXY_CLUSTER in labels


def _made(raw: Json) -> bool:
    return (raw["Spec"].get("Labels") or {}).get(names.MANAGED) in _MADE


def _is_our_secret(raw: Json) -> bool:
    labels = raw["Spec"].get("Labels") or {}
    return _made(raw) or any(labels.get(key) == value for key, value in (KIND, issued.KIND))


def _stack(raw: Json) -> str:
    """Of a service or network: the stack that it belongs to."""
    labels = (raw.get("Spec") or raw).get("Labels") or {}
    return str(labels.get(STACK, ""))


def _is_ours(network: Json, services: Iterable[Json]) -> bool:
    """A network that l7 made, or that the stack of one of these services made for it."""
    if (network.get("Labels") or {}).get(names.MANAGED) in _MADE:
        return True
    stack = _stack(network)
    return bool(stack) and any(_stack(each) == stack and network["Id"] in _networks(each) for each in services)


def _users(network: Json, services: Iterable[Json], gone: Iterable[str]) -> tuple[str, ...]:
    """Names of the services on it that stay."""
    staying = (each for each in services if each["ID"] not in gone)
    names_ = {str(network["Id"]), str(network["Name"])}
    return tuple(sorted(str(each["Spec"]["Name"]) for each in staying if names_ & _networks(each)))


def _networks(service: Json) -> set[str]:
    spec = service["Spec"]
    listed = spec["TaskTemplate"].get("Networks") or spec.get("Networks") or ()
    return {str(each.get("Target", "")) for each in listed}
