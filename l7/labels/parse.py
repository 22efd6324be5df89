"""Labels of a service → what it asks for, and what is wrong with it. Takes any text, raises nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from l7.labels import routing_labels as routing
from l7.labels import settings, tls
from l7.labels.grammar import Bad
from l7.labels.label import PREFIX
from l7.labels.legacy import Translation, translate
from l7.labels.reading import Reading
from l7.labels.redirects import endless, landings
from l7.labels.spec import RedirectSpec, RouteSpec
from l7.labels.table import STACK
from l7.model import Problem, PublishedPort

__all__ = ["Parsed", "RedirectSpec", "RouteSpec", "parse_labels"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """`spec` is None when a problem is fatal, and when the service does not ask to be published.

    `cluster` is set as far as it could be read, so that a problem finds its way to the right operator.
    """

    spec: RouteSpec | None = None
    problems: tuple[Problem, ...] = ()
    cluster: str = ""

    @property
    def fatal(self) -> bool:
        return any(problem.fatal for problem in self.problems)


def parse_labels(
    labels: Mapping[str, str],
    ports: Iterable[PublishedPort] = (),
    service: str = "",
    service_id: str = "",
    *,
    legacy: bool = False,
) -> Parsed:
    """Read a service's labels; `ports` as its specification publishes them, `service` and its id for the problems.

    A service without `com.docker.lb.` labels is none of ours: no spec, no problem. With `legacy`, labels of
    Interlock 1 and of UCP 2's HTTP routing mesh count as what they mean.
    """
    own = {key: text for key, text in labels.items() if key.startswith(PREFIX)}
    old = translate(labels) if legacy else Translation()
    found = old.under(own) if legacy else own
    if not found and not old.problems:
        return Parsed()
    reading = Reading(found)
    spec = _read_spec(reading, ports, service)
    problems = [replace(each, label=old.source_of(each.label, own)) for each in reading.problems] + old.problems
    if spec is None:
        # Taking the names away is how a service is unpublished: nothing else that is wrong matters then.
        problems = [replace(problem, fatal=False) for problem in problems]
    cluster = reading.get(routing.SERVICE_CLUSTER, "")
    told = (replace(each, service=service, service_id=service_id, cluster=cluster) for each in problems)
    if spec is None or any(problem.fatal for problem in problems):
        return Parsed(None, tuple(sorted(told)), cluster)
    return Parsed(replace(spec, stack=labels.get(STACK, "")), tuple(sorted(told)), cluster)


def _read_spec(reading: Reading, ports: Iterable[PublishedPort], service: str) -> RouteSpec | None:
    """What the labels ask for, as far as they can be read; None when they don't ask to be published."""
    if not _published(reading):
        message = "is missing, so the service is not published"
        reading.note(routing.HOSTS, message, "name its hosts, or remove the other labels")
        return None
    spec = _read_common(reading, ports)
    default_backend = reading.get(routing.DEFAULT_BACKEND, False)
    http = reading.has(routing.HOSTS) or default_backend
    if http and tls.passes_through(reading):
        return tls.read_passthrough(reading, spec)
    spec = _read_http(reading, replace(spec, default_backend=default_backend))
    return tls.read_tls(reading, spec, service) if http else _without_http(reading, spec)


def _read_common(reading: Reading, ports: Iterable[PublishedPort]) -> RouteSpec:
    """What any service may ask for, whatever is spoken to it."""
    return RouteSpec(
        hosts=reading.get(routing.HOSTS, ()),
        port=_read_port(reading, ports),
        network=reading.get(routing.NETWORK, None),
        cluster=reading.get(routing.SERVICE_CLUSTER, ""),
        redirects=_read_redirects(reading),
        vip=reading.get(routing.BACKEND_MODE, False),
        weight=_read_weight(reading),
        tcp_port=reading.get(routing.TCP_PORT, 0),
        server=settings.read_server(reading),
        written=tuple(reading.written),
    )


def _read_http(reading: Reading, spec: RouteSpec) -> RouteSpec:
    """With what is about requests."""
    path = reading.get(routing.CONTEXT_ROOT, "/")
    if reading.get(routing.CONTEXT_ROOT_REWRITE, False) and not reading.has(routing.CONTEXT_ROOT):
        remedy = f"add {routing.CONTEXT_ROOT.key}, or remove it"
        reading.note(routing.CONTEXT_ROOT_REWRITE, "has no effect without context_root", remedy)
    if spec.default_backend and not reading.has(routing.HOSTS) and path != "/":
        remedy = f"add {routing.HOSTS.key}, or remove it"
        reading.note(routing.CONTEXT_ROOT, "has no effect without hosts", remedy)
    balance, hash_key = settings.read_balance(reading)
    return replace(
        spec,
        path=path,
        strip_path=reading.get(routing.CONTEXT_ROOT_REWRITE, False) and path != "/",
        canary_header=reading.get(routing.CANARY_HEADER, None),
        canary_cookie=reading.get(routing.CANARY_COOKIE, None),
        balance=balance,
        retry_on=settings.read_retry_on(reading),
        check=settings.read_check(reading),
        rules=settings.read_rules(reading, hash_key),
    )


def _published(reading: Reading) -> bool:
    """Whether the labels ask for it. `default_backend=false` does not; a bad value of it may have meant to."""
    if any(map(reading.has, (routing.HOSTS, routing.REDIRECTS, routing.TCP_PORT))):
        return True
    return reading.has(routing.DEFAULT_BACKEND) and reading.get(routing.DEFAULT_BACKEND, True)


def _read_port(reading: Reading, ports: Iterable[PublishedPort]) -> int:
    """The label, else the only target port; 0 when that is a problem."""
    if reading.has(routing.PORT):
        return reading.get(routing.PORT, 0)
    targets = sorted({port.target for port in ports if port.protocol == "tcp"})
    if len(targets) == 1:
        return targets[0]
    listed = ", ".join(map(str, targets))
    what = f"publishes several target ports ({listed})" if targets else "publishes no port"
    remedy = f"add {routing.PORT.key} with the port that the application listens on"
    reading.refuse(routing.PORT.key, Bad(f"is missing, and the service {what}", remedy))
    return 0


def _read_weight(reading: Reading) -> int | None:
    weight = reading.get(routing.WEIGHT, None)
    canary = any(map(reading.has, (routing.CANARY_HEADER, routing.CANARY_COOKIE)))
    if weight == 0 and tls.passes_through(reading):
        reading.note(routing.WEIGHT, "is 0: with ssl_passthrough nobody reaches the service", "raise it")
    elif weight == 0 and not canary:
        remedy = f"raise it, or add {routing.CANARY_HEADER.key} or {routing.CANARY_COOKIE.key}"
        reading.note(routing.WEIGHT, "is 0, and there is no canary label: nobody reaches the service", remedy)
    return weight


def _read_redirects(reading: Reading) -> tuple[RedirectSpec, ...]:
    """Those that lead somewhere, as far as this service can tell: others may have what a target names. What is left
    is followed again among the redirects of all services."""
    given = reading.get(routing.REDIRECTS, ())
    path = reading.get(routing.CONTEXT_ROOT, "/")
    if tls.passes_through(reading):
        given, path = tls.in_the_clear(reading, given), "/"
    if not given:
        return ()
    hosts = reading.get(routing.HOSTS, ())
    secured = hosts if settings.read_https_redirect(reading) else ()
    to_https = [RedirectSpec("http", host, path, f"https://{host}") for host in secured if host[0] != "*"]
    redirects = [*to_https, *given]
    refused = endless(redirects, [*((host, path) for host in hosts), *landings(redirects)])
    for each in refused:
        source = f"{each.scheme}://{each.host}{each.path}" if each.scheme else each.host + each.path
        message = f"sends requests for {source} in circles, so that pair is left out"
        reading.note(routing.REDIRECTS, message, "name a target that is no source")
    return tuple(each for each in given if each not in refused)


def _without_http(reading: Reading, spec: RouteSpec) -> RouteSpec:
    """What is left of it where no request leads to the tasks."""
    settings.note_http(reading)
    balance = settings.read_tcp_balance(reading) if spec.tcp_port and not spec.vip else spec.balance
    return replace(spec, balance=balance, rules=replace(spec.rules, hash_key=None))
