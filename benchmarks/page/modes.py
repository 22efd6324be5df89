"""Changes live and in file mode, side by side, as tables for docs/performance.md and docs/file-mode.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from benchmarks.kept import Result
from benchmarks.page.installed import latency
from benchmarks.page.results import Case, command, measured, table

INTRODUCTION = """\
Live and in file mode, side by side: one core, two proxies per cluster, on two nodes at fixed ports, 100 requests/s
from clients that know both addresses and turn to the other where a connection is refused. Seconds go from Swarm's
last word on a task (it runs, or is to go) until every proxy has all tasks and no others. Processes are HAProxy's or
NGINX's; memory (PSS) is that of all in the proxies' tasks, and of these processes alone; both at the most.
"""
ENDS = """\
WebSockets go through both proxies, to an application that is not touched while another one is updated; seconds are
counted from the update. Config objects are those that Swarm keeps for the cluster in the end.
"""

HEADER = (
    "change", "", "failed", "kept-alive closed", "median / p99 / slowest (ms)", "seconds", "proxies replaced",
    "processes", "memory (MB)",
)  # fmt: skip
Figures = Mapping[str, Result]


def section(by_case: Mapping[Case, Result]) -> str:
    """For each HAProxy series, what it was measured with and the two tables."""
    parts = [INTRODUCTION]
    for (haproxy, _), result in sorted(by_case.items()):
        parts += [f"HAProxy {haproxy} (`{command(result)}`; {measured(result)}):\n", changes(result)]
        parts += [ENDS, ends(result)]
    return "\n".join(parts)


def changes(result: Result) -> str:
    """A row for each change and mode."""
    return table(HEADER, _rows(modes(result)))


def modes(result: Result) -> dict[str, Figures]:
    """Figures by mode, as they were measured; of one that was broken off, what there is."""
    return {name: value for name, value in result["figures"].items() if isinstance(value, Mapping)}


def _rows(found: Mapping[str, Figures]) -> Iterator[list[str]]:
    names = dict.fromkeys(name for each in found.values() for name, value in each.items() if _is_change(value))
    for name in names:
        for mode, figures in found.items():
            yield [name, mode, *(_cells(figures[name]) if name in figures else ["not run"])]


def _is_change(value: object) -> bool:
    return isinstance(value, Mapping) and "load" in value


def _cells(change: Result) -> Iterable[str]:
    load = change["load"]
    yield f"{load['failed']} of {load['sent']:,}{_kinds(load['by_kind'])}"
    yield str(load["stale_keepalive"])
    yield latency(load)
    yield f"{change['seconds until all proxies knew']:.1f}"
    yield str(change["proxies replaced"])
    yield str(change["proxy processes"])
    yield f"{change['memory MB']:.0f}, {change['program memory MB']:.0f}"


def _kinds(kinds: Mapping[str, int]) -> str:
    """Of failures, none for none."""
    return f" ({', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))})" if kinds else ""


def ends(result: Result) -> str:
    """What became of sessions, and what was left behind, by mode."""
    rows = ([mode, *_end(figures)] for mode, figures in modes(result).items())
    return table(("", "WebSockets cut", "after (s)", "config objects"), rows)


def _end(figures: Figures) -> Iterable[str]:
    changed = [value for value in figures.values() if _is_change(value)]
    sessions = next((each["WebSockets"] for each in changed if "WebSockets" in each), None)
    if sessions is None or "config objects at the end" not in figures:
        return ["not run"]
    moments = sessions["seconds"]
    when = f"{moments[0]:.1f} to {moments[-1]:.1f}" if moments else ""
    return [f"{sessions['cut']} of {sessions['opened']}", when, str(figures["config objects at the end"])]
