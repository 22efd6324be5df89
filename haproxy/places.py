"""Where logical backends live in HAProxy: which physical backend is whose, and which are not ours at all. No IO.

From 3.4 on a backend bears the name of the logical one. Before, it is a spare: the row in backends.map says whose.
Memory counts before the row: a row that somebody deleted or changed is put right, and what the row then points to
is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from haproxy.model import HOLD
from haproxy.observation import Observation
from haproxy.plan import Place
from haproxy.policy import Policy, policy_of_spare
from haproxy.settings import CHECK_MAPS


class PoolExhausted(Exception):
    """Before 3.4: no spare backend of `policies` is left; their pools must grow, by a reload."""

    def __init__(self, *policies: Policy) -> None:
        super().__init__(", ".join(policy.kind for policy in policies))
        self.policies = frozenset(policies)


class Places:
    """`spares` are the names of all pools, in order; None: backends are made at run time."""

    def __init__(self, spares: Iterable[str] | None) -> None:
        self.resize(spares)
        self._homes: dict[str, str] = {}
        self._tenants: dict[str, str] = {}
        self._freed: dict[str, int] = {}
        self._moves = 0

    def resize(self, spares: Iterable[str] | None) -> None:
        """Pools have grown."""
        self._spares = None if spares is None else _by_name(spares)

    def adopt(self, seen: Observation) -> None:
        """Believe the rows of an HAProxy that was just started or found. Its pool may have grown, before a restart
        of ours."""
        if self._spares is not None:
            self._spares |= _by_name(sorted(seen.servers))
        self._homes.clear()
        self._tenants.clear()
        for logical, physical in sorted(seen.placement.items()):
            if self._may_live(logical, physical, seen):
                self._move(logical, physical)

    def orphans(self, seen: Observation, among: Iterable[str]) -> set[str]:
        """Backends of ours, of those in `among`, that serve nobody: left over from a plan that was cut. They are
        removed under their own names."""
        orphans = {name for name in among if name not in self._tenants and self._is_left_over(name, seen)}
        for name in orphans:
            self._move(name, name)
        return orphans

    def logical(self, physical: str) -> str | None:
        """Who lives there."""
        return self._tenants.get(physical)

    def homes(self, logicals: Iterable[str]) -> dict[str, str]:
        """Where these live; one without a home would live under its own name."""
        return {logical: self._homes.get(logical, logical) for logical in logicals}

    def place(self, logical: str, policy: Policy | None, seen: Observation) -> Place | None:
        """Where it lives or will live; None: it is neither wanted nor there, and forgotten. `policy`: what it is to
        be made from; None: it is not wanted.

        Raises PoolExhausted when it has to be given a spare and there is none.
        """
        row = seen.placement.get(logical)
        home = self._home(logical, policy, seen)
        if home is None:
            return None if row is None else Place(row, True, False)
        rows = seen.servers.get(home, {})
        mine = logical in self._homes
        if policy is None and row is None and not (mine and self._is_in_use(home, seen)):
            self.forget(logical)
            return None
        if mine:
            checks = seen.rows(CHECK_MAPS, home)
            return Place(home, row == home, home in seen.servers, rows, row not in (None, home), checks=checks)
        return Place(home, False, True, rows, foreign=True)

    def forget(self, logical: str) -> None:
        physical = self._homes.pop(logical, None)
        if physical is not None:
            self._tenants.pop(physical, None)
            if self._spares is not None:
                self._moves += 1
                self._freed[physical] = self._moves

    def _home(self, logical: str, policy: Policy | None, seen: Observation) -> str | None:
        home = self._homes.get(logical)
        if home is not None and (self._spares is None or (home in seen.servers and self._is_of(home, policy))):
            return home
        if home is not None:  # the pool that it was in is no more, or not its own
            self.forget(logical)
        row = seen.placement.get(logical)
        candidate = logical if self._spares is None else row
        if candidate is not None and self._is_of(candidate, policy) and self._may_live(logical, candidate, seen):
            return self._move(logical, candidate)
        if self._spares is None:
            return None if policy is None else logical
        return None if policy is None else self._move(logical, self._spare(policy, seen))

    def _is_of(self, physical: str, policy: Policy | None) -> bool:
        """Whether it is made from `policy`, as far as that matters."""
        return self._spares is None or policy is None or self._spares.get(physical) == policy

    def _may_live(self, logical: str, physical: str, seen: Observation) -> bool:
        """Whether `physical` can be its home without harm to another's."""
        if self._spares is not None:
            return physical in self._spares and physical in seen.servers and physical not in self._tenants
        ours = physical not in seen.servers or HOLD in seen.servers[physical]
        return logical == physical and (ours or seen.placement.get(logical) == physical)

    def _is_left_over(self, physical: str, seen: Observation) -> bool:
        rows: Collection[str] = seen.servers.get(physical, {})
        return HOLD in rows and (self._spares is None or (physical in self._spares and len(rows) > 1))

    def _is_in_use(self, home: str, seen: Observation) -> bool:
        """A spare without servers is free again; a backend made at run time has to be deleted."""
        return home in seen.servers and (self._spares is None or bool(seen.servers[home].keys() - {HOLD}))

    def _spare(self, policy: Policy, seen: Observation) -> str:
        """The one that has been free for longest: requests that wait in a backend which was given up have had
        their 503 by the time that another service gets it."""
        free = (
            name
            for name, made_from in (self._spares or {}).items()
            if made_from == policy
            and name not in self._tenants
            and name in seen.servers
            and seen.servers[name].keys() <= {HOLD}
        )
        found = min(free, key=lambda name: self._freed.get(name, 0), default=None)
        if found is None:
            raise PoolExhausted(policy)
        return found

    def _move(self, logical: str, physical: str) -> str:
        self._homes[logical] = physical
        self._tenants[physical] = logical
        return physical


def _by_name(spares: Iterable[str]) -> dict[str, Policy]:
    """What each is made from; what is no spare is left out."""
    named = ((name, policy_of_spare(name)) for name in spares)
    return {name: policy for name, policy in named if policy is not None}
