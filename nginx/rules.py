"""What a service's rules do to its requests, as directives of its locations. Pure.

A directive such as `add_header` in a location takes away those of the servers around it, so all are said anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from l7 import __version__
from l7.v1 import sync_pb2 as pb
from nginx.settings import Settings
from nginx.text import exactly, literal, quoted
from nginx.ways import Maps, is_variable

NO_RULES = pb.Rules()

_RETRIES = {
    pb.RETRY_ON_UNSPECIFIED: "error timeout",
    pb.RETRY_ON_SAFE: "error timeout invalid_header http_502 http_503 http_504",
    pb.RETRY_ON_ALL: "error timeout invalid_header http_502 http_503 http_504 non_idempotent",
}
TRIES = 3
GZIP_TYPES = "text/plain text/css text/xml application/json application/javascript application/xml image/svg+xml"

_TOLD = {
    "Host": "$http_host",
    "X-Real-IP": "$remote_addr",
    "X-Forwarded-For": "$remote_addr",
    "X-Forwarded-Proto": "$scheme",
    "X-Forwarded-Host": "$http_host",
    "X-Forwarded-Port": "$l7_port",
    "X-Request-ID": "$request_id",
    "Upgrade": "$l7_upgrade",
    "Connection": "$l7_connection",
    "Forwarded": '""',
    "X-SSL-Client-DN": "$l7_client_dn",
    "X-SSL-Client-Serial": "$l7_client_serial",
}
"""What applications are told, instead of what clients say of themselves."""


@dataclass(slots=True)
class Zones:
    """Memory for rates: (requests, period in milliseconds) -> name."""

    names: dict[tuple[int, int], str] = field(default_factory=dict)

    def name(self, limit: pb.RateLimit) -> str:
        key = (limit.requests, limit.period_milliseconds)
        return self.names.setdefault(key, f"l7_rate_{len(self.names)}")

    def text(self) -> Iterator[str]:
        for (requests, period), name in self.names.items():
            yield f"limit_req_zone $binary_remote_addr zone={name}:10m rate={_rate(requests, period)};"


def _rate(requests: int, period: int) -> str:
    """NGINX knows whole numbers per second or minute."""
    if period == 1000:
        return f"{requests}r/s"
    return f"{max(1, round(requests * 60_000 / period))}r/m"


def deciding(rules: pb.Rules, maps: Maps) -> Iterator[str]:
    """What ends a request, in the order in which it is asked."""
    if rules.https_redirect:
        yield "if ($scheme = http) { return 308 https://$host$request_uri; }"
    if rules.client_certificate == pb.CLIENT_CERTIFICATE_REQUIRED:
        yield "if ($ssl_client_verify != SUCCESS) { return 403; }"
    if rules.HasField("cors"):
        yield f"if ({_preflight(rules.cors, maps)}) {{ return 204; }}"
    yield from (f"allow {prefix};" for prefix in rules.allow_prefixes)
    if rules.allow_prefixes:
        yield "deny all;"
    if rules.HasField("rate_limit"):
        yield "limit_req_status 429;"
    if rules.HasField("basic_auth"):
        # Passwords are in no file that is no secret: nobody is let in.
        yield "return 401;"


def rating(rules: pb.Rules, zones: Zones) -> Iterator[str]:
    """Counts a request: once, however many tasks it is sent to."""
    if rules.HasField("rate_limit"):
        yield f"limit_req zone={zones.name(rules.rate_limit)} burst={rules.rate_limit.requests} nodelay;"


def bounding(rules: pb.Rules, retry_on: pb.RetryOn) -> Iterator[str]:
    """Limits, times, repetition."""
    if rules.max_body_bytes:
        yield f"client_max_body_size {rules.max_body_bytes};"
    if rules.compression:
        yield from ("gzip on;", "gzip_proxied any;", "gzip_vary on;", f"gzip_types {GZIP_TYPES};")
    if rules.timeout_server_milliseconds or rules.timeout_tunnel_milliseconds:
        # One time for both: a WebSocket must not end by the time for answers.
        longest = max(rules.timeout_server_milliseconds, rules.timeout_tunnel_milliseconds)
        yield f"proxy_read_timeout {longest}ms;"
    if rules.timeout_connect_milliseconds:
        yield f"proxy_connect_timeout {rules.timeout_connect_milliseconds}ms;"
    if retry_on != pb.RETRY_ON_UNSPECIFIED:
        yield f"proxy_next_upstream {_RETRIES[retry_on]};"


# ---------------------------------------------------------------- headers


def telling(rules: pb.Rules = NO_RULES) -> Iterator[str]:
    """Headers of the request; all of them, as one alone would take away the others."""
    told = dict(_TOLD)
    names = {name.lower(): name for name in told}
    for change in rules.request_headers:
        name = names.setdefault(change.name.lower(), change.name)
        told[name] = _changed(change)
    yield from (f"proxy_set_header {name} {value};" for name, value in told.items())


def own_headers(rules: pb.Rules, settings: Settings, maps: Maps) -> Iterator[str]:
    """Those of a location that differ from what holds everywhere; what does not is said once, for all of them."""
    if rules.request_headers:
        yield from telling(rules)
    if rules.response_headers or rules.hsts or rules.HasField("cors"):
        yield from answering(rules, settings, maps)


def _changed(change: pb.HeaderChange) -> str:
    """A header that is added joins those that there are: NGINX sends each once."""
    if change.action == pb.HEADER_ACTION_REMOVE:
        return '""'
    if change.action == pb.HEADER_ACTION_ADD:
        there = "$http_" + change.name.lower().replace("-", "_")
        return f'"{there}, {literal(change.value)[1:-1]}"'
    return literal(change.value)


def answering(rules: pb.Rules, settings: Settings, maps: Maps, error: str = "$l7_error") -> Iterator[str]:
    """Headers of the answer. `error`: which one of the proxy's own it is, a variable that is mostly empty."""
    yield "proxy_hide_header x-l7-error;"  # an application's own would be taken for ours
    yield f"add_header x-l7-error {error} always;"
    if not settings.hide_info_headers:
        yield from _INFO
    if rules.hsts:
        yield f"add_header Strict-Transport-Security {_over_tls(rules.hsts, maps)} always;"
    for change in rules.response_headers:
        if change.action != pb.HEADER_ACTION_ADD:
            yield f"proxy_hide_header {quoted(change.name)};"
    last = {c.name.lower(): c for c in rules.response_headers if c.action == pb.HEADER_ACTION_SET}
    for change in rules.response_headers:
        if change.action == pb.HEADER_ACTION_ADD or last.get(change.name.lower()) is change:
            yield f"add_header {change.name} {literal(change.value)} always;"
    if rules.HasField("cors"):
        yield from _cors(rules.cors, maps)


_INFO = (
    "add_header x-request-id $request_id always;",
    "add_header x-proxy-id $hostname always;",
    f"add_header x-server-info l7/{__version__} always;",
    "add_header x-upstream-addr $upstream_addr always;",
    "add_header x-upstream-response-time $upstream_response_time always;",
)


def _over_tls(value: str, maps: Maps) -> str:
    return maps.add("$https", ['default "";', f"on {literal(value)};"], "hsts")


def _origin(cors: pb.Cors, maps: Maps) -> str:
    """The origin that is allowed, "" for none."""
    if list(cors.origins) == ["*"] and not cors.credentials:
        return maps.add("$http_origin", ['default "*";', '"" "";'], "origin")
    if list(cors.origins) == ["*"]:
        return maps.add("$http_origin", ["default $http_origin;", '"" "";'], "origin")
    rows = [f"{exactly(each)} $http_origin;" for each in cors.origins]
    return maps.add("$http_origin", ['default "";', *rows], "origin")


def _preflight(cors: pb.Cors, maps: Maps) -> str:
    """1 for a question that is answered here: an origin that is allowed, and asks before it does."""
    rows = ['default "";', '"~^OPTIONS .+" 1;']
    asked = maps.add('"$request_method $http_access_control_request_method"', rows, "ask")
    return maps.add(f'"{asked}{_origin(cors, maps)}"', ['default "";', '"~^1.+" 1;'], "preflight")


def _cors(cors: pb.Cors, maps: Maps) -> Iterator[str]:
    origin, preflight = _origin(cors, maps), _preflight(cors, maps)

    def when_asked(value: str) -> str:
        return maps.add(preflight, ['default "";', f"1 {value};"], "cors")

    yield f"add_header Access-Control-Allow-Origin {origin} always;"
    yield "add_header Vary Origin always;"
    if cors.credentials:
        allowed = maps.add(origin, ["default true;", '"" "";'], "cors")
        yield f"add_header Access-Control-Allow-Credentials {allowed} always;"
    headers = literal(", ".join(cors.headers)) if cors.headers else "$http_access_control_request_headers"
    yield f"add_header Access-Control-Allow-Methods {when_asked(literal(', '.join(cors.methods)))} always;"
    yield f"add_header Access-Control-Allow-Headers {when_asked(headers)} always;"
    if cors.max_age_seconds:
        yield f"add_header Access-Control-Max-Age {when_asked(str(cors.max_age_seconds))} always;"


# ---------------------------------------------------------------- stickiness


def hash_keys(routes: Iterable[pb.Route], rules: Mapping[str, pb.Rules], maps: Maps) -> dict[str, str]:
    """By backend, the variable that its requests are assigned by. Who has no header or cookie goes anywhere."""
    found: dict[str, str] = {}
    for route in routes:
        own = rules.get(route.rules, NO_RULES)
        if own.HasField("hash_key"):
            for name in (route.backend, *(canary.backend for canary in route.canaries)):
                found.setdefault(name, _key(own.hash_key, maps))
    return found


def _key(key: pb.HashKey, maps: Maps) -> str:
    if key.source == pb.HASH_SOURCE_URI:
        return "$request_uri"
    if key.source not in (pb.HASH_SOURCE_HEADER, pb.HASH_SOURCE_COOKIE):
        return "$binary_remote_addr"
    if key.source == pb.HASH_SOURCE_COOKIE and not is_variable(key.name):
        return "$request_id"
    kind = "http" if key.source == pb.HASH_SOURCE_HEADER else "cookie"
    variable = f"${kind}_{key.name.lower().replace('-', '_') if kind == 'http' else key.name}"
    return maps.add(variable, [f"default {variable};", '"" $request_id;'], "key")
