"""Rows of the table: which requests reach a service, and over which network. Pure."""

from __future__ import annotations

from l7.labels import grammar, kinds
from l7.labels.grammar import Bad
from l7.labels.http_values import parse_canary_cookie, parse_canary_header
from l7.labels.label import Change, Label
from l7.labels.quantities import integer
from l7.labels.redirects import MAX_REDIRECTS, parse_redirects

MAX_ENDPOINTS = 64


def parse_endpoints(text: str) -> tuple[str, ...] | Bad:
    """Paths separated by commas and/or spaces, sorted."""
    paths: set[str] = set()
    for word in filter(None, text.replace(",", " ").split(" ")):
        path = grammar.parse_path(word)
        if isinstance(path, Bad):
            return Bad(f"has {grammar.printable(word)}, which {path.message}", path.remedy)
        paths.add(path)
    if 1 <= len(paths) <= MAX_ENDPOINTS:
        return tuple(sorted(paths))
    return Bad("names no path, or too many", f"write 1 to {MAX_ENDPOINTS} paths, such as /ws, or remove the label")


HOSTS = Label(
    "hosts",
    kinds.HOSTS,
    "none; without it (and without `default_backend`, `redirects`, `tcp_port`) the service is not published",
    "Names that lead to this service. Case, port and a trailing dot are ignored, here and in requests. "
    "`*.example.org` stands for exactly one label. ASCII only: international names in punycode. "
    "Services that share host and path share the traffic, task by task; see `weight`.",
    "app.example.org, www.example.org",
)
PORT = Label(
    "port",
    integer(1, 65535),
    "the service's only published target port (TCP)",
    "Port that the application listens on inside its container; it need not be published. Without the "
    "label: if the service publishes exactly one distinct TCP target port, that one; else the service is "
    "not routed, and a problem says so. A service that shares no network with the proxies but publishes this "
    "port with `mode: host` is reached by its nodes' addresses and the port allocated there.",
    "8080",
    tcp=True,
)
NETWORK = Label(
    "network",
    kinds.NAME,
    "of those that service and proxies share, the one that the proxies have been on for longest",
    "Network over which the proxies reach the tasks: its full name, or inside a stack the short one of "
    "the compose file. The service must be on it; the proxies are, or join it where core keeps them and `Networks` "
    "is not set. The ingress network is never used.",
    "shop_frontend",
    tcp=True,
)
SERVICE_CLUSTER = Label(
    "service_cluster",
    kinds.CLUSTER,
    "the default cluster",
    "Service cluster whose proxies publish the service; must be the `ServiceCluster` of an extension.",
    "east",
    tcp=True,
)
CONTEXT_ROOT = Label(
    "context_root",
    kinds.PATH,
    "/",
    "Publishes the service under a path of its hosts; the longest prefix wins, and whole segments match: "
    "/app takes /app and /app/x, not /apple. Normalised: a leading slash, no trailing and no doubled "
    f"ones. Dot segments are refused. At most {grammar.MAX_SEGMENTS} segments and {grammar.MAX_PATH} "
    "characters of letters, digits and `-._~!+,=:@`; UTF-8 and space percent-encoded.",
    "/app",
    conflicts="no effect without `hosts`",
)
CONTEXT_ROOT_REWRITE = Label(
    "context_root_rewrite",
    kinds.BOOLEAN,
    "false",
    "Removes `context_root` from the front of the request's path: the application sees /x for /app/x, and / for "
    "/app/. A GET of /app itself is redirected there (301), so that relative links in the page stay below /app; a "
    "last segment with a dot, other methods and WebSockets are not redirected, the application sees them as /. "
    "Services that share host and path but differ here: the one created first decides.",
    "true",
    conflicts="no effect without `context_root`",
)
REDIRECTS = Label(
    "redirects",
    kinds.text("`source,target` pairs, separated by `;`", parse_redirects, "^[^,;]+,[^,;]+(;[^,;]+,[^,;]+)*;? *$"),
    "none",
    "Requests to a source are answered 302 with the target, followed by the request's path and query. A "
    "source is `http://host`, `https://host` (requests of that scheme only; others are forwarded where the "
    "service has the host too) or `host`, each perhaps with a path, as in `context_root`; it need not be "
    "among `hosts`. A target is an http or https URL without query, perhaps with a path. At most "
    f"{MAX_REDIRECTS} pairs. A pair that would send clients in circles, alone or together with those of other "
    "services, is left out, and a problem says so: of several services the one created last loses. A target on "
    "another port of a source's host counts as a circle, because proxies tell hosts apart and not ports. Redirects "
    "come before everything else: `allow`, `rate_limit` and `https_redirect` are about what is forwarded.",
    "http://old.example.org,https://new.example.org",
)
DEFAULT_BACKEND = Label(
    "default_backend",
    kinds.BOOLEAN,
    "false",
    "The service answers every request whose host nobody has. It is forwarded, not redirected: the URL stays. "
    "Needs `port`; can do without `hosts`. There is one such service per service cluster: the one created first.",
    "true",
    conflicts="one service per service cluster; the others are reported",
)
TCP_PORT = Label(
    "tcp_port",
    integer(1, 65535),
    "none",
    "Port of the proxies that leads to this service as raw TCP, whatever is spoken on it. Needs `port`; can do "
    "without `hosts`. Tasks are checked by TCP connections. Services with the same `tcp_port` share the "
    "connections. What applies to requests and answers (`allow`, `rate_limit` and the like) applies to HTTP alone, "
    "on a service that has `hosts` as well as on one that has none: whoever reaches this port reaches the tasks. "
    "The operator publishes it as a port of the proxy service, as docs/operations.md says at `TCPPorts`.",
    "5432",
    change=Change.FIRST_USE,
    changing="a port inside the range that the operator declared (`TCPPorts`) is live",
    conflicts="on a service without `hosts` and `default_backend`, the labels about HTTP have no effect and are "
    "reported",
    tcp=True,
)
BACKEND_MODE = Label(
    "backend_mode",
    kinds.choice({"task": False, "vip": True}),
    "task",
    "`task`: each task is a server. `vip`: the only server is the service's virtual address on the chosen "
    "network, behind which Swarm spreads connections; scaling and updates then change nothing in the proxies, "
    "and what is said per task (checks, `max_connections`, `max_fails`) is about the service as a whole.",
    "vip",
    conflicts="`sticky_session_cookie`, `ip_hash` and `balance`, which need tasks, have no effect with `vip` and "
    "are reported; not for services with `endpoint_mode: dnsrr`",
    tcp=True,
)
WEIGHT = Label(
    "weight",
    integer(0, 1000),
    "by task: each ready task has the same share",
    "Share of a service among those with the same host and path, however many tasks it has: 90 and 10 are "
    "90 % and 10 %. If one of them has the label, those without count as 100. `0`: no share, only "
    "requests that choose it by `canary_header` or `canary_cookie`. A task's part is a whole number from 1 to 256, "
    "so that shares are kept to within 1 %, unless a task of one service should get more than about 30 times "
    "what one of another gets; past 256 times they can't be kept.",
    "10",
    tcp=True,
)
CANARY_HEADER = Label(
    "canary_header",
    kinds.text("`name` or `name=value`", parse_canary_header, "^ *[A-Za-z0-9][A-Za-z0-9_-]*(=[^ ;|]+)? *$"),
    "none",
    "Requests with this header (and value, when given) go to this service, wherever it shares host and path "
    "with others; while it has no working task they go to the others. Value: letters, digits and "
    "`._~:@+/=!*%,-`, compared as it is. It has its share of the other requests as well, unless `weight` is 0.",
    "X-Canary=green",
    conflicts="one header name per host and path: that of the service created first",
)
CANARY_COOKIE = Label(
    "canary_cookie",
    kinds.text("`name` or `name=value`", parse_canary_cookie, "^ *[A-Za-z0-9_.-]+(=[^ ;|]+)? *$"),
    "none",
    "As `canary_header`, by a cookie. A request with both follows the header.",
    "beta=yes",
    conflicts="one cookie name per host and path: that of the service created first",
)
WEBSOCKET_ENDPOINTS = Label(
    "websocket_endpoints",
    kinds.text("paths, separated by commas and/or spaces", parse_endpoints),
    "none",
    "Accepted and checked, without effect: WebSocket works on every path, and `Origin` is left as it is. A value "
    "that names no paths is reported; the service is routed all the same.",
    "/ws, /live",
    idle=True,
)

ROWS: tuple[Label[object], ...] = (
    HOSTS,
    PORT,
    NETWORK,
    SERVICE_CLUSTER,
    CONTEXT_ROOT,
    CONTEXT_ROOT_REWRITE,
    REDIRECTS,
    DEFAULT_BACKEND,
    TCP_PORT,
    BACKEND_MODE,
    WEIGHT,
    CANARY_HEADER,
    CANARY_COOKIE,
    WEBSOCKET_ENDPOINTS,
)
