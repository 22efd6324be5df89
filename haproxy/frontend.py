"""The fixed rules of the HTTP frontend, as text. Pure. Nothing in them depends on a route: routes are map rows.

What the names mean while a request passes:

* `txn.host`      its host: lower case, no port, no trailing dot;  `txn.original`  path and query as sent
* `txn.key`       the one spelling of its path that is looked up (`haproxy.routes.look_up_path`)
* `txn.row`       the row of routes.map;  `txn.operation`  its second field;  `txn.more`  the third and all others
* `txn.logical`   the logical backend, and `txn.physical` the row of backends.map: where the request goes
* `txn.features`, `txn.flags`, `txn.hash_key`: see `haproxy.rules`

Rules are few for a plain route: where its row says no more than a backend, they end at once.
"""

from __future__ import annotations

from haproxy import compression, headers, rules, tls
from haproxy.capabilities import Capabilities
from haproxy.names import BASE, HTTP, NOWHERE
from haproxy.pages import refusal
from haproxy.routes import STRIP_BITS
from haproxy.settings import ACME_MAP, BACKENDS_MAP, ROUTES_MAP, Settings


def frontend(settings: Settings, capabilities: Capabilities) -> str:
    """The section of the HTTP frontend."""
    parts = (
        f"frontend {HTTP} from {BASE}\n",
        *(f"  bind {address}\n" for address in settings.bind),
        tls.http_bind(settings),
        f"  maxconn {settings.max_connections}\n",
        headers.arrival(settings),
        _challenge(settings),
        _host(settings),
        _path(settings),
        _look_up(settings),
        headers.request(settings),
        _simple(settings),
        _forward(),
        _plain(settings),
        _REDIRECT,
        rules.canary(settings),
        rules.before_backend(settings, capabilities),
        rules.on_answer(settings, capabilities),
        headers.answer(settings),
        rules.after_answer(settings),
        headers.refused_log_format(),
        headers.log_format("sess.tls"),
        compression.USE,
        TO_BACKEND,
    )
    return "".join(parts)


# Ahead of all rules, for any host, also where everything is redirected (RFC 8555, section 8.3). Other requests pay
# one look at their path.
def _challenge(settings: Settings) -> str:
    token = f"path,field(4,/),map_str({settings.file(ACME_MAP)})"
    return f"""\
  acl challenge path_beg /.well-known/acme-challenge/
  http-request return status 200 content-type text/plain lf-string %[{token}] if challenge {{ {token} -m found }}
"""


# A request has one Host (HAProxy itself refuses an absolute URI that contradicts it) and a host is a name or an
# IPv6 address. `req.fhdr` and not `req.hdr`: that would split the value at commas.
def _host(settings: Settings) -> str:
    return f"""\
  http-request {refusal(405, "method", "no tunnels", settings)} if {{ method CONNECT }}
  acl one_host req.fhdr_cnt(host) eq 1
  acl good_host req.fhdr(host) -m reg -i '^([a-z0-9_-]+([.][a-z0-9_-]+)*[.]?|[[][0-9a-f:.]+[]])(:[0-9]*)?$'
  http-request {refusal(400, "bad-host", "bad host", settings)} if !one_host or !good_host
  http-request set-var(txn.host) req.fhdr(host),host_only,lower,rtrim(.)
"""


# Only a path with anything unusual in it pays for normalisation. What is looked up is decoded once and written
# in one way; the path that the application sees is put back below. Slashes are merged first, so that the
# `..` in `/a//../b` removes `a`. `percent-decode-unreserved strict` would refuse by the query, too, hence
# the rule of our own for what is no percent-encoding, and for NUL. It has no condition because 2.6 takes the
# `if` after it for another normalizer (seen on 2.6.12), and it decodes the query, too.
def _path(settings: Settings) -> str:
    bad = refusal(400, "bad-path", "bad path", settings)
    return f"""\
  http-request set-var(txn.original) pathq
  http-request set-var(txn.odd) bool(1) if {{ path -m reg '//|/[.]|[^A-Za-z0-9._~/-]' }}
  acl odd var(txn.odd) -m bool
  http-request {bad} if odd {{ path -m reg -i '%(00|[^0-9a-f]|.[^0-9a-f]|.?$)' }}
  acl encoded pathq -m sub %
  http-request set-var(txn.changed) bool(1) if odd or encoded
  http-request set-var(txn.query) query if odd or encoded
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-merge-slashes if odd
  http-request normalize-uri path-strip-dot if odd
  http-request normalize-uri path-strip-dotdot full if odd
  http-request set-var(txn.key) path if !odd
  http-request set-var(txn.key) path,regsub(%2[fF],%252F,g),url_dec,url_enc,regsub(%2F,/,g) if odd
  http-request {bad} if odd !{{ var(txn.key) -m found }}
"""


def _look_up(settings: Settings) -> str:
    """The exact host, else a wildcard of one label, else any; then the backend that serves it at this time."""
    routes, backends = settings.file(ROUTES_MAP), settings.file(BACKENDS_MAP)
    no_route = refusal(404, "no-route", "no service for this path", settings)
    wildcard = f"str(*.),concat(,txn.parent,),concat(,txn.key,/),map_beg({routes})"
    return f"""\
  acl routed var(txn.row) -m found
  http-request set-var(txn.row) var(txn.host),concat(,txn.key,/),map_beg({routes})
  http-request set-var(txn.parent) var(txn.host),field(2,.,0) if !routed
  http-request set-var(txn.row) {wildcard} if !routed {{ var(txn.parent) -m len gt 0 }}
  http-request set-var(txn.row) str(*),concat(,txn.key,/),map_beg({routes}) if !routed
  http-request {refusal(503, "unknown-host", "no service for this host", settings)} if !routed
  acl simple var(txn.row) -m end |
  http-request set-var(txn.logical) var(txn.row),field(1,|)
  http-request set-var(txn.operation) var(txn.row),field(2,|) if !simple
  http-request {no_route} if {{ var(txn.operation) -m str 404 }}
  http-request set-var(txn.physical) var(txn.logical),map_str({backends})
"""


def _simple(settings: Settings) -> str:
    """Most rows have a backend and nothing else: nothing more is asked. `allow` ends the rules of the frontend.

    What is sent on is path and query as they came.
    """
    return f"""\
  acl changed var(txn.changed) -m bool
  acl placed var(txn.physical) -m found
  http-request set-pathq %[var(txn.original)] if simple changed
  http-request {refusal(503, "no-server", "no server", settings)} if simple !placed
{rules.any_body(settings, "simple")}\
  http-request allow if simple
"""


# An operation `s<n>` removes n segments, by the bits of n. Without it the application sees the path as it was
# sent; with it the normalised rest. In both cases the query is as it was sent.
#
# /app itself, of which nothing is left, is first /app/ (301), else relative links in the page that the application
# sends as its / would lead out of /app. The place is the path as it was looked up: `//evil.example` as it was sent
# would be another host.
def _forward() -> str:
    strip = (
        f"  http-request set-path /%[path,field({(1 << bit) + 2},/,0)] "
        f"if stripped {{ var(txn.strip),and({1 << bit}) gt 0 }}\n"
        for bit in range(STRIP_BITS)
    )
    bare = "if stripped bare !slashed !file !redirecting METH_GET !upgrades"
    return f"""\
  acl stripped var(txn.operation) -m beg s
  http-request set-pathq %[var(txn.original)] if changed !stripped
  http-request set-query %[var(txn.query)] if changed stripped {{ var(txn.query) -m len gt 0 }}
  http-request set-var(txn.strip) var(txn.operation),field(1,+),bytes(1) if stripped
{"".join(strip)}\
  acl bare path -m str /
  acl slashed var(txn.key) -m end /
  acl file var(txn.key) -m sub .
  acl redirecting var(txn.operation) -m sub +
  acl upgrades req.fhdr(upgrade) -m found
  http-request redirect code 301 location %[var(txn.key)]/?%[query] {bare} {{ query -m len gt 0 }}
  http-request redirect code 301 location %[var(txn.key)]/ {bare}
"""


def _plain(settings: Settings) -> str:
    """A row without redirect, rules and canaries, that had segments removed."""
    return f"""\
  http-request set-var(txn.more) var(txn.row),field(3,|,0)
  acl plain var(txn.more) -m len 0
  http-request {refusal(503, "no-server", "no server", settings)} if plain !placed
{rules.any_body(settings, "plain")}\
  http-request allow if plain
"""


# `r302`, `r302http` and `r302https`, perhaps after `s<n>+`. The location is a whole URL, and what follows it begins
# with a slash or is empty, so that no request can choose another host.
_REDIRECT = """\
  acl https var(txn.https) -m bool
  acl from_any var(txn.operation) -m end r302
  acl from_http var(txn.operation) -m end r302http
  acl from_https var(txn.operation) -m end r302https
  acl redirected var(txn.redirected) -m bool
  acl rooted var(txn.original) -m beg /
  http-request set-var(txn.redirected) bool(1) if from_any or from_http !https or from_https https
  http-request redirect code 302 location %[var(txn.more),field(1,|)]%[var(txn.original)] if redirected rooted
  http-request redirect code 302 location %[var(txn.more),field(1,|)]/ if redirected
"""


TO_BACKEND = f"""\
  use_backend %[var(txn.physical)]
  default_backend {NOWHERE}
"""
