"""Problems of a service, as people are told of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from l7.labels.parse import Parsed
from l7.model import Problem, Service


def complete(parsed: Parsed, more: Iterable[Problem], service: Service) -> tuple[Problem, ...]:
    """Those of its labels and these, sorted."""
    return tuple(sorted((*parsed.problems, *(told(each, service, parsed.cluster) for each in more))))


def told(problem: Problem, service: Service, cluster: str) -> Problem:
    """With whose it is."""
    return replace(problem, service=service.name, cluster=cluster, service_id=service.id)


def meanwhile(problem: Problem) -> Problem:
    """Of labels that are not followed, while those of before are."""
    if not problem.fatal:
        return problem
    return replace(problem, message=f"{problem.message}; meanwhile the service's previous labels are in effect")
