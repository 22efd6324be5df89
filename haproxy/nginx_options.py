"""The keys of the operator's table `Config` that were for Interlock's NGINX, as what HAProxy does instead. Pure.

Where several keys say the same, the later row of two counts, and all of `haproxy.options` count before these.
"""

from __future__ import annotations

from haproxy import nginx_values
from haproxy.config_values import switch
from haproxy.nginx_lines import http_lines
from haproxy.nginx_values import unused
from haproxy.option import LIVE, NOTHING, Option, seconds

_TEXT = "string"
_NUMBER = "number"
_TIME = "number of seconds, or string"
_LOG = "remove it: each request is a line of JSON, with its id and all times (docs/operations.md)"

NGINX: tuple[Option, ...] = (
    Option(
        "SendTimeout", "client_timeout", nginx_values.seconds, _TIME, "`60`",
        "Silence of a client. HAProxy has one timeout for it: ClientTimeout counts before this one.", "600",
        show=seconds,
    ),
    Option(
        "ClientBodyTimeout", "body_timeout", nginx_values.seconds, _TIME, "none",
        "How long the begin of a request's body may take, as much of it as fits into a buffer, else the client "
        "gets 408. It holds for bodies that say their length.", '"60s"', show=seconds,
    ),
    Option(
        "ReadTimeout", "server_timeout", nginx_values.seconds, _TIME, "`60`",
        "How long a task may take to answer, else clients get 504. ServerTimeout counts before it.", "600",
        show=seconds,
    ),
    Option(
        "KeepaliveTimeout", "keep_alive_timeout", nginx_values.keep_alive, _TIME, "`60`",
        "How long a client's connection is kept without a request.", '"75s"', show=seconds,
    ),
    Option(
        "ClientMaxBodySize", "max_body", nginx_values.body_size, _TEXT, "no limit",
        "Longest body of a request, else clients get 413; 0 is no limit. The label `max_body_size` counts before "
        "it. It holds for bodies that say their length: streams are passed on as they come.", '"32m"',
    ),
    Option(
        "LargeClientHeaderBuffers", "buffer_size", nginx_values.header_buffers, _TEXT, "`16k`, HAProxy's own",
        "Space for a request's line and headers together, cookies included; each connection may need it twice. At "
        "least `16k`, of which about 15 can be used.", '"4 8k"',
    ),
    Option(
        "UnderscoresInHeaders", "underscores", switch, "true or false", "`true`",
        "Whether headers with `_` in their name reach the application; else they are taken away.", "false",
    ),
    Option(
        "WorkerProcesses", "threads", nginx_values.threads, "number, or string", "one per core",
        'Threads of HAProxy; "auto": one per core.', '"auto"',
    ),
    Option(
        "RLimitNoFile", "open_files", nginx_values.open_files, _NUMBER, "that of the container",
        "Limit of open files of HAProxy. Where it does not do for MaxConnections, fewer are taken.", "65535",
    ),
    Option(
        "IPHash", "", nginx_values.ip_hash, "true or false", "`false`",
        "All services choose tasks by the client's address, as with the label `ip_hash`, but those with a label "
        "for another choice.", "true", LIVE,
    ),
    Option(
        "AccessLogPath", "access_log", nginx_values.access_log, _TEXT, '`"/dev/stdout"`',
        '"off" or "/dev/null": requests are not logged. There are no other files.', '"off"',
    ),
    Option(
        "ErrorLogPath", "", nginx_values.error_log, _TEXT, '`"/dev/stdout"`',
        "No effect for any other path: the log is the container's.", '"/dev/stdout"', NOTHING, True,
    ),
    Option(
        "HTTPVersion", "", nginx_values.http_version, _TEXT, '`"1.1"`',
        "No effect for any other: services say it by the label `protocol`.", '"1.1"', NOTHING, True,
    ),
    Option(
        "MainLogFormat", "", unused(_LOG), _TEXT, "JSON",
        "No effect: each request is a line of JSON.", '""', NOTHING, True,
    ),
    Option(
        "TraceLogFormat", "", unused(_LOG), _TEXT, "JSON",
        "No effect: each request is a line of JSON.", '""', NOTHING, True,
    ),
    Option(
        "HTTPOptions", "", http_lines("http"), "list of strings", "none",
        "No effect: lines for NGINX. What they were for has keys and labels of its own, which the warning names.",
        "[]", NOTHING, True,
    ),
    Option(
        "TCPOptions", "", http_lines("stream"), "list of strings", "none",
        "No effect, as HTTPOptions.", "[]", NOTHING, True,
    ),
    Option(
        "ClientBodyBufferSize", "", unused("remove it: bodies are passed on as they come"), _TEXT, "none",
        "No effect: bodies are passed on as they come.", '"8k"', NOTHING, True,
    ),
    Option(
        "ClientHeaderBufferSize", "", unused("set LargeClientHeaderBuffers, which is HAProxy's one buffer"), _TEXT,
        "none", "No effect: HAProxy has one buffer, see LargeClientHeaderBuffers.", '"1k"', NOTHING, True,
    ),
    Option(
        "SSLDefaultDHParamPath", "", unused("set SSLDefaultDHParam"), _TEXT, "none",
        "No effect: HAProxy makes the parameters itself, see SSLDefaultDHParam.", '""', NOTHING, True,
    ),
    Option(
        "ServerNamesHashBucketSize", "", unused("remove it: any number of hosts of any length will do"), _NUMBER,
        "none", "No effect: hosts need no tuning.", "128", NOTHING, True,
    ),
    Option(
        "UpstreamZoneSize", "", unused("remove it: any number of tasks will do"), _NUMBER, "none",
        "No effect: tasks need no tuning.", "64", NOTHING, True,
    ),
    Option(
        "User", "", unused("remove it: proxies run as uid 1000, without privileges"), _TEXT, "uid 1000",
        "No effect: proxies run without privileges.", '"nginx"', NOTHING, True,
    ),
    Option(
        "Version", "", unused("remove it"), _TEXT, "none",
        "No effect: it was Interlock's own note.", '""', NOTHING, True,
    ),
)  # fmt: skip
