"""What a plan does to a Swarm, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from l7.model import Problem

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """`spec` as POST /networks/create takes it."""

    cluster: str
    name: str
    spec: Json


@dataclass(frozen=True, slots=True)
class CreateIdentity:
    """A secret of the PKI, by its base name."""

    cluster: str
    name: str


@dataclass(frozen=True, slots=True)
class CreateService:
    cluster: str
    name: str
    spec: Json


@dataclass(frozen=True, slots=True)
class UpdateService:
    """`replaces`: its tasks, too; `digest`: of what is wanted."""

    cluster: str
    name: str
    id: str
    version: int
    spec: Json
    replaces: bool
    digest: str


@dataclass(frozen=True, slots=True)
class RemoveService:
    cluster: str
    name: str
    id: str


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    cluster: str
    name: str
    id: str


Action: TypeAlias = (
    CreateNetwork | CreateIdentity | CreateService | UpdateService | RemoveService | RemoveNetwork
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`waiting`: more may be to do soon, without anything else's changing."""

    actions: tuple[Action, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: bool = False

    def with_(self, other: Plan) -> Plan:
        """Both, one after the other."""
        problems = (*self.problems, *other.problems)
        return Plan((*self.actions, *other.actions), problems, self.waiting or other.waiting)
