"""docs/performance.md from the results: text, tables, and the charts that belong to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.gates import Gates, judge
from benchmarks.kept import Result
from benchmarks.page import fastpath, scale, swarm
from benchmarks.page.charts import Chart
from benchmarks.page.results import by_case, command, limit, measured, number, table

INTRODUCTION = """\
# Performance

Made by `make figures` from [benchmarks/results](../benchmarks/results); changes are lost. Every figure stands
beside the command that makes it. Those of [the fast path](#the-fast-path) are of one process, those
[at scale](#at-scale) of a Swarm in memory, those [on a real Swarm](#on-a-real-swarm) of the whole, with real
containers and clients.
"""

METHOD = """\
## Method

- **Ratios, not times.** Times say more of the machine than of l7, and change by half from one minute to the
  next where others use its cores. So whatever has a limit is a count, a ratio of two figures of one run, or a
  time that was promised as such. Where two things are compared they are run by turns, and the median of the
  ratios of neighbours counts.
- **Noise is shown.** The load of the machine stands with each result (1 for each core that is busy); where
  traffic is compared, two runs in which nothing happens stand beside it: what differs between these two is
  noise.
- **What is real.** HAProxy, core, sidecars, extension services, gRPC with mutual TLS and the Runtime API
  always are, as processes of their own. [On a real Swarm](#on-a-real-swarm), so are dockerd, nodes,
  containers and overlays: each node is a network namespace of one machine.
- **What is not.** At scale, Swarm is one in memory behind SwarmKit's own socket, which the contract tests
  hold to the real one, and one listener answers for all tasks. Nothing there says how long Swarm takes to
  start 100,000 containers.
- **The client** starts its requests by the clock, whether or not those before were answered, half of them on
  connections of their own, and never repeats one. Failed is whatever is not the expected answer within 10 s.
- **Everything shares one machine**: client, proxies, Swarm and applications. A proxy of its own is faster
  than this.
- **p50 / p99 / max (n)** are the median, the 99th percentile and the greatest of n.
"""

REPEAT = """\
## To repeat it

On Debian 12, as root, in a clone of the repository, on a machine that does nothing else:

```sh
apt-get update && apt-get install -y make && make setup
make bench                              # the scenarios on a real Swarm: about 30 minutes per HAProxy series
make bench ARGS="scale kill --haproxy 3.4 --watch swarmkit,docker"
make bench-scale                        # those at scale, on a Swarm in memory
make bench-scale ARGS="events --services 1000"
make bench-fastpath                     # the fast path alone
make figures                            # this page, and the README's tables
make bench-compare BASE=main~10         # two revisions by turns, and the gates below
```

`python -m benchmarks.scenario --list` and `python -m benchmarks.scale --list` name the parts. Each writes a
file of `benchmarks/results/` anew.
"""

GATES = """\
## Gates

A ratio that nobody promised has a limit all the same: 1.5 times what the first whole run found (`python -m
benchmarks.gates --record`, kept in [gates.toml](../benchmarks/gates.toml)). `make bench-compare` ends with
status 1 where a result is past it.
"""

MISSED = "## Limits that were missed\n"
RUNS = "## Every result, and its command\n"


def page(results: Mapping[str, Result], gates: Gates) -> str:
    """`results`: by name of file."""
    known = by_case(results.values())
    parts = [INTRODUCTION, machines(results), METHOD]
    parts += [fastpath.section(results), scale.part(known), swarm.section(known)]
    parts += [MISSED, missed(results), GATES, held(gates, results), REPEAT, RUNS, runs(results)]
    return "\n".join(part for part in parts if part)


def charts(results: Mapping[str, Result]) -> list[Chart]:
    known = by_case(results.values())
    return [*fastpath.charts(results), *scale.charts(known), *swarm.charts(known)]


def machines(results: Mapping[str, Result]) -> str:
    """Each machine that something was measured on."""
    facts = dict.fromkeys(_machine(result) for result in results.values())
    return table(["cores", "processor", "memory", "Linux", "Python", "Docker"], facts)


def _machine(result: Result) -> tuple[str, ...]:
    machine, versions = result["machine"], result["versions"]
    docker = versions.get("docker", "").removeprefix("Docker version ").partition(",")[0]
    memory = f"{machine['memory_mb'] / 1024:.0f} GB"
    return str(machine["cpus"]), machine["cpu"], memory, machine["kernel"], versions["python"], docker


def missed(results: Mapping[str, Result]) -> str:
    """Each claim that did not come true."""
    rows = [
        [name, check["what"], number(check["found"]), limit(check)]
        for name, result in results.items()
        for check in result["checks"]
        if not check["met"]
    ]
    return table(["result", "claim", "found", "limit"], rows) if rows else "None.\n"


def held(gates: Gates, results: Mapping[str, Result]) -> str:
    """Each ratio beside its limit."""
    rows = [
        [each.result, each.figure, number(each.found), "none yet" if each.limit is None else number(each.limit),
         "" if each.met else "**exceeded**"]
        for each in judge(gates, results)
    ]  # fmt: skip
    return table(["result", "ratio", "found", "limit", ""], rows) if rows else "No result has such a ratio yet.\n"


def runs(results: Mapping[str, Result]) -> str:
    return table(
        ["result", "limits held", "measured", "command"],
        ([f"[{name}](../benchmarks/results/{name}.json)", _kept(result), measured(result), f"`{command(result)}`"]
         for name, result in results.items()),
    )  # fmt: skip


def _kept(result: Result) -> str:
    checks = result["checks"]
    held = f"{sum(check['met'] for check in checks)} of {len(checks)}"
    return f"**broke off**, {held}" if result.get("error") else held
