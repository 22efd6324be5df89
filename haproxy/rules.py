"""What the rules of a service do to a request and its answer, as text of the HTTP frontend. Pure.

Nothing in it depends on a service: what is on, and with which values, is looked up (`haproxy.features`).

* `txn.rules`     name of the rules;  `txn.features`  their row;  `txn.flags`  its first field: letters
* `txn.hash_key`  what `balance hash` hashes, text; not set where nothing is to be hashed
"""

from __future__ import annotations

from haproxy.capabilities import Capabilities
from haproxy.features import MAPPED, Field, Flag
from haproxy.names import BASE, rate_table
from haproxy.pages import refusal
from haproxy.settings import (
    ALLOW_MAP,
    AUTH_KEY,
    AUTH_MAP,
    BACKENDS_MAP,
    CANARY_MAP,
    CORS_MAP,
    FEATURES_MAP,
    REQUEST_HEADERS_MAP,
    RESPONSE_HEADERS_MAP,
    Settings,
)

PERIODS = {
    Flag.RATE_SECOND: "1s",
    Flag.RATE_TEN_SECONDS: "10s",
    Flag.RATE_MINUTE: "1m",
    Flag.RATE_HOUR: "1h",
}

FITS = 8192
"""Bytes of a request's head and body that certainly fit into a buffer (16 kB, less what is reserved for rewriting
and what HAProxy's own form of a message takes): only below, all of the body is there to be measured."""


def field(number: Field) -> str:
    return f"var(txn.features),field({int(number)},|)"


def has(flag: Flag) -> str:
    """Condition of a rule."""
    return f"{{ var(txn.flags) -m sub {flag} }}"


# ---------------------------------------------------------------- canaries


def canary(settings: Settings) -> str:
    """The backend of a canary if its header or cookie says so and it has a server.

    In this order, the first that has a server: the header's value, any value of the header, the same of the cookie.
    """
    steps = (
        _candidate(settings, source, key)
        for source, letter in (("header", "h"), ("cookie", "c"))
        for key in (f"concat(|{letter}=,txn.{source})", f"concat(|{letter})")
    )
    return f"""\
  http-request set-var(txn.canary) var(txn.more),field(5,|)
  acl canary var(txn.canary) -m len gt 0
  acl chosen var(txn.chosen) -m found
  http-request set-var(txn.name) var(txn.more),field(3,|) if canary
  http-request set-var(txn.header) lua.l7_header(txn.name),url_enc if canary
  http-request set-var(txn.name) var(txn.more),field(4,|) if canary
  http-request set-var(txn.cookie) lua.l7_cookie(txn.name),url_enc if canary
{"".join(steps)}\
  http-request set-var(txn.logical) var(txn.chosen) if chosen
  http-request set-var(txn.physical) var(txn.place) if chosen
"""


def _candidate(settings: Settings, source: str, key: str) -> str:
    """A candidate of an earlier step that is still in a variable does no harm: it had no server then."""
    wanted = f"if canary !chosen {{ var(txn.{source}) -m len gt 0 }}"
    return f"""\
  http-request set-var(txn.candidate) var(txn.canary),{key},map_str({settings.file(CANARY_MAP)}) {wanted}
  http-request set-var(txn.place) var(txn.candidate),map_str({settings.file(BACKENDS_MAP)}) {wanted}
  http-request set-var(txn.chosen) var(txn.candidate) {wanted} {{ var(txn.place),nbsrv gt 0 }}
"""


# ---------------------------------------------------------------- before the backend


def before_backend(settings: Settings, capabilities: Capabilities) -> str:
    """From the look-up of the rules to the last thing that they do to a request."""
    parts = (
        _look_up(settings),
        _https_redirect(),
        _nowhere(settings),
        _client_certificate(settings),
        _origin(settings),
        _address(),
        _allow(settings),
        _rate(settings),
        _preflight(settings),
        _password(settings),
        _body(settings),
        _hash_key(),
        _request_headers(settings, capabilities),
        _COMPRESSION,
    )
    return "".join(parts)


def _look_up(settings: Settings) -> str:
    return f"""\
  http-request set-var(txn.rules) var(txn.more),field(2,|)
  http-request set-var(txn.features) var(txn.rules),map_str({settings.file(FEATURES_MAP)})
  http-request set-var(txn.flags) {field(Field.FLAGS)}
"""


def _https_redirect() -> str:
    """Without the port, which was that of the clear-text listener. `OPTIONS *` has no path, nor, in 2.6, has
    `GET http://host`."""
    return f"""\
  acl to_https var(txn.flags) -m sub {Flag.HTTPS_REDIRECT}
  http-request redirect code 308 location https://%[var(txn.host)]%[var(txn.original)] if to_https !https rooted
  http-request redirect code 308 location https://%[var(txn.host)]/ if to_https !https
"""


def _nowhere(settings: Settings) -> str:
    """A route may lead nowhere and redirect to https all the same: TLS of its host is passed on."""
    return f"""\
  http-request {refusal(503, "no-server", "no server", settings)} if !placed
{any_body(settings, "placed", f" !{has(Flag.BODY)}")}\
  http-request allow if !{{ var(txn.flags) -m beg {Flag.FRONT} }}
"""


def _client_certificate(settings: Settings) -> str:
    """Over a connection to the same host: on another one HAProxy asked for none, or for one of another CA. A client
    that shares connections between hosts tries again on one of its own (RFC 9110, section 15.5.20).

    `ssl_c_used` holds for a session that is resumed, too.
    """
    wanted = f"{Flag.CLIENT_OPTIONAL} {Flag.CLIENT_REQUIRED}"
    other = refusal(421, "other-host", "this connection is for another host", settings)
    missing = refusal(403, "client-certificate", "a client certificate is required", settings)
    return f"""\
  acl client_asked var(txn.flags) -m sub {wanted}
  acl client_required var(txn.flags) -m sub {Flag.CLIENT_REQUIRED}
  acl client_known ssl_c_used
  http-request set-var(txn.asked_for) ssl_fc_sni,lower if client_asked
  http-request {other} if client_asked {{ ssl_fc }} !{{ var(txn.asked_for),strcmp(txn.host) eq 0 }}
  http-request {missing} if client_required !client_known
  http-request {missing} if client_asked client_known !{{ ssl_c_verify 0 }}
  http-request set-header x-ssl-client-dn %[ssl_c_s_dn] if client_asked client_known
  http-request set-header x-ssl-client-cn %[ssl_c_s_dn(cn)] if client_asked client_known
  http-request set-header x-ssl-client-serial %[ssl_c_serial,hex] if client_asked client_known
  http-request set-header x-ssl-client-sha256 %[ssl_c_der,sha2(256),hex,lower] if client_asked client_known
"""


def _password(settings: Settings) -> str:
    """After the preflights of browsers, which carry none, and after the rate, which bounds how many are tried.

    What is looked up is an HMAC of what the client sent: base64 of `user:password` (RFC 7617).
    """
    by = f"map_str({settings.file(AUTH_MAP)})"
    sent = "req.fhdr(authorization),field(2,\\ ),hmac(sha256,txn.auth_key),hex"
    refused = refusal(401, "auth", "a password is required", settings)
    realm = f'www-authenticate \'Basic realm="%[{field(Field.REALM)}]", charset="UTF-8"\''
    return f"""\
  acl locked var(txn.flags) -m sub {Flag.AUTH}
  acl basic req.fhdr(authorization) -m beg -i "basic "
  acl user var(txn.user) -m found
  acl tried var(txn.password) -m found
  http-request set-var(txn.auth_key) str({AUTH_KEY}),{by} if locked basic
  http-request set-var(txn.password) {sent} if locked basic
  http-request set-var(txn.user) var(txn.rules),concat(|,txn.password),{by} if locked tried
  http-request {refused} hdr {realm} if locked !user
  http-request set-header x-forwarded-user %[var(txn.user)] if locked
"""


def _address() -> str:
    """In hexadecimal, 8 or 32 digits."""
    return f"""\
  acl allow_list var(txn.flags) -m sub {Flag.ALLOW}
  acl rated var(txn.flags) -m sub {" ".join(PERIODS)}
  http-request set-var(txn.address) src,hex if allow_list or rated
"""


def _allow(settings: Settings) -> str:
    by = f"map_beg({settings.file(ALLOW_MAP)})"
    return f"""\
  acl long_address var(txn.address) -m len gt 8
  http-request set-var(txn.allowed) var(txn.rules),concat(|4,txn.address),{by} if allow_list !long_address
  http-request set-var(txn.allowed) var(txn.rules),concat(|6,txn.address),{by} if allow_list long_address
  http-request {refusal(403, "not-allowed", "not allowed", settings)} if allow_list !{{ var(txn.allowed) -m found }}
"""


def _rate(settings: Settings) -> str:
    """What is refused is not counted: a client that asks too often is served as often as it may.

    Of an IPv6 address the first 64 bits count, since whoever has one has all those that begin like it.
    """
    spent = "set-var(txn.spent) var(txn.client),table_http_req_rate"
    read = (f"  http-request {spent}({rate_table(flag)}) if {has(flag)}\n" for flag in PERIODS)
    count = (
        f"  http-request track-sc0 var(txn.client) table {rate_table(flag)} if {has(flag)}\n" for flag in PERIODS
    )
    refused = refusal(429, "rate-limit", "too many requests", settings)
    refused += f" hdr retry-after %[{field(Field.RETRY_AFTER)}]"
    return f"""\
  acl mapped var(txn.address) -m beg {MAPPED}
  http-request set-var(txn.address) var(txn.address),bytes(0,16) if rated long_address !mapped
  http-request set-var(txn.client) var(txn.rules),concat(:,txn.address) if rated
  http-request set-var(txn.rate) {field(Field.RATE)} if rated
{"".join(read)}\
  http-request {refused} if rated {{ var(txn.spent),sub(txn.rate) ge 0 }}
{"".join(count)}"""


def rate_tables() -> tuple[str, ...]:
    """Sections of the stick-tables: the keys are `<rules>:<address in hexadecimal, or its first 64 bits>`."""
    return tuple(
        f"backend {rate_table(flag)} from {BASE}\n"
        f"  stick-table type string len 128 size 100k expire {period} store http_req_rate({period})\n"
        for flag, period in PERIODS.items()
    )


def _origin(settings: Settings) -> str:
    """Whether the origin may read the answer, which may be a refusal of those that follow.

    The origin is asked in lower case; `o*` stands for any.
    """
    by = f"map_str({settings.file(CORS_MAP)})"
    return f"""\
  acl cors var(txn.flags) -m sub {Flag.CORS}
  acl origin var(txn.origin) -m len gt 0
  acl origin_known var(txn.cors) -m found
  http-request set-var(txn.origin) req.fhdr(origin) if cors
  http-request set-var(txn.asked) var(txn.origin),lower if cors origin
  http-request set-var(txn.cors) var(txn.rules),concat(|o,txn.asked),{by} if cors origin
  http-request set-var(txn.any) var(txn.rules),concat(|o*),{by} if cors origin !origin_known
  http-request set-var(txn.cors) var(txn.any) if {{ var(txn.any) -m found }}
"""


def _preflight(settings: Settings) -> str:
    """Is answered here; other requests pass, and the browser judges by the answer's headers."""
    by = f"map_str({settings.file(CORS_MAP)})"
    return f"""\
  acl preflight req.fhdr(access-control-request-method) -m found
  http-request {refusal(403, "origin", "this origin is not allowed", settings)} if cors origin !origin_known METH_OPTIONS preflight
  http-request set-var(txn.methods) var(txn.rules),concat(|methods),{by} if cors origin METH_OPTIONS preflight
  http-request set-var(txn.headers) req.fhdr(access-control-request-headers) if cors origin METH_OPTIONS preflight
  http-request set-var(txn.headers) var(txn.rules),concat(|headers),{by} if cors origin METH_OPTIONS preflight
  http-request set-var(txn.age) var(txn.rules),concat(|age),{by} if cors origin METH_OPTIONS preflight
  http-request return status 204 if cors origin METH_OPTIONS preflight
"""  # noqa: E501


def any_body(settings: Settings, condition: str, limited: str = "") -> str:
    """What the operator says of every body, but its length where a service has a limit of its own (`limited`).

    Both hold for what says its length: to measure the rest, or to wait for it, would hold up streams, and
    everybody's, not those of one service that asked for it. Without `wait-for-body` a client that is silent in the
    middle of a body is not noticed (2.6), or answered 400 (3.4).
    """
    too_large = refusal(413, "body-too-large", "the body is too large", settings)
    rules = (
        (settings.max_body, f"{too_large} if {condition}{limited} {{ req.body_size gt {settings.max_body} }}"),
        (
            settings.body_timeout,
            f"wait-for-body time {settings.body_timeout}ms if {condition} {{ req.fhdr(content-length) -m found }}",
        ),
    )
    return "".join(f"  http-request {rule}\n" for wanted, rule in rules if wanted)


def _body(settings: Settings) -> str:
    """A body whose length is not said beforehand is measured when it is short; else its length has to be said.

    Without a length are bodies in chunks, and those of HTTP/2, which needs neither (a WebSocket over HTTP/2 shows
    as an upgrade, which no client of HTTP/2 can claim). One that does not end in time is answered 408 by
    `wait-for-body`. `req.body_size` is the length as said, and 0 for the latter (seen on 3.4.7); `req.body_len` is
    what came.
    """
    unsized = "if bounded chunked or bounded http2 !sized !upgrading"
    too_large = refusal(413, "body-too-large", "the body is too large", settings)
    no_length = refusal(411, "length-required", "the length of the body has to be given", settings)
    return f"""\
  acl bounded var(txn.flags) -m sub {Flag.BODY}
  acl chunked req.fhdr(transfer-encoding) -m found
  acl http2 req.ver 2.0 3.0
  acl sized req.fhdr(content-length) -m found
  acl upgrading req.fhdr(upgrade) -m found
  http-request set-var(txn.limit) {field(Field.BODY)} if bounded
  http-request set-var(txn.head) req.hdrs,length {unsized}
  http-request wait-for-body time 10s {unsized}
  http-request {too_large} if bounded {{ req.body_size,sub(txn.limit) gt 0 }}
  http-request {too_large} if bounded {{ req.body_len,sub(txn.limit) gt 0 }}
  http-request set-var(txn.held) req.body_len,add(txn.head) if {{ var(txn.head) -m found }} {{ req.body_len gt 0 }}
  http-request {no_length} if {{ var(txn.held) -m int ge {FITS} }}
"""


COMMON_COOKIES = ("session", "sessionid", "sid", "JSESSIONID", "PHPSESSID", "connect.sid")
"""Looked for without Lua, which costs as much as half a request."""


LONGEST_KEY = 128
"""Bytes. It goes over the compressor's hop as a header: a cookie of 8 kB would not fit into a buffer twice."""


def _hash_key() -> str:
    """Text in every case, so that it is the same when it comes over the hop. Without the key: anywhere."""
    common = "".join(
        f"  http-request set-var(txn.hash_key) req.cook({name}) if by_cookie {{ var(txn.name) -m str {name} }}\n"
        for name in COMMON_COOKIES
    )
    return f"""\
  acl keyed var(txn.flags) -m sub {Flag.HASH_KEY}
  acl by_cookie var(txn.source) -m str c
  acl common_cookie var(txn.name) -m str {" ".join(COMMON_COOKIES)}
  http-request set-var(txn.source) {field(Field.HASH_SOURCE)} if keyed
  http-request set-var(txn.name) {field(Field.HASH_NAME)} if keyed
  http-request set-var(txn.hash_key) src,hex if keyed {{ var(txn.source) -m str a }}
  http-request set-var(txn.hash_key) var(txn.key) if keyed {{ var(txn.source) -m str u }}
  http-request set-var(txn.hash_key) lua.l7_header(txn.name) if keyed {{ var(txn.source) -m str h }}
{common}\
  http-request set-var(txn.hash_key) lua.l7_cookie(txn.name) if by_cookie !common_cookie
  http-request set-var(txn.hash_key) rand,concat() if keyed !{{ var(txn.hash_key) -m len gt 0 }}
  http-request set-var(txn.hash_key) var(txn.hash_key),xxh64,concat() if keyed {{ var(txn.hash_key) -m len gt {LONGEST_KEY} }}
"""  # noqa: E501


def _request_headers(settings: Settings, capabilities: Capabilities) -> str:
    rows = f"var(txn.rules),concat(|),map_str({settings.file(REQUEST_HEADERS_MAP)})"
    return (
        f"  acl with_headers var(txn.flags) -m sub {Flag.REQUEST_HEADERS}\n"
        f"  http-request set-var(txn.changes) {rows} if with_headers\n"
        + _change_headers("request", "if with_headers", capabilities)
    )


def _change_headers(direction: str, condition: str, capabilities: Capabilities) -> str:
    """`names~pairs`; 3.4 reads them itself."""
    removed, added = "var(txn.changes),field(1,~),b64dec", "var(txn.changes),field(2,~),b64dec"
    if capabilities.headers_from_data:
        return (
            f"  http-{direction} del-headers-bin {removed} {condition}\n"
            f"  http-{direction} add-headers-bin {added} {condition}\n"
        )
    return (
        f"  http-{direction} set-var(txn.removed) {removed} {condition}\n"
        f"  http-{direction} set-var(txn.added) {added} {condition}\n"
        f"  http-{direction} lua.l7_{direction}_headers {condition}\n"
    )


# Only for clients that take it; never a WebSocket, which is no answer, or gRPC, which compresses by itself.
_COMPRESSION = f"""\
  acl takes_gzip req.hdr(accept-encoding) -m sub gzip
  acl grpc req.fhdr(content-type) -m beg application/grpc
  acl hopped var(txn.hopped) -m bool
  http-request set-var(txn.hopped) bool(1) if {has(Flag.COMPRESSION)} takes_gzip !upgrading !grpc
  http-request set-log-level silent if hopped
"""


# ---------------------------------------------------------------- on the way back


def on_answer(settings: Settings, capabilities: Capabilities) -> str:
    """On an application's answer. One that comes over the hop is marked already."""
    rows = f"var(txn.rules),concat(|),map_str({settings.file(RESPONSE_HEADERS_MAP)})"
    return f"""\
  http-response set-var(txn.answered) bool(1)
  http-response del-header x-l7-error if !hopped
  http-response allow if !{has(Flag.RESPONSE_HEADERS)}
  http-response set-var(txn.changes) {rows}
""" + _change_headers("response", "", capabilities).replace(" \n", "\n")


def after_answer(settings: Settings) -> str:
    """On every answer, also one of our own: a script has to be able to read a refusal."""
    del settings
    return f"""\
  http-after-response allow if !{has(Flag.AFTER)}
  http-after-response set-header strict-transport-security %[{field(Field.HSTS)}] if {has(Flag.HSTS)} https
  http-after-response allow if !cors
  http-after-response del-header access-control-allow-origin
  http-after-response del-header access-control-allow-credentials
  http-after-response add-header vary origin
  http-after-response allow if !origin_known
  http-after-response set-header access-control-allow-origin %[var(txn.origin)]
  http-after-response set-header access-control-allow-credentials true if {{ var(txn.cors) -m str credentials }}
  http-after-response set-header access-control-allow-methods %[var(txn.methods)] if {{ var(txn.methods) -m len gt 0 }}
  http-after-response set-header access-control-allow-headers %[var(txn.headers)] if {{ var(txn.headers) -m len gt 0 }}
  http-after-response set-header access-control-max-age %[var(txn.age)] if {{ var(txn.age) -m len gt 0 }}
"""  # noqa: E501
