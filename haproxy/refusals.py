"""What HAProxy refused, until it is looked at again and goes well. Pure.

Keys are those of logical backends, or `haproxy.work`'s for rules and routes. A refusal keeps its revision from
being acknowledged, whatever else converges meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from haproxy.work import ROUTES, Work, work_of


@dataclass(slots=True)
class Refusals:
    """`reasons`: HAProxy's own, by key. `hosts`: whose routes have to be looked at again with them."""

    reasons: dict[str, str] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)
    _withheld: set[str] = field(default_factory=set)
    _said: tuple[str, str] = ("", "")

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def looked_at(self, keys: Iterable[str]) -> None:
        """What is planned anew is no longer known to fail."""
        for key in keys:
            self.reasons.pop(key, None)

    def withhold(self, backends: Collection[str], hosts: Collection[str]) -> None:
        """Routes of these hosts wait, for these backends to come or to go."""
        self._withheld.update(backends)
        self.hosts.update(hosts)

    def settle(self, work: Work, refused: dict[str, str]) -> None:
        """What came of looking at `work`."""
        if work.hosts:
            self.reasons.pop(ROUTES, None)
        self.reasons |= refused
        if ROUTES in refused:
            self.hosts |= work.hosts

    def news(self, revision: str) -> str | None:
        """All reasons as a text, unless the same was said of this revision already."""
        text = "; ".join(f"{name or 'routes'}: {reason}" for name, reason in sorted(self.reasons.items()))
        if (revision, text) == self._said:
            return None
        self._said = (revision, text)
        return text

    def forget_said(self) -> None:
        """All went well: the next refusal is news, be it the same."""
        self._said = ("", "")

    def again(self) -> Work:
        """What to look at once more, after a while."""
        work = work_of(self.reasons)
        work.add(self._withheld, self.hosts)
        self.hosts, self._withheld = set(), set()
        return work
