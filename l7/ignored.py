"""Services that nothing is routed to, and why: for whoever has core log everything to find that out. Pure.

What is wrong with labels is a Problem, and told anyway; most of these services have none of ours, and mean it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from l7.compiled import Compiled
from l7.labels.label import PREFIX
from l7.labels.legacy import MESH, ONE
from l7.labels.table import EXTENSION_TYPE, PROXY_TYPE
from l7.model import Service
from l7.views import CacheView, TouchedView


class Ignored:
    """Remembers what was said, so that a service is named once, and not with each event of its tasks.

    `compiled`: what became of a service, by id; `legacy`: labels of Interlock 1 and HRM count.
    """

    def __init__(self, compiled: Callable[[str], Compiled], legacy: bool) -> None:
        self._compiled = compiled
        self._legacy = legacy
        self._said: dict[str, str] = {}

    def news(self, cache: CacheView, touched: TouchedView) -> Iterator[tuple[str, str]]:
        """Name and reason of those touched that are ignored, where that has changed; cost follows the touched."""
        ids = {*cache.services, *self._said} if touched.all else touched.services
        for service_id in sorted(ids):
            service = cache.services.get(service_id)
            reason = self._reason(service) if service else ""
            if reason and reason != self._said.get(service_id) and service:
                yield service.name, reason
            if reason:
                self._said[service_id] = reason
            else:
                self._said.pop(service_id, None)

    def _reason(self, service: Service) -> str:
        """ "" for a service that is routed."""
        compiled = self._compiled(service.id)
        if compiled.fragment is not None:
            return ""
        if compiled.problems:
            return "; ".join(f"{each.label} {each.message}".strip() for each in compiled.problems)
        return without_problems(service, self._legacy)


def without_problems(service: Service, legacy: bool) -> str:
    """Why nothing is made of a service whose labels nothing is wrong with."""
    labels = service.spec.labels
    if PROXY_TYPE in labels or EXTENSION_TYPE in labels:
        return "is a part of l7"
    if any(key.startswith(PREFIX) for key, _ in labels):
        return "its labels do not ask for routes, or its service cluster is pinned to a revision without them"
    if not legacy and _old(service):
        return "has labels of Interlock 1 or HRM alone, and LegacyLabels is not set"
    return f"has no label that begins with {PREFIX}; those of a stack file belong below `deploy`"


def _old(service: Service) -> bool:
    labels = (*service.spec.labels, *service.spec.container_labels)
    return any(key.startswith((ONE, MESH)) for key, _ in labels)
