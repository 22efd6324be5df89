"""What becomes of one service's labels, on the way to the pool of its cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from l7.fragment import Claim, Fragment
from l7.model import Problem
from l7.reach import Way


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set of labels asks for, checked against settings and networks. `claim` and `way` None: not routed.

    `cluster`: the one whose networks it depends on, None when it asks for nothing. `needs`: the secrets, configs
    and certificates that it looked for. `joins`: ids of the networks that the cluster's proxies shall be on for it.
    """

    claim: Claim | None = None
    way: Way | None = None
    problems: tuple[Problem, ...] = ()
    cluster: str | None = None
    needs: frozenset[str] = frozenset()
    joins: frozenset[str] = frozenset()

    @property
    def fatal(self) -> bool:
        return any(problem.fatal for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Compiled:
    """One service's outcome. `clusters`: those whose proxies' networks it depends on; `needs` as in a plan, `joins`
    by cluster."""

    fragment: Fragment | None = None
    problems: tuple[Problem, ...] = ()
    clusters: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    joins: Mapping[str, frozenset[str]] = field(default_factory=dict)


NOTHING = Compiled()
