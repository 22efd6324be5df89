"""What the loop is to look at: values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Work:
    """Keys of logical backends, hosts, names of rules, names of TLS stores."""

    backends: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.backends or self.hosts or self.rules or self.stores)

    def add(
        self,
        backends: Iterable[str] = (),
        hosts: Iterable[str] = (),
        rules: Iterable[str] = (),
        stores: Iterable[str] = (),
    ) -> None:
        self.backends.update(backends)
        self.hosts.update(hosts)
        self.rules.update(rules)
        self.stores.update(stores)

    def join(self, other: Work) -> None:
        self.add(other.backends, other.hosts, other.rules, other.stores)

    @property
    def owners(self) -> set[str]:
        """Whoever stands for these where a refusal says whose it is; routes apart."""
        return {*self.backends, *map(rules_owner, self.rules), *map(store_owner, self.stores)}


CHALLENGES = "acme:"
"""Stands for the rows of acme.map among names of rules, none of which has a colon."""


ROUTES = ""
"""Stands for all routes, where a refusal says whose it is; others are keys of backends."""


def rules_owner(name: str) -> str:
    """Stands for the rules of this name: no backend has a blank in its key."""
    return f"rules {name}"


def rules_name(owner: str) -> str | None:
    """The name in it; None: it stands for something else."""
    return owner.removeprefix("rules ") if owner.startswith("rules ") else None


def store_owner(name: str) -> str:
    """Stands for the TLS store of this name."""
    return f"store {name}"


def store_name(owner: str) -> str | None:
    """The name in it; None: it stands for something else."""
    return owner.removeprefix("store ") if owner.startswith("store ") else None


def work_of(owners: Iterable[str]) -> Work:
    """To look at all of these, routes apart."""
    work = Work()
    for owner in owners:
        rules, store = rules_name(owner), store_name(owner)
        if rules is not None:
            work.rules.add(rules)
        elif store is not None:
            work.stores.add(store)
        elif owner != ROUTES:
            work.backends.add(owner)
    return work
