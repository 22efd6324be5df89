"""The whole configuration of an HAProxy and its maps, from what is wanted. Pure: same in, same bytes.

This is how an HAProxy starts and what a crash restarts from; every change in between is live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from haproxy import (
    checks,
    compression,
    exporter,
    features,
    lookup,
    lua,
    pages,
    policies,
    policy,
    raw_lines,
    tcp,
    tls,
)
from haproxy.capabilities import Capabilities
from haproxy.credentials import NO_CREDENTIALS, Credentials, key_rows
from haproxy.frontend import frontend
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Backend, Desired, Server, ServerState
from haproxy.names import BASE, NOWHERE
from haproxy.pages import refusal
from haproxy.policy import Policy
from haproxy.routes import rows
from haproxy.rules import rate_tables
from haproxy.settings import (
    ACME_MAP,
    AUTH_MAP,
    BACKENDS_MAP,
    CANARY_MAP,
    LUA,
    MAPS,
    ROUTES_MAP,
    SNI_MAP,
    TCP_MAP,
    Settings,
)
from haproxy.targets import stores_of
from haproxy.tls import NO_STORES, Stores

CONFIG = "haproxy.cfg"


def render_files(
    settings: Settings,
    capabilities: Capabilities,
    desired: Desired,
    placement: Mapping[str, str],
    ready: Collection[str],
    stores: Stores = NO_STORES,
) -> dict[str, bytes]:
    """All files by name, relative to the settings' `run_dir`, some in directories; arguments as in `render_config`.
    Keys are in them: nobody else may read them."""
    config = render_config(settings, capabilities, desired, placement, ready, stores)
    shown = {entry.host for entry in stores.usable}
    closed = [host for host in desired.tls_hosts if host not in shown and not host.startswith(tls.ANY)]
    maps = render_maps(capabilities, desired, placement, stores.credentials, closed if settings.tls_bind else ())
    texts = {CONFIG: config, LUA: lua.SOURCE, **pages.page_files(settings), **maps}
    return {**{name: text.encode() for name, text in texts.items()}, **tls.files(settings, stores)}


def render_config(
    settings: Settings,
    capabilities: Capabilities,
    desired: Desired,
    placement: Mapping[str, str],
    ready: Collection[str],
    stores: Stores = NO_STORES,
) -> str:
    """The complete haproxy.cfg.

    `placement`: logical -> physical backend (`policy.place`); a backend that is not in it is left out.
    `ready`: names of servers (`policy.server_name`) that take requests from the start; others are disabled.
    `stores`: a server that needs one which is not there is left out.
    """
    physical = {placement[name]: backend for name, backend in desired.backends.items() if name in placement}
    spares = {} if capabilities.dynamic_backends else policy.spares(settings)
    sections = [
        _process(settings, capabilities),
        *_fixed(settings, capabilities),
        *lookup.sections(settings, len(physical)),
        *(
            _backend(settings, capabilities, name, physical[name], frozenset(ready), stores)
            if name in physical
            else _spare(name, spares[name])
            for name in sorted({*physical, *spares})
        ),
    ]
    return "\n".join(sections)


def render_static(settings: Settings, capabilities: Capabilities) -> str:
    """What an HAProxy that someone else runs must include, to be driven by l7: all but the process's own
    settings, and no backend in use. Its files must exist, see `static_files`."""
    spares = {} if capabilities.dynamic_backends else policy.spares(settings)
    empty = (_spare(name, spares[name]) for name in sorted(spares))
    head = _GLOBAL + _runtime_api(settings) + _lua(settings, capabilities) + tls.process(settings, capabilities)
    return "\n".join((head, *_fixed(settings, capabilities), *empty))


def static_files(settings: Settings, capabilities: Capabilities) -> dict[str, bytes]:
    """The files that the static part names, as they are while nothing is routed."""
    texts = {LUA: lua.SOURCE, **render_maps(capabilities, Desired(), {})}
    return {**{name: text.encode() for name, text in texts.items()}, **tls.files(settings, NO_STORES)}


def render_maps(
    capabilities: Capabilities,
    desired: Desired,
    placement: Mapping[str, str],
    secret: Credentials = NO_CREDENTIALS,
    closed: Collection[str] = (),
) -> dict[str, str]:
    """The map files by name, all there are. A row of backends.map for each backend that is in `placement`.
    `closed`: hosts whose TLS is refused (`features.sni_rows`)."""
    maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
    maps[ROUTES_MAP] = rows(desired.routes)
    maps[BACKENDS_MAP] = {name: placement[name] for name in sorted(desired.backends) if name in placement}
    maps[TCP_MAP] = features.tcp_rows(desired.routes.values())
    maps[SNI_MAP] = features.sni_rows(desired.routes.values(), closed)
    maps[ACME_MAP] = dict(sorted(desired.challenges.items()))
    maps[AUTH_MAP] = key_rows(secret)
    leading = {key: route for key, route in desired.routes.items() if route.canaries}
    for host in sorted({host for host, _ in leading}):
        maps[CANARY_MAP] |= features.canary_rows(host, leading)
    for name in sorted(desired.rules):
        for file, content in features.rules_rows(desired.rules[name], capabilities, secret).items():
            maps[file] |= content
    maps |= checks.all_rows(placement, desired.backends)
    return {file: _map(content) for file, content in maps.items()}


def _map(content: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in content.items())


# normalize-uri is experimental in all of 2.6 .. 3.4 (configuration manual, section 4.2).
_GLOBAL = """\
# Made by l7; changes are lost.
global
  expose-experimental-directives
"""


def _runtime_api(settings: Settings) -> str:
    """The default of 10 s without a command, and of 10 connections, would cut the sidecar's (section 3.1)."""
    return f"""\
  stats socket unix@{settings.socket} mode 600 level admin expose-fd listeners
  stats timeout 1h
  stats maxconn 50
"""


def _lua(settings: Settings, capabilities: Capabilities) -> str:
    """Of 3.1 and up, without a word on the conversion each start has a warning (section 3.2)."""
    conversion = "  tune.lua.bool-sample-conversion normal\n" if capabilities.version >= (3, 1, 0) else ""
    return f"{conversion}  lua-load-per-thread {settings.file(LUA)}\n"


def _process(settings: Settings, capabilities: Capabilities) -> str:
    """`no strict-limits`: where `ulimit -n` is too low for `maxconn`, fewer connections rather than no start.

    Each frontend has a bound of its own, and all of them together fit below the global one: a compressed request
    is a connection more, and clients who have taken every one there is would wait for each other for ever.
    """
    frontends = 2 + bool(tcp.open_ports(settings)) + bool(settings.tls_bind)
    return (
        f"{_GLOBAL}{_runtime_api(settings)}{_lua(settings, capabilities)}"
        f"{tls.process(settings, capabilities)}"
        "  no strict-limits\n"
        f"  maxconn {frontends * settings.max_connections + exporter.CONNECTIONS}\n"
        f"  hard-stop-after {settings.drain_timeout}\n"
        f"  log stdout len 16384 format raw local0 {'info' if settings.access_log else 'notice'}\n"
        f"{_sizes(settings)}{raw_lines.text(settings.global_options)}"
    )


def _sizes(settings: Settings) -> str:
    """Where the operator says them."""
    given = (
        ("nbthread", settings.threads),
        ("ulimit-n", settings.open_files),
        ("tune.bufsize", settings.buffer_size),
    )
    return "".join(f"  {keyword} {value}\n" for keyword, value in given if value)


def _fixed(settings: Settings, capabilities: Capabilities) -> tuple[str, ...]:
    """Sections that do not depend on what is routed."""
    return (
        _base(settings),
        *policies.sections(settings, capabilities),
        *rate_tables(),
        frontend(settings, capabilities),
        *compression.sections(settings),
        *((tcp.defaults(settings),) if tcp.open_ports(settings) or settings.tls_bind else ()),
        *tls.sections(settings),
        *tcp.sections(settings),
        exporter.section(settings),
        _nowhere(settings),
    )


def _base(settings: Settings) -> str:
    """The frontend's defaults. Its own family: one with rules can't serve frontends too (2.6).

    `abortonclose`, here and in the backends' defaults (2.6 needs both, 3.4 has it by itself): a request whose
    client has left does not go on waiting for a server, and leaves its place to another.

    `http-no-delay`: without it the kernel keeps what a body in chunks has so far for 0.2 s, in case that more
    comes: each event of a stream, each line of a log (measured; 3.4 lets `text/event-stream` pass by itself).

    `idle-close-on-response`: at a reload the old worker tells a client of an idle connection with the next answer
    that it is the last one. Closed at once, as HAProxy does otherwise, it may meet a request on its way, which is
    lost. What remains idle ends by `timeout http-keep-alive`; at a stop, `Process.stop` does not wait for it.
    """
    return f"""\
defaults {BASE}
  mode http
  log global
  option dontlognull
  option abortonclose
  option http-no-delay
  option idle-close-on-response
  timeout client {settings.client_timeout}
  timeout http-request 10s
  timeout http-keep-alive {settings.keep_alive_timeout}
  timeout tunnel {settings.tunnel_timeout}
  timeout connect {settings.connect_timeout}
  timeout server {settings.server_timeout}
{pages.own_errors(settings)}{raw_lines.text(settings.default_options)}"""


def _nowhere(settings: Settings) -> str:
    """HAProxy loads a map that a rule names: tcp.map, too, where no port is open as yet, and sni.map without
    TLS."""
    return f"""\
backend {NOWHERE} from {BASE}
  acl tcp_map str(-),map_str({settings.file(TCP_MAP)}) -m found
  acl sni_map str(-),map_str({settings.file(SNI_MAP)}) -m found
  http-request {refusal(503, "no-server", "no server", settings)}
"""


def _backend(
    settings: Settings,
    capabilities: Capabilities,
    physical: str,
    backend: Backend,
    ready: frozenset[str],
    stores: Stores,
) -> str:
    """A backend with its servers, but those of a service that names a store which is not there."""
    there = stores.authorities.keys() | stores.identities.keys()
    services = {server.service for server in backend.servers.values()}
    able = frozenset(each for each in services if stores_of(settings, backend, each) <= there)
    lines = (
        f"backend {physical} from {policy.policy_of(backend).name}",
        *lookup.servers(settings, capabilities, backend, able),
        _hold(backend.expected),
        *_servers(settings, capabilities, backend, ready, able),
    )
    return "\n".join(lines) + "\n"


def _spare(physical: str, kind: Policy) -> str:
    return f"backend {physical} from {kind.name}\n{_hold(False)}\n"


def _hold(enabled: bool) -> str:
    keywords = " ".join(policy.hold_keywords())
    off = "" if enabled else " disabled"
    return f"  server {HOLD} {HOLD_ADDRESS}:{HOLD_PORT} id {policy.HOLD_ID} weight 1 {keywords}{off}"


def _servers(
    settings: Settings, capabilities: Capabilities, backend: Backend, ready: frozenset[str], able: frozenset[int]
) -> Iterator[str]:
    """A task that leaves takes requests only where no other does: it may be stopped at any moment."""
    words = {service: policy.server_keywords(settings, capabilities, backend, service) for service in able}
    named = [
        (policy.server_name(server, words[server.service]), server)
        for _, server in sorted(backend.servers.items())
        if server.service in words
    ]
    stay = {name for name, server in named if server.state is not ServerState.LEAVING} & ready
    for name, server in named:
        off = () if name in (stay or ready) else ("disabled",)
        line = (name, _address(server), "id", str(server.id), "weight", str(server.weight), *words[server.service])
        yield "  server " + " ".join((*line, *off))


def _address(server: Server) -> str:
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"
