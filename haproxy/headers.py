"""What is said about a request: to the application, to the client, in the log. Text of the frontends; pure.

* `txn.id`     the request's id: ours, or that of a trusted proxy in front
* `txn.https`  whether the client came over TLS, to us or to a trusted proxy
"""

from __future__ import annotations

from haproxy.settings import Settings
from l7 import __version__

HOPS = 5
"""Trusted proxies in a row that are seen through."""

PREFIXES_PER_LINE = 40
"""HAProxy takes 64 words in a line (global MAX_LINE_ARGS)."""


def arrival(settings: Settings) -> str:
    """Who asks, over what; before anything else is looked at."""
    return expect_proxy(settings) + _START + (_trusted(settings) if settings.trusted_proxies else "")


def expect_proxy(settings: Settings) -> str:
    """The PROXY protocol is spoken by trusted proxies only: anybody's header would be anybody's address."""
    if not settings.proxy_protocol:
        return ""
    return "".join(
        f"  tcp-request connection expect-proxy layer4 if {{ src {' '.join(prefixes)} }}\n"
        for prefixes in _chunks(settings.trusted_proxies)
    )


# Once per connection: what the log says of its TLS, ready-made JSON.
_START = """\
  tcp-request session set-var-fmt(sess.tls) '{"version":"%[ssl_fc_protocol]","cipher":"%[ssl_fc_cipher]","sni":"%[ssl_fc_sni,json(utf8s)]"}' if { ssl_fc }
  http-request set-var(txn.id) uuid()
  http-request set-var(txn.start) date(0,us)
  http-request set-var(txn.path) path
  http-request set-var(txn.https) ssl_fc
"""  # noqa: E501


def _trusted(settings: Settings) -> str:
    """Each proxy adds the address that it sees at the end of X-Forwarded-For: the client is the last one that is
    not itself trusted. `acl trusted` looks at the address as it stands, which moves on with each that is believed.
    What is no address ends it: nobody knows who wrote what stands before.
    """
    acls = (f"  acl trusted src {' '.join(prefixes)}\n" for prefixes in _chunks(settings.trusted_proxies))
    hops = (
        f"  http-request set-var(txn.hop{hop}) req.hdr_ip(x-forwarded-for,-{hop}) if trusted"
        f"{f' {{ var(txn.hop{hop - 1}) -m found }}' if hop > 1 else ''}\n"
        f"  http-request set-src var(txn.hop{hop}) if {{ var(txn.hop{hop}) -m found }}\n"
        for hop in range(1, HOPS + 1)
    )
    return "".join((*acls, _BELIEVED, *hops))


# The id goes into the log, which is JSON: nothing in it may end a string.
_BELIEVED = """\
  acl forwarded_https req.hdr(x-forwarded-proto,-1) -m str -i https wss
  http-request set-var(txn.trusted) bool(1) if trusted
  http-request set-var(txn.https) bool(1) if trusted forwarded_https
  http-request set-var(txn.port) int(443) if trusted forwarded_https
  http-request set-var(txn.port) req.hdr(x-forwarded-port,-1) if trusted { req.hdr(x-forwarded-port,-1) -m reg ^[0-9]{1,5}$ }
  http-request set-var(txn.id) req.fhdr(x-request-id) if trusted { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._:/+=@-]{1,128}$ }
"""  # noqa: E501


def _chunks(prefixes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [prefixes[at : at + PREFIXES_PER_LINE] for at in range(0, len(prefixes), PREFIXES_PER_LINE)]


# What a client says about itself is replaced, also where an application would take `_` for `-`. An upgrade to
# clear-text HTTP/2 would be a tunnel to the application, with requests that no rule here sees; before 3.4, HAProxy
# passes it on. Whatever a client names in `Connection` an application may take away (RFC 9110, section 7.6.1), be
# it `X-Real-IP`: only `upgrade` is left of it, and HAProxy says by itself what holds for its own connection.
_REQUEST = """\
  http-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2 }
  http-request set-header connection upgrade if { req.hdr(connection) -m found } { req.hdr(upgrade) -m found }
  http-request del-header connection if { req.hdr(connection) -m found } !{ req.hdr(upgrade) -m found }
  http-request del-header http2-settings
  http-request del-header forwarded
  http-request del-header ^x[-_](forwarded|real[-_]ip|request[-_]id|ssl[-_]client|l7[-_]) -m reg
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-real-ip %[src]
  http-request set-header x-forwarded-proto %[var(txn.https),iif(https,http)]
  http-request set-header x-forwarded-host %[req.fhdr(host)]
  http-request set-header x-forwarded-port %[dst_port]
  http-request set-header x-request-id %[var(txn.id)]
"""


def request(settings: Settings) -> str:
    """What the application is told."""
    theirs = "  http-request set-header x-forwarded-port %[var(txn.port)] if { var(txn.port) -m found }\n"
    underscores = "" if settings.underscores else "  http-request del-header _ -m sub\n"
    return underscores + _REQUEST + (theirs if settings.trusted_proxies else "")


# `http-response` rules see an application's answers only, `http-after-response` rules see all. The placeholder's
# address is nobody's.
MARKS = """\
  acl marked res.hdr(x-l7-error) -m found
  acl answered var(txn.answered) -m found
  acl reached bc_dst_port gt 1
  http-after-response set-header x-l7-error no-server if { status 503 } !answered !marked
  http-after-response set-header x-l7-error timeout if { status 504 } !answered !marked
  http-after-response set-header x-l7-error bad-response if { status 502 } !answered !marked
  http-after-response set-header x-l7-error bad-request if { status 400:499 } !answered !marked
  http-after-response set-header x-l7-error internal if { status 500:501 } !answered !marked
"""

UPSTREAM = "  http-after-response set-header x-upstream-addr %[bc_dst]:%[bc_dst_port] if reached\n"

_INFO = f"""\
  http-after-response set-header x-request-id %[var(txn.id)]
  http-after-response set-header x-proxy-id %[hostname]
  http-after-response set-header x-server-info l7/{__version__}
{UPSTREAM}\
  http-after-response set-header x-upstream-response-time %[date(0,us),sub(txn.start)]us
"""


def answer(settings: Settings) -> str:
    """What every answer says, also one of our own."""
    return MARKS if settings.hide_info_headers else MARKS + _INFO


def log_format(tls: str) -> str:
    """One line of JSON per request; `server` is `<task id>.<generation>`, times are milliseconds. `tls`: the
    variable with what is said of the connection, JSON.

    The path is cut so that a line, where each byte may take six, stays below the length given to `log`.
    """
    fields = (
        '"time":%Ts.%ms',
        '"client":"%ci"',
        '"request_id":"%[var(txn.id)]"',
        '"method":"%HM"',
        f'"tls":%[var({tls},null)]',
        '"host":"%[var(txn.host)]"',
        '"path":"%[var(txn.path),bytes(0,2048),json(utf8s)]"',
        '"service":"%[var(txn.logical)]"',
        '"backend":"%b"',
        '"server":"%s"',
        '"status":%ST',
        '"bytes":%B',
        '"retries":"%rc"',
        '"end":"%tsc"',
        '"times":{"request":%TR,"queue":%Tw,"connect":%Tc,"response":%Tr,"total":%Ta}',
    )
    return "  log-format '{" + ",".join(fields) + "}'\n"


def connection_log_format(asked: str) -> str:
    """One line of JSON per connection that is passed on as it is. `asked`: the field that says what for."""
    fields = (
        '"time":%Ts.%ms',
        '"client":"%ci"',
        asked,
        '"service":"%[var(txn.logical)]"',
        '"backend":"%b"',
        '"server":"%s"',
        '"sent":%B',
        '"received":%U',
        '"retries":"%rc"',
        '"end":"%ts"',
        '"times":{"queue":%Tw,"connect":%Tc,"total":%Tt}',
    )
    return "  log-format '{" + ",".join(fields) + "}'\n"


def refused_log_format() -> str:
    """One line of JSON per connection that never got to a request: a handshake that failed, say."""
    fields = (
        '"time":%Ts.%ms',
        '"client":"%ci"',
        '"sni":"%[ssl_fc_sni,json(utf8s)]"',
        '"refused":"%[fc_err_str,json(utf8s)]"',
        '"reason":"%[ssl_fc_err_str,json(utf8s)]"',
    )
    return "  error-log-format '{" + ",".join(fields) + "}'\n"
