"""The fixed rules of the HTTP frontend, as text. Pure. Nothing in them depends on a route: routes are map rows.

What the names mean while a request passes:

* `txn.host`   its host: lower case, no port, no trailing dot
* `txn.key`    the one spelling of its path that is looked up (`haproxy.routes.look_up_path`)
* `txn.row`    the row of routes.map, `logical backend|operation`
* `txn.logical`, `txn.operation`  its two fields;  `txn.physical`  the row of backends.map

`x-l7-error` is on every answer that is the proxy's own and on no other.
"""

from __future__ import annotations

from haproxy.routes import STRIP_BITS
from haproxy.settings import BACKENDS_MAP, ROUTES_MAP, Settings

HTTP = "l7.http"
BASE = "l7.base"
NOWHERE = "l7.nowhere"
"""Names with a dot, which Swarm does not allow in a service's: a backend made at run time bears its services'
names, and HAProxy refuses it when a frontend or backend is called the same.

The backend of last resort: a row that names a backend which does not exist falls through to it."""


def refusal(status: int, error: str, text: str) -> str:
    """`return` of an answer of the proxy's own."""
    return (
        f'return status {status} content-type text/plain string "{text}\\n" '
        f"hdr x-l7-error {error} hdr cache-control no-store"
    )


def frontend(settings: Settings) -> str:
    """The section of the HTTP frontend."""
    parts = (_HEAD, *_binds(settings), _HOST, _PATH, _look_up(settings), _REQUEST_HEADERS, _ANSWER_HEADERS)
    hidden = () if settings.hide_info_headers else (_INFO_HEADERS,)
    return "".join((*parts, *hidden, _log(), _FORWARD, *_strip(), _TO_BACKEND))


_HEAD = f"frontend {HTTP} from {BASE}\n"


def _binds(settings: Settings) -> tuple[str, ...]:
    return tuple(f"  bind {address}\n" for address in settings.bind)


# A request has one Host (HAProxy itself refuses an absolute URI that contradicts it) and a host is a name or an
# IPv6 address. `req.fhdr` and not `req.hdr`: that would split the value at commas.
_HOST = f"""\
  http-request set-var(txn.id) uuid()
  http-request set-var(txn.start) date(0,us)
  http-request set-var(txn.path) path
  http-request {refusal(405, "method", "no tunnels")} if {{ method CONNECT }}
  acl one_host req.fhdr_cnt(host) eq 1
  acl good_host req.fhdr(host) -m reg -i '^([a-z0-9_-]+([.][a-z0-9_-]+)*[.]?|[[][0-9a-f:.]+[]])(:[0-9]*)?$'
  http-request {refusal(400, "bad-host", "bad host")} if !one_host or !good_host
  http-request set-var(txn.host) req.fhdr(host),host_only,lower,rtrim(.)
"""

# Only a path with anything unusual in it pays for normalisation. What is looked up is decoded once and written
# in one way; the path that the application sees is put back below. Slashes are merged first, so that the
# `..` in `/a//../b` removes `a`. `percent-decode-unreserved strict` would refuse by the query, too, hence
# the rule of our own for what is no percent-encoding, and for NUL. It has no condition because 2.6 takes the
# `if` after it for another normalizer (seen on 2.6.12), and it decodes the query, too.
_PATH = f"""\
  http-request set-var(txn.odd) bool(1) if {{ path -m reg '//|/[.]|[^A-Za-z0-9._~/-]' }}
  acl odd var(txn.odd) -m bool
  http-request {refusal(400, "bad-path", "bad path")} if odd {{ path -m reg -i '%(00|[^0-9a-f]|.[^0-9a-f]|.?$)' }}
  acl encoded pathq -m sub %
  http-request set-var(txn.original) pathq if odd or encoded
  http-request set-var(txn.query) query if odd or encoded
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-merge-slashes if odd
  http-request normalize-uri path-strip-dot if odd
  http-request normalize-uri path-strip-dotdot full if odd
  http-request set-var(txn.key) path if !odd
  http-request set-var(txn.key) path,regsub(%2[fF],%252F,g),url_dec,url_enc,regsub(%2F,/,g) if odd
  http-request {refusal(400, "bad-path", "bad path")} if odd !{{ var(txn.key) -m found }}
"""


def _look_up(settings: Settings) -> str:
    """The exact host, else a wildcard of one label; then the backend that serves it at this time."""
    routes, backends = settings.file(ROUTES_MAP), settings.file(BACKENDS_MAP)
    wildcard = f"str(*.),concat(,txn.parent,),concat(,txn.key,/),map_beg({routes})"
    return f"""\
  acl routed var(txn.row) -m found
  http-request set-var(txn.row) var(txn.host),concat(,txn.key,/),map_beg({routes})
  http-request set-var(txn.parent) var(txn.host),field(2,.,0) if !routed
  http-request set-var(txn.row) {wildcard} if !routed {{ var(txn.parent) -m len gt 0 }}
  http-request {refusal(503, "unknown-host", "no service for this host")} if !routed
  http-request set-var(txn.logical) var(txn.row),field(1,|)
  http-request set-var(txn.operation) var(txn.row),field(2,|)
  http-request {refusal(404, "no-route", "no service for this path")} if {{ var(txn.operation) -m str 404 }}
  http-request set-var(txn.physical) var(txn.logical),map_str({backends})
  http-request {refusal(503, "no-server", "no server")} if !{{ var(txn.physical) -m found }}
"""


# Nobody in front is trusted: what a client says about itself is replaced, also where an application would take `_`
# for `-`. An upgrade to clear-text HTTP/2 would be a tunnel to the application, with requests that no rule here
# sees; before 3.4, HAProxy passes it on.
_REQUEST_HEADERS = """\
  http-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2 }
  http-request del-header http2-settings
  http-request del-header forwarded
  http-request del-header ^x[-_](forwarded|real[-_]ip|request[-_]id) -m reg
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-real-ip %[src]
  http-request set-header x-forwarded-proto %[ssl_fc,iif(https,http)]
  http-request set-header x-forwarded-host %[req.fhdr(host)]
  http-request set-header x-forwarded-port %[dst_port]
  http-request set-header x-request-id %[var(txn.id)]
"""

# `http-response` rules see an application's answers only, `http-after-response` rules see all.
_ANSWER_HEADERS = """\
  http-response set-var(txn.answered) bool(1)
  http-response del-header x-l7-error
  acl marked res.hdr(x-l7-error) -m found
  acl answered var(txn.answered) -m found
  http-after-response set-header x-l7-error no-server if { status 503 } !answered !marked
  http-after-response set-header x-l7-error timeout if { status 504 } !answered !marked
  http-after-response set-header x-l7-error bad-response if { status 502 } !answered !marked
  http-after-response set-header x-l7-error bad-request if { status 400:499 } !answered !marked
"""

_INFO_HEADERS = """\
  http-after-response set-header x-request-id %[var(txn.id)]
  http-after-response set-header x-proxy-id %[hostname]
  http-after-response set-header x-upstream-addr %[bc_dst]:%[bc_dst_port] if { bc_dst -m found }
  http-after-response set-header x-upstream-response-time %[date(0,us),sub(txn.start)]us if answered
"""


def _log() -> str:
    """One line of JSON per request; `server` is `<task id>.<generation>`, times are milliseconds.

    The path is cut so that a line, where each byte may take six, stays below the length given to `log`.
    """
    fields = (
        '"time":%Ts.%ms',
        '"client":"%ci"',
        '"request_id":"%[var(txn.id)]"',
        '"method":"%HM"',
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


# An operation `s<n>` removes n segments, by the bits of n. Without it the application sees the path as it was
# sent; with it the normalised rest. In both cases the query is as it was sent.
_FORWARD = """\
  acl stripped var(txn.operation) -m beg s
  acl changed var(txn.original) -m found
  http-request set-pathq %[var(txn.original)] if changed !stripped
  http-request set-query %[var(txn.query)] if changed stripped { var(txn.query) -m len gt 0 }
  http-request set-var(txn.strip) var(txn.operation),bytes(1) if stripped
"""


def _strip() -> tuple[str, ...]:
    return tuple(
        f"  http-request set-path /%[path,field({(1 << bit) + 2},/,0)] "
        f"if stripped {{ var(txn.strip),and({1 << bit}) gt 0 }}\n"
        for bit in range(STRIP_BITS)
    )


_TO_BACKEND = f"""\
  use_backend %[var(txn.physical)]
  default_backend {NOWHERE}
"""
