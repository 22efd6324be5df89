"""Rows of the table: how a server is chosen, watched and spoken to. Pure."""

from __future__ import annotations

from l7.labels import kinds
from l7.labels.http_values import (
    PROTOCOLS,
    RETRIES,
    parse_balance,
    parse_check_host,
    parse_check_path,
    parse_cookie_name,
)
from l7.labels.label import Change, Label
from l7.labels.quantities import HOUR, SECOND, duration, integer, parse_statuses, pause

_SHORTEST = 100

BALANCE = Label(
    "balance",
    kinds.text(
        "`roundrobin`, `leastconn`, `random`, `first`, `source`, `uri`, `header:NAME` or `cookie:NAME`",
        parse_balance,
        "^ *([A-Za-z]+|[A-Za-z]+:[A-Za-z0-9_.-]+) *$",
    ),
    "roundrobin",
    "How a task is chosen for a request: in turn; the one with the fewest connections; the less loaded of two "
    "drawn at random; the first that has a free slot (with `max_connections`); or by a consistent hash of the "
    "client's address, the path, a header or a cookie, the same on every proxy. Requests without that header or "
    "cookie are spread. For raw TCP: `roundrobin`, `leastconn` and `source`; on the `tcp_port` of a service that "
    "has `hosts`, too, any hash is one of the client's address, and the others are `roundrobin`.",
    "leastconn",
    change=Change.FLIP,
    changing="from one hash to another it is live",
    conflicts="has no effect beside `sticky_session_cookie` or `ip_hash`, nor with `backend_mode=vip`",
    tcp=True,
)
STICKY = Label(
    "sticky_session_cookie",
    kinds.text("name of a cookie", parse_cookie_name, "^ *[A-Za-z0-9_.-]{1,128} *$"),
    "none",
    "Requests with the same value of this cookie, which the application sets, go to the same task, by "
    "consistent hashing: on every proxy, and when a service is scaled by one, about 1/n of the sessions move. "
    "Requests without the cookie are spread, and the task that then sets it is seldom the one that its value "
    "leads to: what a session holds has to be where every task finds it, or be made from the next request on. "
    "The same as `balance=cookie:NAME`.",
    "JSESSIONID",
    change=Change.FLIP,
    changing="from one cookie to another it is live",
    conflicts="no effect with `backend_mode=vip`; wins over `ip_hash` and `balance`",
)
IP_HASH = Label(
    "ip_hash",
    kinds.BOOLEAN,
    "false",
    "Requests from the same client address go to the same task. Means something only where the proxies see "
    "the clients' addresses (published with `mode: host`, or a trusted proxy in front). The same as "
    "`balance=source`.",
    "true",
    change=Change.FLIP,
    conflicts="no effect with `backend_mode=vip` or beside `sticky_session_cookie`; wins over `balance`",
    tcp=True,
)
HEALTH_CHECK_PATH = Label(
    "health_check_path",
    kinds.text("path, and perhaps a query", parse_check_path, "^ */[^ ;|#]*$"),
    "none: tasks are checked by TCP connections",
    "Tasks are checked by GET requests for this path, which have to be answered as `health_check_status` says. A "
    "check may take as long as `health_check_interval`.",
    "/health",
    change=Change.FLIP,
    changing="from one path to another it is live",
)
HEALTH_CHECK_STATUS = Label(
    "health_check_status",
    kinds.text("status codes and ranges, separated by commas and/or spaces", parse_statuses, "^[0-9, -]+$"),
    "200-399",
    "Answers to a check that mean healthy.",
    "200,204,300-399",
    conflicts="no effect without `health_check_path`",
)
HEALTH_CHECK_HOST = Label(
    "health_check_host",
    kinds.text("host name, perhaps with a port", parse_check_host, "^[^ ,;|*/]+$"),
    "the proxy's choice",
    "Value of the `Host` header in checks.",
    "app.example.org",
    conflicts="no effect without `health_check_path`",
)
HEALTH_CHECK_PORT = Label(
    "health_check_port",
    integer(1, 65535),
    "`port`",
    "Port on which tasks are checked, by TCP or HTTP.",
    "9000",
    tcp=True,
)
HEALTH_CHECK_INTERVAL = Label(
    "health_check_interval",
    duration(_SHORTEST, HOUR),
    "2s",
    "Pause between two checks of a task, by each proxy.",
    "5s",
    tcp=True,
)
HEALTH_CHECK_RISE = Label(
    "health_check_rise",
    integer(1, 100),
    "1",
    "Successful checks in a row that bring a task back. A new task takes requests at the first one.",
    "2",
    tcp=True,
)
HEALTH_CHECK_FALL = Label(
    "health_check_fall",
    integer(1, 100),
    "2",
    "Failed checks in a row that take a task out.",
    "3",
    tcp=True,
)
SLOW_START = Label(
    "slow_start",
    duration(0, HOUR),
    "0: at once",
    "Time over which the share of a new or recovered task grows to its full size.",
    "30s",
    tcp=True,
)
MAX_CONNECTIONS = Label(
    "max_connections",
    integer(0, 1_000_000),
    "0: no bound",
    "Requests at once per task, from each proxy; more wait for a slot, see `queue_timeout`.",
    "100",
    tcp=True,
)
MAX_FAILS = Label(
    "max_fails",
    integer(0, 1000),
    "0: off",
    "Failed requests in a row (no connection, no answer, a 5xx status other than 501 and 505; for raw TCP: no "
    "connection) that take a task out for `fail_timeout`, at each proxy by its own count. NGINX, "
    "whose label this is, counts differently: failures within `fail_timeout`, whether in a row or not, with 1 as "
    "its default, and a task that is the only one is left alone. Here one success starts the count anew, and the "
    "last task goes as any other: requests then wait until it is back, for 15 s at most, so a page that always "
    "fails can make the whole service slow. Without the label nothing is counted, because the tasks are checked "
    "anyway.",
    "3",
    tcp=True,
)
FAIL_TIMEOUT = Label(
    "fail_timeout",
    pause(_SHORTEST, 24 * HOUR),
    "10s, with `max_fails`",
    "For how long `max_fails` takes a task out, or up to two `health_check_interval` longer; checks during that "
    "time and at its end have to succeed. It is only this pause, not also the window in which failures are "
    "counted, as it is in NGINX. `0` counts nothing, like `max_fails=0`.",
    "15s",
    tcp=True,
    conflicts="no effect without `max_fails`, or when that is 0",
)
PROTOCOL = Label(
    "protocol",
    kinds.choice(PROTOCOLS),
    "http",
    "How the proxies speak to the tasks: HTTP/1.1; `h2c`: HTTP/2 in clear text; `https`: TLS, HTTP/2 or HTTP/1.1 "
    "as the task likes, with any certificate unless there is `ssl_backend_ca`; `grpc`: as `h2c`, and "
    "`timeout_server` is 1h unless given.",
    "grpc",
)
RETRY_ON = Label(
    "retry_on",
    kinds.choice(RETRIES),
    "none",
    "Which requests may be sent again, to another task. `none`: only those that reached no task, for as long as a "
    "successor may be on its way. `safe`: also GET, HEAD and OPTIONS without answer, or answered 502, 503 or 504. "
    "`all`: any method, when the body has at most 8 kB; the application must bear to see a request twice. "
    "With `safe` and `all` a request is sent 5 times at most, which also bounds the wait for a successor to about "
    "4 s.",
    "safe",
    change=Change.FLIP,
)
DRAIN_TIMEOUT = Label(
    "drain_timeout",
    duration(_SHORTEST, 24 * HOUR),
    "10m, or the operator's `--drain-timeout`",
    "How long requests under way may take on a task that goes, before their connections are cut. Swarm's own "
    "`stop_grace_period` ends them earlier when it is shorter.",
    "5m",
    tcp=True,
)

ROWS: tuple[Label[object], ...] = (
    BALANCE,
    STICKY,
    IP_HASH,
    HEALTH_CHECK_PATH,
    HEALTH_CHECK_STATUS,
    HEALTH_CHECK_HOST,
    HEALTH_CHECK_PORT,
    HEALTH_CHECK_INTERVAL,
    HEALTH_CHECK_RISE,
    HEALTH_CHECK_FALL,
    SLOW_START,
    MAX_CONNECTIONS,
    MAX_FAILS,
    FAIL_TIMEOUT,
    PROTOCOL,
    RETRY_ON,
    DRAIN_TIMEOUT,
)
DEFAULT_FAIL_TIMEOUT = 10 * SECOND
GRPC_TIMEOUT = HOUR
