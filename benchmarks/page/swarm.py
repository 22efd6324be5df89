"""What was measured on a real Swarm, with charts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.kept import Result
from benchmarks.page import installed, modes
from benchmarks.page.charts import Bars, Chart, shown
from benchmarks.page.results import Case, Known

LIVE, RELOADING = "live (l7)", "by reloading"


def charts(known: Known) -> list[Chart]:
    drawn: list[Chart] = []
    if reloading := known.get("reload_baseline"):
        drawn.append(reload_cpu(reloading))
    if routes := known.get("many_routes"):
        drawn.append(route_cost(routes))
    return drawn


def reload_cpu(by_case: Mapping[Case, Result]) -> Bars:
    """HAProxy's CPU for a request, by l7 and by reloading."""
    cases = sorted(by_case)
    figures = [by_case[case]["figures"] for case in cases]
    series = {
        name: [each[side]["haproxy cpu ms per request"] for each in figures]
        for name, side in (("l7, live", LIVE), ("reloading", RELOADING))
    }
    title = "HAProxy's CPU for a request while 4→30→4 tasks and an update go on"
    return Bars("reloading", title, "ms", [f"HAProxy {series}" for series, _ in cases], series)


def route_cost(by_case: Mapping[Case, Result]) -> Bars:
    """CPU of a request with 50,000 routes against 10, by features and HAProxy."""
    found = [(case[0], by_case[case], check) for case in sorted(by_case) for check in by_case[case]["checks"]]
    kinds = [check["what"].partition(":")[0] for _, _, check in found]
    series = {
        "all 50,000 asked for": [check["found"] for _, _, check in found],
        "ten of them": [installed.hot(result, kind) for (_, result, _), kind in zip(found, kinds, strict=True)],
    }
    groups = [f"HAProxy {haproxy}, {kind}" for (haproxy, _, _), kind in zip(found, kinds, strict=True)]
    title = "HAProxy's CPU for a request with 50,000 routes, times that with 10"
    return Bars("routes", title, "times that with 10 routes", groups, series, (found[0][2]["limit"], "limit"))


def section(known: Known) -> str:
    parts = ["## On a real Swarm\n"]
    drawn = {chart.name: shown(chart) for chart in charts(known)}
    if "reload_baseline" in known:
        parts += [installed.RELOADING, drawn["reloading"], installed.reloading(known["reload_baseline"])]
    parts += [f"{installed.BY_WATCH}\n", installed.scenarios(known, "swarmkit")]
    if any(watch == "docker" for by_case in known.values() for _, watch in by_case):
        parts += [f"{installed.BY_POLLS}\n", installed.scenarios(known, "docker")]
    if "modes" in known:
        parts += [modes.section(known["modes"])]
    if "many_routes" in known:
        parts += [f"{installed.MANY_ROUTES}\n", drawn["routes"], installed.many_routes(known["many_routes"])]
    if "fleet" in known:
        parts += [f"{installed.FLEET}\n", installed.fleet(known["fleet"])]
    if "quiet" in known:
        parts += [f"{installed.QUIET}\n", installed.quiet(known["quiet"])]
    return "\n".join(parts)
