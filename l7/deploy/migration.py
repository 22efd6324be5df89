"""What `l7 migrate` does to a service: labels of Interlock 1 and of UCP 2's routing mesh, written as today's. Pure.

Labels of a service are no part of its tasks: to change them starts no task anew. Labels of its containers are, so
these are left alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from l7.labels import tls_labels
from l7.labels.legacy import MESH, ONE, translate
from l7.labels.parse import parse_labels
from l7.labels.table import PREFIX
from l7.model import Problem, Service

Json = Mapping[str, Any]
_SECRETS = (tls_labels.SSL_CERT.key, tls_labels.SSL_KEY.key)


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of one service. `added`: today's labels that it does not have yet, each with its value and the
    old label that says so; `old` and `old_on_containers`: the old labels that it has."""

    service: str
    id: str
    added: tuple[tuple[str, str, str], ...]
    old: tuple[str, ...]
    old_on_containers: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def blocked(self) -> bool:
        """Whether it would not be routed by what it is given."""
        return any(problem.fatal for problem in self.problems)

    def wants(self, remove_old: bool) -> bool:
        """Whether there is anything to do."""
        return bool(self.added or (remove_old and self.old)) and not self.blocked

    def command(self, remove_old: bool) -> str:
        """The same by the command line of Docker."""
        words = [f"--label-add {shlex.quote(f'{key}={value}')}" for key, value, _ in self.added]
        words += [f"--label-rm {shlex.quote(key)}" for key in self.old if remove_old]
        return " \\\n  ".join(["docker service update --detach", *words, shlex.quote(self.service)])

    def applied(self, spec: Json, remove_old: bool) -> dict[str, Any]:
        """The service's specification with it."""
        labels = dict(spec.get("Labels") or {}) | {key: value for key, value, _ in self.added}
        removed = frozenset(self.old) if remove_old else frozenset()
        return {**spec, "Labels": {key: text for key, text in labels.items() if key not in removed}}


def migrations(services: Iterable[Service], secrets: Collection[str]) -> tuple[Migration, ...]:
    """Of all services with old labels, by name; `secrets` are the names of those that there are."""
    found = (migration(service, secrets) for service in services)
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.service))


def migration(service: Service, secrets: Collection[str]) -> Migration | None:
    """What becomes of a service; None when it has none of the old labels, or they publish nothing."""
    own, containers = dict(service.spec.labels), dict(service.spec.container_labels)
    labels = containers | own
    translation = translate(labels)
    if not translation.labels and not translation.problems:
        return None
    added = {key: text for key, text in translation.labels.items() if key not in own}
    parsed = parse_labels(labels, service.spec.ports, service.name, service.id, legacy=True)
    missing = _missing(added, secrets)
    return Migration(
        service.name,
        service.id,
        tuple((key, added[key], translation.sources[key]) for key in sorted(added)),
        tuple(sorted(filter(is_old, own))),
        tuple(sorted(filter(is_old, containers))),
        (*parsed.problems, *(replace(each, service=service.name) for each in missing)),
    )


def is_old(label: str) -> bool:
    """Whether Interlock 1 or the routing mesh would have read it."""
    return label.startswith((ONE, MESH)) and not label.startswith(PREFIX)


def _missing(added: Mapping[str, str], secrets: Collection[str]) -> Iterable[Problem]:
    """Interlock 1 had files where there are secrets today."""
    for key in _SECRETS:
        name = added.get(key, "")
        if name and name not in secrets:
            remedy = f"docker secret create {shlex.quote(name)} FILE, with the PEM file of that name"
            yield Problem("", key, name, "is no secret yet", remedy, fatal=False)
