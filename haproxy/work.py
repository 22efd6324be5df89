"""What the loop is to look at: values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Work:
    """Keys of logical backends, hosts, names of rules."""

    backends: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.backends or self.hosts or self.rules)

    def add(self, backends: Iterable[str] = (), hosts: Iterable[str] = (), rules: Iterable[str] = ()) -> None:
        self.backends.update(backends)
        self.hosts.update(hosts)
        self.rules.update(rules)

    def join(self, other: Work) -> None:
        self.add(other.backends, other.hosts, other.rules)


ROUTES = ""
"""Stands for all routes, where a refusal says whose it is; others are keys of backends."""


def rules_owner(name: str) -> str:
    """Stands for the rules of this name: no backend has a blank in its key."""
    return f"rules {name}"


def rules_name(owner: str) -> str | None:
    """The name in it; None: it stands for something else."""
    return owner.removeprefix("rules ") if owner.startswith("rules ") else None
