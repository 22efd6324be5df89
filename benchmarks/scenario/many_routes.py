"""10,000 hosts and 50,000 routes on one proxy: CPU per request against 10 routes, time to add one, memory.

HAProxy alone, on one thread; the requests of both sizes and of three sets of features are measured in turns within
one run. Before, this process proves by the status of each answer that the route was found.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.scenario.bare import Bare, bare, exchange, origin, request
from benchmarks.scenario.one_more import one_more
from benchmarks.scenario.result import Case, Outcome, spread
from haproxy.model import Backend, Desired, Route, Server
from haproxy.ops import AddMapRow, Op
from haproxy.settings import FEATURES_MAP, ROUTES_MAP
from l7.v1 import sync_pb2 as pb

RATIO_LIMIT = 1.3
FEW, MANY = 10, 50_000
"""Routes; five per host."""
PATHS = ("/", "/api", "/api/v1", "/static", "/admin")
BACKENDS = 10
"""The same for few routes as for many: more would have more idle connections to look after, and open more anew."""
ADDED = 200


@dataclass(frozen=True, slots=True)
class Features:
    """A set of features in use, each on every route. `headers`: what a request that they let pass carries."""

    name: str
    rules: pb.Rules
    headers: Mapping[str, str]


NONE = Features("no features", pb.Rules(), {})
ONE = Features("one feature", pb.Rules(allow_prefixes=["127.0.0.0/8", "10.0.0.0/8"]), {})
EIGHT = Features(
    "eight features",
    pb.Rules(
        allow_prefixes=["127.0.0.0/8", "10.0.0.0/8"],
        rate_limit=pb.RateLimit(requests=1_000_000, period_milliseconds=10_000),
        max_body_bytes=1_000_000,
        cors=pb.Cors(origins=["https://app.example.org"], methods=["GET"]),
        request_headers=[pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="X-Env", value="production")],
        response_headers=[pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="X-Team", value="shop")],
        timeout_server_milliseconds=30_000,
        timeout_tunnel_milliseconds=60_000,
    ),
    {"Origin": "https://app.example.org"},
)
SETS = (NONE, ONE, EIGHT)


@dataclass(frozen=True, slots=True)
class Effort:
    """`many` routes against few; so many passes of so many requests."""

    many: int = MANY
    requests: int = 20_000
    passes: int = 7


def run(case: Case, outcome: Outcome) -> None:
    effort = Effort(5000, 1600, 3) if case.short else Effort()
    with origin(case.haproxy) as port:
        for features in SETS:
            compare(case, outcome, features, effort, port)
        took = asyncio.run(one_more(case.haproxy, desired(effort.many, NONE, port)))
    outcome.figures[f"ms from core's message to the acknowledgement, one route more beside {effort.many}"] = took


def compare(case: Case, outcome: Outcome, features: Features, effort: Effort, port: int) -> None:
    """Both sizes side by side, measured in turns; which goes first changes. The big one also with requests for the
    ten routes of the small one: what is left of the difference then is not the memory's."""
    few, many = sizes = (FEW, effort.many)
    with ExitStack() as stack:
        proxies = {size: stack.enter_context(bare(case.haproxy, desired(size, features, port))) for size in sizes}
        memory = proxies[many].memory - proxies[few].memory
        outcome.figures[f"{features.name}: bytes of memory per route"] = round(memory / (many - few))
        kinds = ((few, few), (many, many), (many, few))
        costs: dict[tuple[int, int], list[float]] = {kind: [] for kind in kinds}
        for turn in range(effort.passes + 1):
            for size, asked in kinds if turn % 2 else reversed(kinds):
                cost = cpu_per_request(proxies[size], traffic(asked, features, effort.requests, turn))
                if turn:  # the first one makes the connections to the origin and fills the caches
                    costs[size, asked].append(cost)
        hot = _ratio(costs[many, few], costs[few, few])
        outcome.figures[f"{features.name}: the same where only {few} of {many} routes are asked for"] = hot
        outcome.figures[f"{features.name}: CPU per request (us), {few} routes"] = spread(costs[few, few], 1)
        outcome.figures[f"{features.name}: CPU per request (us), {many} routes"] = spread(costs[many, many], 1)
        ratio = _ratio(costs[many, many], costs[few, few])
        outcome.check(f"{features.name}: CPU per request, {many} routes / {few}", ratio, RATIO_LIMIT)
        outcome.figures[f"{features.name}: ms to add a route to {many}"] = add(proxies[many], features)


def _ratio(costs: list[float], base: list[float]) -> float:
    """Median over the turns."""
    return round(statistics.median(cost / least for cost, least in zip(costs, base, strict=True)), 3)


def cpu_per_request(proxy: Bare, requests: list[bytes]) -> float:
    """Microseconds."""
    before = proxy.cpu
    exchange(proxy.port, requests)
    return (proxy.cpu - before) / len(requests) * 1e6


def traffic(size: int, features: Features, number: int, seed: int) -> list[bytes]:
    """Requests for routes drawn at random, the same for the same seed."""
    draw = random.Random(seed)
    routes = list(keys(size))
    return [request(host, f"{path}/x", features.headers) for host, path in draw.choices(routes, k=number)]


def add(proxy: Bare, features: Features) -> dict[str, float]:
    """Milliseconds for one more route with its rules, confirmed by HAProxy; one after the other."""
    with proxy.runtime() as runtime:
        file, rules = proxy.settings.file(ROUTES_MAP), proxy.settings.file(FEATURES_MAP)
        name = service(0) if features.rules.ListFields() else ""
        feature_row = runtime.get_map_row(rules, name) if name else None
        took = []
        for number in range(ADDED):
            added = f"added{number}"
            row = f"{backend(0)}|||{added}" if feature_row else f"{backend(0)}|"
            ops: list[Op] = [AddMapRow(rules, added, feature_row)] if feature_row else []
            ops.append(AddMapRow(file, f"{added}.example.org/", row))
            began = time.perf_counter()
            results = runtime.apply(ops)
            took.append((time.perf_counter() - began) * 1e3)
            assert all(result.refusal is None for result in results), results
    return spread(took)


# ---------------------------------------------------------------- what is routed


def desired(size: int, features: Features, port: int) -> Desired:
    """`size` routes, five per host, and rules of its own for each host."""
    used = features.rules.ListFields() != []
    routes, rules = {}, {}
    for number, (host, path) in enumerate(keys(size)):
        name = service(number // len(PATHS)) if used else ""
        routes[host, path] = Route(host, path, backend(number % BACKENDS), rules=name)
        if used and name not in rules:
            rules[name] = pb.Rules(name=name)
            rules[name].MergeFrom(features.rules)
    names = sorted({route.backend for route in routes.values()})
    return Desired("r", {name: one_server(name, port) for name in names}, routes, rules)


def keys(size: int) -> Iterator[tuple[str, str]]:
    return ((f"host{n // len(PATHS)}.example.org", PATHS[n % len(PATHS)]) for n in range(size))


def service(number: int) -> str:
    return f"service{number}"


def backend(number: int) -> str:
    return f"backend{number}"


def one_server(name: str, port: int) -> Backend:
    return Backend(name, (name,), True, {f"task{name}": Server(f"task{name}", 1, "127.0.0.1", port)})
