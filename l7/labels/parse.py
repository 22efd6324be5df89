"""Labels of a service → what it asks for, and what is wrong with it. Takes any text, raises nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from l7.labels.grammar import Bad, printable
from l7.labels.table import PREFIX, STACK, SUPPORTED, TABLE, Value
from l7.model import Balance, HealthCheck, Problem, PublishedPort, RetryOn, Rules, ServerSettings

HOSTS = PREFIX + "hosts"
PORT = PREFIX + "port"
REWRITE = PREFIX + "context_root_rewrite"


DEFAULT_SERVER = ServerSettings()
NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class RedirectSpec:
    """One pair of `redirects`: requests of `scheme` ("" for any) to `host` and below `path` go to `location`."""

    scheme: str
    host: str
    path: str
    location: str


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """What a service's labels ask for, validated.

    `hosts` sorted; `path` as in Route; `network` None when the service leaves the choice to us, else as
    written; `stack` is the stack that the service was deployed with, "" for none.
    `vip`: one server, the service's virtual address. `weight` None: by task. `canary_header` and
    `canary_cookie` are (name, value), value "" for any. `tcp_port` 0: none. `rules` has no name yet.
    `written`: the labels that the service carries, by full name, as it wrote them (for messages).
    """

    hosts: tuple[str, ...]
    port: int
    path: str = "/"
    strip_path: bool = False
    network: str | None = None
    cluster: str = ""
    stack: str = ""
    default_backend: bool = False
    redirects: tuple[RedirectSpec, ...] = ()
    vip: bool = False
    weight: int | None = None
    canary_header: tuple[str, str] | None = None
    canary_cookie: tuple[str, str] | None = None
    tcp_port: int = 0
    balance: Balance = Balance.ROUND_ROBIN
    retry_on: RetryOn = RetryOn.CONNECT
    check: HealthCheck | None = None
    server: ServerSettings = DEFAULT_SERVER
    rules: Rules = NO_RULES
    written: tuple[tuple[str, str], ...] = ()


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


Values = Mapping[str, Value]


def parse_labels(
    labels: Mapping[str, str], ports: Iterable[PublishedPort] = (), service: str = "", service_id: str = ""
) -> Parsed:
    """Read a service's labels; `ports` as its specification publishes them, the other two for the problems.

    A service without `com.docker.lb.` labels is none of ours: no spec, no problem.
    """
    found = {key: labels[key] for key in sorted(labels) if key.startswith(PREFIX)}
    if not found:
        return Parsed()
    values, problems = _read(found)
    problems += _read_others(found)
    if HOSTS not in found:
        # Taking the name away is how a service is unpublished: nothing else that is wrong matters then.
        problems = [replace(problem, fatal=False) for problem in problems] + [_unpublished()]
    else:
        problems += _complete(values, found, ports)
    cluster = str(values.get("service_cluster", ""))
    told = (replace(each, service=service, service_id=service_id, cluster=cluster) for each in problems)
    spec = None if HOSTS not in found or any(problem.fatal for problem in problems) else _spec(values)
    stack = labels.get(STACK, "")
    return Parsed(spec and replace(spec, stack=stack), tuple(sorted(told)), cluster)


def _read(found: Mapping[str, str]) -> tuple[dict[str, Value], list[Problem]]:
    """Values of the supported labels, by short name."""
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for label in SUPPORTED:
        if label.key not in found or label.parse is None:
            continue
        value = label.parse(found[label.key])
        if isinstance(value, Bad):
            problems.append(_problem(label.key, found[label.key], value.message, value.remedy))
        else:
            values[label.name] = value
    return values, problems


def _read_others(found: Mapping[str, str]) -> list[Problem]:
    """Labels that are known but not supported yet, and labels that nobody knows."""
    problems: list[Problem] = []
    for key, text in found.items():
        label = TABLE.get(key)
        if label is None:
            problems.append(_problem(printable(key), text, "is not a label that l7 knows", _hint(key), fatal=False))
        elif label.parse is None:
            remedy = "remove it, or expect the service to be routed without it"
            problems.append(_problem(key, text, "is not supported yet", remedy, fatal=False))
    return problems


@lru_cache(maxsize=1024)
def _hint(key: str) -> str:
    # Labels are read again with each event of a task; this is the one part that takes long (0.1 ms). The cut
    # bounds it: similarity is quadratic in the length, and the text is anybody's.
    close = difflib.get_close_matches(key[:60].lower(), TABLE, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else "see docs/labels.md for those there are"


def _unpublished() -> Problem:
    message = "is missing, so the service is not published"
    return _problem(HOSTS, "", message, "name its hosts, or remove the other labels", fatal=False)


def _complete(values: dict[str, Value], found: Mapping[str, str], ports: Iterable[PublishedPort]) -> list[Problem]:
    """Fill in what follows from the rest, and say what is missing or without effect."""
    problems: list[Problem] = []
    if PORT not in found:
        targets = sorted({port.target for port in ports if port.protocol == "tcp"})
        if len(targets) == 1:
            values["port"] = targets[0]
        else:
            what = f"publishes several target ports ({_join(targets)})" if targets else "publishes no port"
            remedy = f"add {PORT} with the port that the application listens on"
            problems.append(_problem(PORT, "", f"is missing, and the service {what}", remedy))
    if values.get("context_root_rewrite") and PREFIX + "context_root" not in found:
        message, remedy = "has no effect without context_root", f"add {PREFIX}context_root, or remove it"
        problems.append(_problem(REWRITE, found[REWRITE], message, remedy, fatal=False))
    return problems


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _spec(values: Values) -> RouteSpec | None:
    hosts, port, network = values.get("hosts"), values.get("port"), values.get("network")
    path = str(values.get("context_root", "/"))
    if not isinstance(hosts, tuple) or not isinstance(port, int):
        return None
    return RouteSpec(
        hosts=hosts,
        port=port,
        path=path,
        strip_path=bool(values.get("context_root_rewrite", False)) and path != "/",
        network=None if network is None else str(network),
        cluster=str(values.get("service_cluster", "")),
    )


def _problem(label: str, text: str, message: str, remedy: str, *, fatal: bool = True) -> Problem:
    return Problem("", label, printable(text), message, remedy, fatal=fatal)
