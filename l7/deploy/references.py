"""Which service and task uses which secrets of the PKI, out of what the Engine API says. Pure.

A service is core, an extension service or proxies by the identity that it refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from l7.deploy.stored import ACME_ACCOUNT, CORE, EXTENSION, PROXY, Stored

Json = dict[str, Any]

CORE_ROLE, EXTENSION_ROLE, PROXY_ROLE = CORE, EXTENSION, PROXY
_ROLES = (CORE_ROLE, EXTENSION_ROLE, PROXY_ROLE)


@dataclass(frozen=True, slots=True)
class Part:
    """A service that uses the PKI. `generations`: of the secrets that it refers to; `tasks`: the oldest generation
    that each of its tasks was started with."""

    service: Json
    role: str
    generations: tuple[int, ...]
    tasks: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return str(self.service["Spec"]["Name"])

    @property
    def oldest(self) -> int:
        return min(self.generations)

    def outdated(self, generation: int) -> int:
        """How many tasks run with an older one."""
        return sum(each < generation for each in self.tasks)


def parts(services: Iterable[Json], tasks: Iterable[Json], secrets: Iterable[Stored]) -> list[Part]:
    """All services that refer to an identity, by name; tasks of others are nobody's concern here."""
    by_id = {each.id: each for each in secrets if each.base != ACME_ACCOUNT}
    started: dict[str, list[int]] = {}
    for task in tasks:
        if used := _used(task["Spec"], by_id):
            started.setdefault(task["ServiceID"], []).append(min(each.generation for each in used))
    found: list[Part] = []
    for service in services:
        used = _used(service["Spec"]["TaskTemplate"], by_id)
        if role := _role(used):
            generations = tuple(each.generation for each in used)
            found.append(Part(service, role, generations, tuple(started.get(service["ID"], ()))))
    return sorted(found, key=lambda part: part.name)


def referred(services: Iterable[Json], tasks: Iterable[Json]) -> frozenset[str]:
    """Ids of all secrets that are in use."""
    specs = [service["Spec"]["TaskTemplate"] for service in services] + [task["Spec"] for task in tasks]
    return frozenset(reference["SecretID"] for spec in specs for reference in _references(spec))


def with_generation(service: Json, secrets: Iterable[Stored], generation: int) -> Json:
    """The service with the secrets of this generation in the place of older ones, under the same file names."""
    secrets = tuple(secrets)
    by_id = {each.id: each for each in secrets}
    targets = {each.base: each for each in secrets if each.generation == generation}
    changed = deepcopy(service)
    for reference in _references(changed["Spec"]["TaskTemplate"]):
        held = by_id.get(reference["SecretID"])
        if held is not None and held.generation < generation and held.base in targets:
            reference["SecretID"], reference["SecretName"] = targets[held.base].id, targets[held.base].name
    return changed


def _role(used: Iterable[Stored]) -> str:
    bases = [each.base for each in used]
    return next((role for role in _ROLES if any(b == role or b.startswith(f"{role}-") for b in bases)), "")


def _used(spec: Mapping[str, Any], by_id: Mapping[str, Stored]) -> list[Stored]:
    return [by_id[each["SecretID"]] for each in _references(spec) if each["SecretID"] in by_id]


def _references(spec: Mapping[str, Any]) -> Iterator[Json]:
    """Of a task template or a task's specification."""
    yield from (spec.get("ContainerSpec") or {}).get("Secrets") or ()
