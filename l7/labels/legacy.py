"""Labels of Interlock 1 (`interlock.*`) and of UCP 2's HTTP routing mesh (`com.docker.ucp.mesh.http*`), put into
today's. Pure; takes any text, raises nothing. What comes out is not validated: it is read like any label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from l7.labels import routing_labels as routing
from l7.labels import server_labels as servers
from l7.labels import tls_labels as tls
from l7.labels.grammar import Bad, printable
from l7.labels.label import Label
from l7.model import Problem

ONE = "interlock."
MESH = "com.docker.ucp.mesh.http"

_FLAGS: dict[str, tuple[Label[object], str]] = {
    "context_root_rewrite": (routing.CONTEXT_ROOT_REWRITE, "true"),
    "ip_hash": (servers.IP_HASH, "true"),
    "ssl_only": (tls.SSL_ONLY, "true"),
    "ssl_backend": (tls.SSL_BACKEND, "true"),
}
"""True by being there, whatever the value, as in Interlock 1."""

_SAME: dict[str, Label[object]] = {
    "network": routing.NETWORK,
    "port": routing.PORT,
    "context_root": routing.CONTEXT_ROOT,
    "ssl_backend_tls_verify": tls.SSL_BACKEND_TLS_VERIFY,
}
_OWN = ("ext.name", "app", "ext.service.name")
"""On Interlock's own containers and its proxies."""

_READ = ("hostname", "domain", "alias_domain", "websocket_endpoint", "ssl")
DESCRIPTIONS = (
    ("hostname", "`hosts`, together with `interlock.domain` (default `local`); without it nothing is published"),
    ("alias_domain[.N]", "more of `hosts`"),
    ("network", "`network`"),
    ("port", "`port`"),
    ("context_root", "`context_root`"),
    ("context_root_rewrite", "`context_root_rewrite=true`"),
    ("websocket_endpoint[.N]", "`websocket_endpoints`"),
    ("ip_hash", "`ip_hash=true`"),
    ("balance_algorithm", "`balance`, where there is such a one"),
    ("health_check", "`health_check_path`; checks are GET requests"),
    ("health_check_interval", "`health_check_interval`, in milliseconds"),
    ("ssl_only", "`ssl_only=true`: what was never served in the clear is not served so now"),
    ("ssl_backend", "`ssl_backend=true`"),
    ("ssl_backend_tls_verify", "`ssl_backend_tls_verify`; `required` asks for `ssl_backend_ca`"),
    ("ssl_cert, ssl_cert_key", "`ssl_cert` and `ssl_key`: make secrets that are called as the files were"),
    ("ssl", "nothing: `ssl_cert` is enough; without it, it is reported"),
    ("backend_option[.N]", "reported: raw configuration"),
    ("ext.name, app", "Interlock's own containers: left alone"),
)
"""For the docs: each label without prefix, and what becomes of it."""

_INDEX = re.compile(r"\.[0-9]+\Z")
_CHECK = re.compile(r"(?:option +)?(?:httpchk +)?(?:([A-Z]+) +)?(/[^ ]*)(?: +HTTP/.*)?", re.ASCII)
_BY_HEADER = re.compile(r"hdr\(([A-Za-z0-9_-]+)\)")
_BALANCES = ("roundrobin", "leastconn", "first", "source", "uri", "random")


@dataclass(slots=True)
class Translation:
    """`labels`: today's, by full name; `sources`: the old label that each came from, for messages."""

    labels: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, label: Label[object], text: str, source: str) -> None:
        """Take in one label; one that was put before stays."""
        if self.labels.setdefault(label.key, text) == text:
            self.sources.setdefault(label.key, source)
        else:
            self.note(source, text, f"is overruled by {self.sources[label.key]}", "remove one of the two")

    def note(self, source: str, text: str, message: str, remedy: str) -> None:
        """The service is routed without what this old label says."""
        self.problems.append(Problem("", printable(source, 200), printable(text), message, remedy, fatal=False))

    def under(self, own: Mapping[str, str]) -> dict[str, str]:
        """Together with today's labels that the service carries as well, which win."""
        for key in self.labels.keys() & own.keys():
            if self.labels[key] != own[key]:
                source = self.sources[key]
                self.note(source, self.labels[key], f"is overruled by {key}", f"remove {source}")
        return {**self.labels, **own}

    def source_of(self, key: str, own: Mapping[str, str]) -> str:
        """The label to name in a message about `key`."""
        return key if key in own else printable(self.sources.get(key, key), 200)


def translate(labels: Mapping[str, str]) -> Translation:
    """What a service's old labels say in today's; where both kinds do, Interlock 1's win."""
    result = Translation()
    one = {key.removeprefix(ONE): labels[key] for key in sorted(labels) if key.startswith(ONE)}
    if one and not any(name in one for name in _OWN):
        _translate_one(one, result)
    _translate_mesh({key: labels[key] for key in sorted(labels) if key.startswith(MESH)}, result)
    return result


# ---------------------------------------------------------------- Interlock 1


def _translate_one(one: Mapping[str, str], result: Translation) -> None:
    if "hostname" not in one:
        # Interlock 1 looked at nothing else either.
        result.note(ONE + "hostname", "", "is missing", f"add it, or {routing.HOSTS.key}")
        return
    result.put(routing.HOSTS, ",".join(_hosts(one)), ONE + "hostname")
    endpoints = _numbered(one, "websocket_endpoint")
    if endpoints:
        result.put(routing.WEBSOCKET_ENDPOINTS, ",".join(endpoints), ONE + "websocket_endpoint")
    if "ssl" in one and "ssl_cert" not in one:
        result.note(ONE + "ssl", one["ssl"], "names no certificate", f"add {tls.SSL_CERT.key}, or remove it")
    for name, text in one.items():
        key = ONE + name
        base = _INDEX.sub("", name)
        if name in _SAME:
            result.put(_SAME[name], text, key)
        elif name in _FLAGS:
            result.put(*_FLAGS[name], key)
        elif name in _SPECIAL:
            _SPECIAL[name](text, key, result)
        elif base == "backend_option":
            remedy = "remove it; docs/labels.md lists what can be set"
            result.note(key, text, "is raw configuration, which l7 does not take from labels", remedy)
        elif base not in _READ:
            result.note(key, text, "is not a label that Interlock 1 knew", "remove it")


def _hosts(one: Mapping[str, str]) -> list[str]:
    hostname, domain = one["hostname"].strip(" "), one.get("domain", "local").strip(" ")
    return [".".join(filter(None, (hostname, domain))), *_numbered(one, "alias_domain")]


def _numbered(one: Mapping[str, str], name: str) -> list[str]:
    """Values of `name`, `name.0`, `name.1` ..."""
    return [text.strip(" ") for key, text in one.items() if _INDEX.sub("", key) == name]


def _balance(text: str, key: str, result: Translation) -> None:
    word = text.strip(" ").partition(" ")[0]
    by_header = _BY_HEADER.fullmatch(word)
    word = "roundrobin" if word == "static-rr" else re.sub(r"\(.*\)\Z", "", word)
    if by_header:
        result.put(servers.BALANCE, f"header:{by_header[1]}", key)
    elif word in _BALANCES:
        result.put(servers.BALANCE, word, key)
    else:
        result.note(key, text, "is a way to balance that l7 does not have", f"see {servers.BALANCE.key}")


def _check(text: str, key: str, result: Translation) -> None:
    match = _CHECK.fullmatch(text.strip(" "))
    if match is None:
        result.note(key, text, "is no HTTP check that l7 can make", f"see {servers.HEALTH_CHECK_PATH.key}")
        return
    if match[1] not in (None, "GET"):
        result.note(key, text, f"checks by {match[1]}; l7 checks by GET", f"use {servers.HEALTH_CHECK_PATH.key}")
    result.put(servers.HEALTH_CHECK_PATH, match[2], key)


def _interval(text: str, key: str, result: Translation) -> None:
    if re.fullmatch("[0-9]{1,10}", text.strip(" ")):
        result.put(servers.HEALTH_CHECK_INTERVAL, text.strip(" ") + "ms", key)
    else:
        remedy = f"write such as 5000, or use {servers.HEALTH_CHECK_INTERVAL.key}"
        result.note(key, text, "is no number of milliseconds", remedy)


def _file(label: Label[str], text: str, key: str, result: Translation) -> None:
    """The secret that is called as the file was. Where none can be, only TLS is missing."""
    bad = label.parse(text)
    if isinstance(bad, Bad):
        result.note(key, text, "names a file that no secret can be called as", f"name a secret by {label.key}")
    else:
        result.put(label, text, key)


_SPECIAL: dict[str, Callable[[str, str, Translation], None]] = {
    "balance_algorithm": _balance,
    "health_check": _check,
    "health_check_interval": _interval,
    "ssl_cert": partial(_file, tls.SSL_CERT),
    "ssl_cert_key": partial(_file, tls.SSL_KEY),
}


# ---------------------------------------------------------------- UCP 2's HTTP routing mesh


@dataclass(frozen=True, slots=True)
class _MeshRoute:
    """One label of the mesh that could be read. `port`, `cookie`, `redirect` "": not said. `tls`: by SNI."""

    key: str
    tls: bool
    host: str
    port: str
    cookie: str
    redirect: str


def _translate_mesh(mesh: Mapping[str, str], result: Translation) -> None:
    routes = [route for key, text in mesh.items() if (route := _mesh_route(key, text, result)) is not None]
    http = [route for route in routes if not route.tls]
    for route in routes:
        if http and route.tls:
            message = "passes TLS through, while other labels of the service are about HTTP"
            result.note(route.key, mesh[route.key], message, "publish that host by a service of its own")
    routes = http or routes
    port = next((route.port for route in routes if route.port), "")
    kept = [route for route in routes if route.port in ("", port)]
    for route in routes:
        if route not in kept:
            message = f"leads to port {printable(route.port)}, another one to {printable(port)}"
            result.note(route.key, mesh[route.key], message, "publish each port by a service of its own")
    if not kept:
        return
    _put_mesh(kept, port, result)


def _put_mesh(routes: list[_MeshRoute], port: str, result: Translation) -> None:
    first = routes[0].key
    result.put(routing.HOSTS, ",".join(_once(route.host for route in routes)), first)
    if routes[0].tls and result.sources[routing.HOSTS.key] == first:
        result.put(tls.SSL_PASSTHROUGH, "true", first)
    if port:
        result.put(routing.PORT, port, next(route.key for route in routes if route.port))
    redirects = [route for route in routes if route.redirect]
    if redirects:
        pairs = ";".join(f"http://{route.host},{route.redirect}" for route in redirects)
        result.put(routing.REDIRECTS, pairs, redirects[0].key)
    for route in routes:
        if route.cookie:
            result.put(servers.STICKY, route.cookie, route.key)


def _mesh_route(key: str, text: str, result: Translation) -> _MeshRoute | None:
    fields = dict(_mesh_fields(text))
    route = fields.get("external_route", "")
    scheme, _, host = route.partition("://")
    if scheme not in ("http", "sni") or not host:
        remedy = f"write external_route=http://host or sni://host, or use {routing.HOSTS.key}"
        result.note(key, text, "has no external_route that l7 can read", remedy)
        return None
    for name in sorted(fields.keys() - {"external_route", "internal_port", "sticky_sessions", "redirect"}):
        result.note(key, text, f"says {printable(name)}, which the routing mesh did not know", "remove that part")
    cookie, redirect = fields.get("sticky_sessions", ""), fields.get("redirect", "")
    return _MeshRoute(key, scheme == "sni", host.rstrip("/"), fields.get("internal_port", ""), cookie, redirect)


def _mesh_fields(text: str) -> Iterable[tuple[str, str]]:
    """Key and value of each part; `8080=http://host`, the notation of UCP 2.0, as what it stands for."""
    for part in filter(None, (part.strip(" ") for part in text.split(","))):
        name, _, value = part.partition("=")
        if re.fullmatch("[0-9]{1,5}", name):
            yield "internal_port", name
            yield "external_route", value.strip(" ")
        else:
            yield name.strip(" "), value.strip(" ")


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
