"""The system at scale: each scenario with what it claims, its figures by size, and a chart. Pure."""

from __future__ import annotations

from benchmarks.kept import Result
from benchmarks.page.charts import Chart, shown
from benchmarks.page.results import Known, checks_table, command, figures_table, measured
from benchmarks.page.specs import Beside, Course, Curve, Spec

PREFIX = "scale-"

TITLES = {
    "events": "One task's event on a full cluster",
    "cold-start": "Cold start of core and of a proxy",
    "haproxy-start": "Cold start of HAProxy alone",
    "creations": "Services created one by one, alone and beside churn",
    "reconnect": "Twenty proxies connect again at once",
    "memory": "Memory of core and sidecar, by service and by task",
    "replacement": "All tasks replaced",
    "reloads": "1,000 changes live, and by reloading",
    "traffic": "Traffic under churn and audits, beside two quiet runs",
    "audits": "Audits of a full HAProxy",
    "churn": "An hour of churn, compressed",
}
"""In the order of the page; others follow."""

SPECS: tuple[Spec, ...] = (
    Curve(
        "events", "event", "One task's event, until the proxy has acknowledged it", "tasks in the cluster", "ms",
        {"median": ("ms", "p50"), "99th percentile": ("ms", "p99")},
    ),
    Curve(
        "cold-start", "cold-start", "From the start of the program", "services", "seconds",
        {
            "core: ready": ("core", "ready"), "proxy: in effect": ("sidecar", "in effect"),
            "reading the listing": ("reading: cpu",), "haproxy -c": ("haproxy -c",),
        }, log=True,
    ),
    Curve(
        "cold-start", "memory", "Memory (RSS) after the start", "services", "MB",
        {"core": ("core", "memory, MB"), "sidecar": ("sidecar", "memory, MB")}, log=True,
    ),
    Curve(
        "haproxy-start", "haproxy-start", "HAProxy alone, with what the sidecar renders", "servers", "seconds",
        {"render": ("render: s",), "check": ("check: s",), "check and start": ("check and start: s",)}, log=True,
    ),
    Beside(
        "creations", "creations", "From a service's event to its first answer", "ms",
        {
            "alone": ("alone: ms from event to first answer",),
            "beside churn": ("beside churn: ms from event to first answer",),
        },
        {"median": ("p50",), "99th percentile": ("p99",)},
    ),
    Curve(
        "reconnect", "reconnect", "Core's CPU while twenty proxies connect again", "services", "seconds",
        {
            "nothing has changed": ("nothing has changed", "cpu"), "a task has gone": ("a task has gone", "cpu"),
            "core's own start": ("nothing has changed", "start: cpu"),
        }, log=True,
    ),
    Curve(
        "replacement", "replacement", "CPU for one replaced task", "services", "ms",
        {
            "core": ("core: ms per task",), "sidecar": ("sidecar: ms per task",),
            "HAProxy": ("haproxy: ms per task",),
        },
    ),
    Beside(
        "reloads", "reloads", "HAProxy's CPU for one change", "ms",
        {"l7, live": ("live (l7)",), "reloading": ("by reloading",)},
        {"CPU for one change": ("HAProxy's CPU per change: ms",)},
    ),
    Beside(
        "reloads", "reloads-latency", "What requests wait meanwhile", "ms",
        {"l7, live": ("live (l7)", "load"), "reloading": ("by reloading", "load")},
        {"median": ("p50_ms",), "99th percentile": ("p99_ms",)},
    ),
    Beside(
        "traffic", "traffic", "Requests while tasks are replaced, and while nothing happens", "ms",
        {name: (name,) for name in ("quiet", "churn", "quiet again")},
        {"median": ("p50_ms",), "99th percentile": ("p99_ms",)},
    ),
    Curve(
        "audits", "audits", "CPU for one audit", "servers", "ms",
        {"sidecar": ("CPU per audit, sidecar: ms",), "HAProxy": ("CPU per audit, HAProxy: ms",)}, log=True,
    ),
    Course(
        "churn", "churn", "Memory (RSS) during 3,600 replaced tasks", "looks, at equal distances", "MB",
        {
            "core": ("core", "memory, MB"), "sidecar": ("sidecar", "memory, MB"),
            "HAProxy": ("haproxy", "memory, MB"),
        },
    ),
)  # fmt: skip


def charts(known: Known) -> list[Chart]:
    drawn = (spec.chart(known.get(PREFIX + spec.scenario, {}).values()) for spec in SPECS)
    return [chart for chart in drawn if chart]


def part(known: Known) -> str:
    """All scenarios, in the order of the titles."""
    others = (name.removeprefix(PREFIX) for name in known if name.startswith(PREFIX))
    names = dict.fromkeys([*TITLES, *others])
    sections = (section(name, [*known.get(PREFIX + name, {}).values()]) for name in names)
    return "\n".join(["## At scale\n", *sections])


def section(name: str, results: list[Result]) -> str:
    """One scenario: its charts, then each result of it."""
    drawn = (spec.chart(results) for spec in SPECS if spec.scenario == name)
    parts = [f"### {TITLES.get(name, name)}\n", *(shown(chart) for chart in drawn if chart)]
    missing = f"Not measured yet: `python -m benchmarks.scale {name.replace('-', '_')}`.\n"
    parts += [_result(result) for result in results] or [missing]
    return "\n".join(parts)


def _result(result: Result) -> str:
    of = f"HAProxy {result['case']['haproxy']} ({measured(result)}): `{command(result)}`\n"
    broken = [f"**It broke off**: {result['error']}\n"] if result["error"] else []
    claims = [checks_table(result)] if result["checks"] else []
    return "\n".join([of, *broken, *claims, figures_table(result["figures"])])
