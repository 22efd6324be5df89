"""Rows of the table: what applies to requests and answers on their way. Pure."""

from __future__ import annotations

from l7.labels import kinds
from l7.labels.addresses import MAX_PREFIXES, parse_allow
from l7.labels.http_values import (
    MAX_VALUE,
    parse_header_edit,
    parse_header_names,
    parse_hsts,
    parse_methods,
    parse_origins,
)
from l7.labels.label import Kind, Label
from l7.labels.quantities import HOUR, duration, parse_rate, parse_size, seconds

_LONGEST = 24 * HOUR
_HEADERS = (
    "Name: letters, digits, `-` and `_`. Value: printable ASCII, spaces and tabs; empty removes the header, a `+` "
    f"in front adds one more instead of replacing. At most {MAX_VALUE} characters for all headers of a "
    "service. Headers that belong to the connection (`Connection`, `Content-Length`, `Host`, "
    "`Transfer-Encoding`, `Upgrade` ...) and the proxy's own (`x-l7-*`) are refused."
)

TIMEOUT_SERVER = Label(
    "timeout_server",
    duration(10, _LONGEST),
    "60s, or the operator's `ServerTimeout`",
    "Longest wait for an answer, or for its next part; then 504.",
    "2m",
)
TIMEOUT_TUNNEL = Label(
    "timeout_tunnel",
    duration(10, 7 * _LONGEST),
    "1h",
    "Longest silence on a WebSocket or other upgraded connection.",
    "4h",
)
TIMEOUT_CONNECT = Label(
    "timeout_connect",
    duration(10, HOUR),
    "250ms, or the operator's `ConnectTimeout`",
    "Longest wait for a connection to a task, per attempt.",
    "500ms",
    versions="3.4 and up; before, it has no effect and is reported",
)
QUEUE_TIMEOUT = Label(
    "queue_timeout",
    duration(10, HOUR),
    "15s",
    "Longest wait for a free slot where `max_connections` bounds them; then 503.",
    "10s",
    versions="3.4 and up; before, it has no effect and is reported",
    conflicts="no effect without `max_connections`",
)
HTTPS_REDIRECT = Label(
    "https_redirect",
    kinds.BOOLEAN,
    "false",
    "Requests that did not come over TLS (here or at a trusted proxy) are answered 308: the same URL with https, "
    "on its usual port.",
    "true",
)
HSTS = Label(
    "hsts",
    kinds.text("seconds, or a policy", parse_hsts, "^ *[0-9]+ *$|[Mm][Aa][Xx]-[Aa][Gg][Ee] *="),
    "none",
    "`Strict-Transport-Security` on answers over TLS: the number of seconds, or the whole policy "
    "(`max-age=31536000; includeSubDomains; preload`). `preload` asks for `includeSubDomains` and a year.",
    "max-age=31536000; includeSubDomains",
)
ALLOW = Label(
    "allow",
    kinds.text("addresses and prefixes, separated by commas and/or spaces", parse_allow, "^[0-9A-Fa-f:./, ]+$"),
    "none: everybody",
    "Clients that are let in, by address; others are answered 403. IPv4 and IPv6, at most "
    f"{MAX_PREFIXES}. Behind a trusted proxy it is the address that this one tells.",
    "10.0.0.0/8, 2001:db8::/32",
)
RATE_LIMIT = Label(
    "rate_limit",
    kinds.text("`N/s`, `N/10s`, `N/m` or `N/h`", parse_rate, "^ *[0-9]+/(s|10s|m|h) *$"),
    "none",
    "Requests per client address (IPv6: per /64) in a second, ten seconds, a minute or an hour, counted by each "
    "proxy on its own; more are answered 429, with `Retry-After`, and are not counted.",
    "100/m",
)
MAX_BODY_SIZE = Label(
    "max_body_size",
    Kind(
        "bytes, or a number with k, m or g (powers of 1024)",
        parse_size,
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^ *[0-9]+[kmgKMG]? *$"}]},
    ),
    "0: no bound",
    "Longest body of a request; longer ones are answered 413. A body whose length is not said in advance "
    "(chunked, or HTTP/2 without `Content-Length`) is measured when it has, with the head, less than 8 kB, else "
    "the answer is 411; one that has not ended after 10 s is answered 408. So it is nothing for streams of a "
    "client, such as gRPC's.",
    "10m",
)
COMPRESSION = Label(
    "compression",
    kinds.BOOLEAN,
    "false",
    "Text, JSON, XML, SVG and the like are compressed (gzip) for clients that take it.",
    "true",
)
CORS_ORIGINS = Label(
    "cors_origins",
    kinds.text("origins, separated by commas and/or spaces, or `*`", parse_origins, r"^ *\*? *$|://"),
    "none",
    "Origins whose scripts may use the service: scheme, host and perhaps a port. The proxies answer preflight "
    "requests by themselves (204; 403 for other origins) and add the headers to the answers. `*`: any.",
    "https://app.example.org",
)
CORS_METHODS = Label(
    "cors_methods",
    kinds.text("methods, separated by commas and/or spaces", parse_methods, "^[A-Za-z, ]+$"),
    "GET, HEAD and POST, which browsers allow anyway",
    "Methods that preflight requests are told.",
    "GET, POST, DELETE",
    conflicts="no effect without `cors_origins`",
)
CORS_HEADERS = Label(
    "cors_headers",
    kinds.text("names of headers, separated by commas and/or spaces", parse_header_names, "^[A-Za-z0-9_, -]+$"),
    "those that the preflight request asks for",
    "Request headers that preflight requests are told.",
    "Authorization, Content-Type",
    conflicts="no effect without `cors_origins`",
)
CORS_CREDENTIALS = Label(
    "cors_credentials",
    kinds.BOOLEAN,
    "false",
    "Whether scripts may send cookies and the like.",
    "true",
    conflicts="no effect without `cors_origins`, nor with `*`: every web site could act as the user",
)
CORS_MAX_AGE = Label(
    "cors_max_age",
    seconds(1, 86_400),
    "none: browsers keep it for 5 s",
    "For how long browsers may keep the answer to a preflight request; whole seconds.",
    "10m",
    conflicts="no effect without `cors_origins`",
)
HEADER_REQUEST = Label(
    "header_request_*",
    kinds.text("value of a header", parse_header_edit, r"^[\t\x20-\x7e]*$"),
    "none",
    "Changes the header of that name on the way to the task: `header_request_X-Team=shop`. " + _HEADERS,
    "shop",
)
HEADER_RESPONSE = Label(
    "header_response_*",
    kinds.text("value of a header", parse_header_edit, r"^[\t\x20-\x7e]*$"),
    "none",
    "Changes the header of that name in the application's answers: `header_response_X-Frame-Options=DENY`. Answers "
    "of the proxies' own (redirects, refusals, errors) stay as they are. " + _HEADERS,
    "DENY",
    conflicts="the information headers (`x-request-id`, `x-proxy-id`, `x-server-info`, `x-upstream-addr`, "
    "`x-upstream-response-time`) are the proxies'; `Strict-Transport-Security` has no effect beside `hsts`, nor "
    "have `Access-Control-Allow-Origin` and `-Credentials` beside `cors_origins`; all are reported",
)

ROWS: tuple[Label[object], ...] = (
    TIMEOUT_SERVER,
    TIMEOUT_TUNNEL,
    TIMEOUT_CONNECT,
    QUEUE_TIMEOUT,
    HTTPS_REDIRECT,
    HSTS,
    ALLOW,
    RATE_LIMIT,
    MAX_BODY_SIZE,
    COMPRESSION,
    CORS_ORIGINS,
    CORS_METHODS,
    CORS_HEADERS,
    CORS_CREDENTIALS,
    CORS_MAX_AGE,
    HEADER_REQUEST,
    HEADER_RESPONSE,
)
