"""A client of HAProxy's Runtime API; usable alone, without the rest of l7.

    from haproxy import ops
    from haproxy.runtime import Runtime, unix_url

    with Runtime(unix_url("/run/haproxy/cli.sock"), timeout=(1.0, 5.0)) as runtime:
        print(runtime.info().version, runtime.pid)
        results = runtime.apply([
            ops.AddServer("web", "app1", "10.0.0.7", 8000, keywords=("check", "inter", "2s")),
            ops.EnableServer("web", "app1"),
        ])
        for result in results:
            print(result.op, result.refusal or "done")
        for row in runtime.servers_state("web"):
            print(row.name, row.address, row.usable)

HAProxy needs a `stats socket PATH level admin`, and better a long `stats timeout`: it closes idle clients after
10 s otherwise (which costs a new connection, nothing else).

Who knows `requests` can use its transport alone: `haproxy.runtime.adapter.session()` gives a session on which
one POST to `haproxy+unix://%2Frun%2Fhaproxy%2Fcli.sock/` or `haproxy+tcp://127.0.0.1:9999/` is one batch of
command lines, and the body of the response their replies. Timeouts and errors are those of `requests`.

codec (ops to bytes), framing (bytes to replies), replies (did it work?) and dumps (rows of what HAProxy shows) do
no IO; adapter has the only socket; client puts them together.

A reload of HAProxy replaces its worker, while open connections stay with the old one: `reopen()` after it.
"""

from haproxy.runtime.adapter import InvalidBatch, WorkerChanged, session
from haproxy.runtime.client import Master, Result, Runtime, master_url, unix_url
from haproxy.runtime.dumps import Info, Process, StatKind, StatRow
from haproxy.runtime.replies import Reason, Refusal

__all__ = [
    "Info",
    "InvalidBatch",
    "Master",
    "Process",
    "Reason",
    "Refusal",
    "Result",
    "Runtime",
    "StatKind",
    "StatRow",
    "WorkerChanged",
    "master_url",
    "session",
    "unix_url",
]
