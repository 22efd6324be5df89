"""Who may claim which hosts, by the operator's settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from l7.labels.spec import RouteSpec
from l7.labels.table import PREFIX
from l7.model import Problem


@dataclass(frozen=True, slots=True)
class Claimant:
    """A service as the policy sees it. `network` "": it is not reached over one."""

    service: str
    stack: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Hosts, and the services that may claim them: those that match one pattern of each kind that is given.

    `hosts` in lower case: a name, `*.example.org` for all names below it at any depth, `*` for all there are.
    """

    hosts: tuple[str, ...]
    stacks: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def names(self, host: str) -> bool:
        """Whether it says who may claim the host; `host` as in a RouteKey."""
        return any(_covers(pattern, host) for pattern in self.hosts)

    def admits(self, claimant: Claimant) -> bool:
        kinds = (
            (self.stacks, claimant.stack),
            (self.services, claimant.service),
            (self.networks, claimant.network),
        )
        return all(_matches(patterns, value) for patterns, value in kinds if patterns)


def _covers(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _matches(patterns: Iterable[str], value: str) -> bool:
    return bool(value) and any(fnmatchcase(value, pattern) for pattern in patterns)


def refused(policies: Iterable[HostPolicy], host: str, claimant: Claimant) -> bool:
    """Whether the settings name the host, and none of the entries that do admits the claimant."""
    naming = [policy for policy in policies if policy.names(host)]
    return bool(naming) and not any(policy.admits(claimant) for policy in naming)


def permitted(
    policies: tuple[HostPolicy, ...], spec: RouteSpec, claimant: Claimant
) -> tuple[RouteSpec | None, tuple[Problem, ...]]:
    """The part of a specification that the settings allow; None: nothing is left of it. A problem for the rest."""
    if not policies:
        return spec, ()
    hosts = tuple(host for host in spec.hosts if not refused(policies, host, claimant))
    redirects = tuple(each for each in spec.redirects if not refused(policies, each.host, claimant))
    default = spec.default_backend and not refused(policies, "*", claimant)
    left = replace(spec, hosts=hosts, redirects=redirects, default_backend=default)
    if left == spec:
        return spec, ()
    something = bool(hosts or redirects or default or spec.tcp_port)
    return left if something else None, tuple(_problems(spec, left, fatal=not something))


def _problems(spec: RouteSpec, left: RouteSpec, fatal: bool) -> Iterator[Problem]:
    yield from (_problem("hosts", host, fatal) for host in sorted({*spec.hosts} - {*left.hosts}))
    sources = {each.host for each in spec.redirects} - {each.host for each in left.redirects}
    yield from (_problem("redirects", host, fatal) for host in sorted(sources))
    if spec.default_backend and not left.default_backend:
        yield _problem("default_backend", "*", fatal)


def _problem(label: str, host: str, fatal: bool) -> Problem:
    message = "may not be claimed by this service: HostPolicy in the settings names who may"
    remedy = "use another host, or have the operator allow it"
    return Problem("", PREFIX + label, host, message, remedy, fatal=fatal)
