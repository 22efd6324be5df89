"""Scenarios on a real Swarm, as tables: a row per scenario, a column per HAProxy series. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from benchmarks.kept import Result
from benchmarks.page.results import Case, Known, table

HARSH = "app that exits at once"
"""Loads on an application that does not finish what it has; reported beside the others."""

BY_WATCH = "All scenarios, following Swarm by SwarmKit's Watch, 320 requests/s:"
BY_POLLS = "The same by Docker's API alone, tasks polled every 0.5 s:"

RELOADING = """\
The usual way to follow a Swarm is to render HAProxy's configuration anew and reload at each change. Both
ways, the same changes under the same load:
"""

MANY_ROUTES = (
    "HAProxy's CPU per request with 50,000 routes, against 10 routes with the same features; in brackets, where "
    "only ten of the 50,000 are asked for: what the rest costs is memory that no cache has."
)

FLEET = (
    "The installation itself is changed, with 100 requests/s from clients that know which proxies live; seconds "
    "from the command until the last proxy shows the effect:"
)
QUIET = (
    "Nothing happens, while core polls Swarm every 20 ms: memory (RSS) and descriptors at the begin, in the middle "
    "and at the end:"
)

# ---------------------------------------------------------------- one cell per scenario


def loads(result: Result, harsh: bool = False) -> list[Result]:
    """The figures of the loads, without or of the application that exits at once."""
    named = ((name, value) for name, value in result["figures"].items() if isinstance(value, dict))
    return [value for name, value in named if "sent" in value and name.startswith(HARSH) == harsh]


def failed(result: Result) -> str:
    """`0 of 12,345 failed`, and what the harsh application lost."""
    said = _failed(loads(result))
    harsh = loads(result, harsh=True)
    return f"{said} ({_failed(harsh)} where the application exits at once)" if harsh else said


def _failed(reports: Iterable[Result]) -> str:
    reports = list(reports)
    sent, lost, stale = (sum(report[key] for report in reports) for key in ("sent", "failed", "stale_keepalive"))
    closed = f", {stale} kept-alive connections closed before an answer" if stale else ""
    return f"{lost} of {sent:,} failed{closed}"


def found(result: Result, *words: str) -> list[float]:
    """What the checks found whose text has all these words."""
    return [check["found"] for check in result["checks"] if all(word in check["what"] for word in words)]


def single(result: Result) -> str:
    pairs = [(c["found"], c["limit"]) for c in result["checks"] if "stop-first: longest wait" in c["what"]]
    waits = ", ".join(f"{wait / 1000:.1f} s for {(limit - 1500) / 1000:.1f} s" for wait, limit in pairs)
    return f"{failed(result)}; longest wait for a gap without a task: {waits}"


def first_answer(result: Result) -> str:
    kinds = ((kind, result["figures"][f"{kind}: ms"]) for kind in ("new service", "scale-up"))
    return "; ".join(f"{kind}: median {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms" for kind, ms in kinds)


def last_request(result: Result) -> str:
    latest = max(found(result, "last new request"))
    return f"{latest:.0f} ms at the latest; {failed(result)}"


def untouched(result: Result) -> str:
    sessions = result["figures"]["sessions"]["opened"]
    return f"{found(result, 'sessions cut')[0]} of {sessions} cut, in {result['figures']['changes']} changes"


def edits(result: Result) -> str:
    edited, created = found(result, "label edits: seconds")[0], found(result, "services created: seconds")[0]
    number = result["figures"]["services created: number"]
    return f"edits settled after {edited:.2f} s; {number} services after {created:.2f} s"


def kill(result: Result) -> str:
    figures = result["figures"].items()
    reports = [value for name, value in figures if name.endswith("killed") and name != "worker killed"]
    back = found(result, "full state")[0]
    return f"core, sidecar, dockerd: {_failed(reports)}; HAProxy killed: back after {back:.2f} s"


def labels(result: Result) -> str:
    count, reloads = result["figures"]["labels"], found(result, "reloads")[0]
    return f"{count} labels: {failed(result)}; {reloads} reloads, for TCP ports that were not declared"


def certificates(result: Result) -> str:
    figures = result["figures"]
    reports = [value for value in figures.values() if isinstance(value, dict) and "sent" in value]
    wait = figures["seconds from the call to the first handshake with the new certificate"]
    taken = f"label → first handshake with the new one: median {wait['p50']:.1f} s, {wait['max']:.1f} s at most"
    return f"{figures['certificates']} certificates: {_handshakes(reports)}; {taken}"


def certificate_faults(result: Result) -> str:
    figures = result["figures"]
    reports = [value for value in figures.values() if isinstance(value, dict)]
    last = found(result, "last failed handshake")[0]
    lost = figures["worker killed: failed handshakes"]
    return (
        f"extension service, core, sidecar: {_handshakes(reports)}; HAProxy killed: {lost} failed, the last one "
        f"{last:.1f} s later; the newest certificate came each time"
    )


def _handshakes(reports: Iterable[Result]) -> str:
    reports = list(reports)
    sent, lost = (sum(report[key] for report in reports) for key in ("sent", "failed"))
    return f"{lost} of {sent:,} handshakes failed"


ROWS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "scale": ("scale 3→30→3, three times", failed),
    "rolling": ("rolling updates of 4 replicas, forced update, drained node", failed),
    "single": ("update of a single replica", single),
    "first_answer": ("task running → first answer", first_answer),
    "last_request": ("decision that a task goes → last new request to it", last_request),
    "untouched": ("WebSockets and a slow download, while others change", untouched),
    "edits": ("200 label edits in 10 s, 200 services created in a row", edits),
    "kill": ("SIGKILL", kill),
    "labels": ("every label set, changed and removed once", labels),
    "certificates": ("a certificate rotated, others added and removed, 310 handshakes/s", certificates),
    "certificate_faults": ("SIGKILL while a certificate is rotated, 150 handshakes/s", certificate_faults),
}


# ---------------------------------------------------------------- tables


def scenarios(known: Known, source: str) -> str:
    """A row per scenario, a column per HAProxy series, for one source of Swarm's changes."""
    series = sorted({haproxy for by_case in known.values() for haproxy, watch in by_case if watch == source})

    def cell(name: str, haproxy: str) -> str:
        result = known.get(name, {}).get((haproxy, source))
        if result is None:
            return "not run"
        if result["error"]:
            return "**broke off**"
        return ROWS[name][1](result) + ("" if result["met"] else " (**a limit was missed**)")

    rows = ([ROWS[name][0], *(cell(name, each) for each in series)] for name in ROWS)
    kept = [row for row in rows if any(text != "not run" for text in row[1:])]
    return table(["scenario", *(f"HAProxy {each}" for each in series)], kept)


def latency(report: Result) -> str:
    return " / ".join(f"{report[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))


SIDE_BY_SIDE: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("requests", lambda side: _failed([side["load"]])),
    ("reloads", lambda side: str(side["reloads"])),
    ("median / p99 / slowest (ms)", lambda side: latency(side["load"])),
    ("HAProxy's CPU per request (ms)", lambda side: f"{side['haproxy cpu ms per request']:.2f}"),
    ("HAProxy processes, at most", lambda side: str(side["haproxy processes, at most"])),
    ("HAProxy's memory, at most (MB)", lambda side: f"{side['haproxy memory MB, at most']:.0f}"),
)


def reloading(by_case: Mapping[Case, Result]) -> str:
    """Live and by reloading, side by side, for each HAProxy series."""
    cases = [case for case in sorted(by_case) if not by_case[case]["error"]]
    header = ["4→30→4 and a rolling update"]
    header += [f"{haproxy}: {how}" for haproxy, _ in cases for how in ("l7", "reloading")]
    sides = [by_case[case]["figures"][key] for case in cases for key in ("live (l7)", "by reloading")]
    return table(header, ([name, *(text(side) for side in sides)] for name, text in SIDE_BY_SIDE))


def many_routes(by_case: Mapping[Case, Result]) -> str:
    """What a request costs where there are many routes, beside few, for each HAProxy series."""
    cases = sorted(by_case)
    kinds = [check["what"].partition(":")[0] for check in by_case[cases[0]]["checks"]]
    header = ["50,000 routes of 10,000 hosts"]
    header += [
        f"{haproxy}: {what}" for haproxy, _ in cases for what in ("CPU / 10 routes", "µs, 10 → 50,000", "B a route")
    ]
    return table(
        header, ([kind, *(text for case in cases for text in _cost(by_case[case], kind))] for kind in kinds)
    )


def _cost(result: Result, kind: str) -> Iterable[str]:
    figures = result["figures"]
    costs = [value["p50"] for name, value in figures.items() if name.startswith(f"{kind}: CPU per request")]
    check = next(check for check in result["checks"] if check["what"].startswith(f"{kind}: CPU"))
    missed = "" if check["met"] else f"; **limit of {check['limit']}× missed**"
    yield f"{check['found']:.2f}× ({hot(result, kind):.2f}× for ten of them){missed}"
    yield " → ".join(f"{cost:.0f}" for cost in costs)
    yield str(figures[f"{kind}: bytes of memory per route"])


def hot(result: Result, kind: str) -> float:
    """CPU of a request with all routes against few, where only ten are asked for."""
    named = result["figures"].items()
    return float(next(value for name, value in named if name.startswith(f"{kind}: the same")))


def fleet(by_case: Mapping[Case, Result]) -> str:
    """How long each change of the installation takes, and what failed meanwhile, for each HAProxy series."""
    cases = sorted(by_case)
    header = ["", *(f"{haproxy}: {what}" for haproxy, _ in cases for what in ("seconds", "requests"))]
    first = ["`l7 install` → first routed request", *(cell for case in cases for cell in _first(by_case[case]))]
    steps = [name for name, value in by_case[cases[0]]["figures"].items() if isinstance(value, dict)]
    rows = ([step, *(cell for case in cases for cell in _step(by_case[case], step))] for step in steps)
    busy = ["load of the machine, by all that ran", *(cell for case in cases for cell in _load(by_case[case]))]
    return table(header, [first, *rows, busy])


def _load(result: Result) -> Iterable[str]:
    return f"{result['machine']['load']:.1f}", ""


def _first(result: Result) -> Iterable[str]:
    return f"{result['figures']['install: seconds to the first routed request']:.1f}", ""


def _step(result: Result, step: str) -> Iterable[str]:
    if step not in result["figures"]:
        return "**broke off**", ""
    return f"{result['figures'][f'{step}: seconds']:.1f}", _failed([result["figures"][step]])


def quiet(by_case: Mapping[Case, Result]) -> str:
    """What each part uses while nothing happens, and how often it looked, for each HAProxy series."""
    cases = sorted(case for case in by_case if not by_case[case]["error"])
    named = [by_case[case]["figures"] for case in cases]
    header = ["", *(haproxy for haproxy, _ in cases)]
    looks = ([name, *(f"{figures['looks'][name]:,}" for figures in named)] for name in named[0]["looks"])
    uses = ([name, *(_use(figures, name) for figures in named)] for name in named[0]["begin"])
    done = ["services updated, objects made", *(f"{found(by_case[case], 'updated')[0]}" for case in cases)]
    return table(header, [*looks, done, *uses])


def _use(figures: Result, name: str) -> str:
    return " → ".join(f"{figures[when][name]:g}" for when in ("begin", "middle", "end"))


def machine(known: Known) -> str:
    some = next(result for name in ROWS for result in known.get(name, {}).values())
    facts, docker = some["machine"], some["versions"]["docker"]
    return (
        f"Measured on {facts['cpus']} cores ({facts['cpu']}), Linux {facts['kernel']}, {docker}; client, "
        "proxies, Swarm and applications share them, and containers start on them meanwhile."
    )
