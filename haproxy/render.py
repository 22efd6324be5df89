"""The whole configuration of an HAProxy and its maps, from what is wanted. Pure: same in, same bytes.

This is how an HAProxy starts and what a crash restarts from; every change in between is live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from haproxy import policy
from haproxy.capabilities import Capabilities
from haproxy.frontend import BASE, NOWHERE, frontend, refusal
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Backend, Desired, Server, ServerState
from haproxy.routes import rows
from haproxy.settings import BACKENDS_MAP, ROUTES_MAP, Settings

CONFIG = "haproxy.cfg"


def render_files(
    settings: Settings,
    capabilities: Capabilities,
    desired: Desired,
    placement: Mapping[str, str],
    ready: Collection[str],
) -> dict[str, str]:
    """All files by name, relative to the settings' `run_dir`; arguments as in `render_config`."""
    config = render_config(settings, capabilities, desired, placement, ready)
    return {CONFIG: config, **render_maps(desired, placement)}


def render_config(
    settings: Settings,
    capabilities: Capabilities,
    desired: Desired,
    placement: Mapping[str, str],
    ready: Collection[str],
) -> str:
    """The complete haproxy.cfg.

    `placement`: logical -> physical backend (`policy.place`); a backend that is not in it is left out.
    `ready`: names of servers (`policy.server_name`) that take requests from the start; others are disabled.
    """
    physical = {placement[name]: backend for name, backend in desired.backends.items() if name in placement}
    spares = () if capabilities.dynamic_backends else policy.spare_names(settings)
    sections = [
        _process(settings),
        *_fixed(settings),
        *(
            _backend(settings, capabilities, name, physical.get(name), frozenset(ready))
            for name in sorted({*physical, *spares})
        ),
    ]
    return "\n".join(sections)


def render_static(settings: Settings, capabilities: Capabilities) -> str:
    """What an HAProxy that someone else runs must include, to be driven by l7: all but the process's own
    settings, and no backend in use. The maps must exist, empty at first (`render_maps`)."""
    spares = () if capabilities.dynamic_backends else policy.spare_names(settings)
    empty = (_backend(settings, capabilities, name, None, frozenset()) for name in spares)
    return "\n".join((_GLOBAL + _runtime_api(settings), *_fixed(settings), *empty))


def render_maps(desired: Desired, placement: Mapping[str, str]) -> dict[str, str]:
    """The map files by name. A row of backends.map for each backend that is in `placement`."""
    backends = {name: placement[name] for name in sorted(desired.backends) if name in placement}
    return {ROUTES_MAP: _map(rows(desired.routes)), BACKENDS_MAP: _map(backends)}


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


def _process(settings: Settings) -> str:
    """`no strict-limits`: where `ulimit -n` is too low for `maxconn`, fewer connections rather than no start."""
    threads = f"  nbthread {settings.threads}\n" if settings.threads else ""
    return (
        f"{_GLOBAL}{_runtime_api(settings)}{threads}"
        "  no strict-limits\n"
        f"  maxconn {settings.max_connections}\n"
        f"  hard-stop-after {settings.drain_timeout}\n"
        "  log stdout len 16384 format raw local0 info\n"
    )


def _fixed(settings: Settings) -> tuple[str, ...]:
    """Sections that do not depend on what is routed."""
    return (_base(settings), _http_policy(settings), frontend(settings), _nowhere())


def _base(settings: Settings) -> str:
    """The frontend's defaults. Its own family: one with rules can't serve frontends too (2.6).

    `abortonclose`, here and in the backends' defaults (2.6 needs both, 3.4 has it by itself): a request whose
    client has left does not go on waiting for a server, and leaves its place to another.
    """
    return f"""\
defaults {BASE}
  mode http
  log global
  option dontlognull
  option abortonclose
  timeout client {settings.client_timeout}
  timeout http-request 10s
  timeout http-keep-alive {settings.keep_alive_timeout}
  timeout tunnel {settings.tunnel_timeout}
  timeout connect {settings.connect_timeout}
  timeout server {settings.server_timeout}
"""


def _http_policy(settings: Settings) -> str:
    """Hold: while the placeholder is the only usable server, a request tries again every `timeout connect`,
    on any server there is by then. Past the bound it is refused at once: `be_conn` counts this request and
    all others of the backend, `be_conn_free` is negative when a server without a limit is usable.

    Only a connect failure is repeated. HAProxy has one count for all kinds of retries, and it has to be long for
    a request to wait: with `retry-on empty-response`, a request that crashes the application would be sent
    `retries` times within milliseconds, and take one task after the other down.
    """
    full = refusal(503, "hold-full", "no server") + " hdr retry-after 1"
    return f"""\
defaults {policy.HTTP}
  mode http
  balance roundrobin
  retries {settings.retries}
  option redispatch 1
  option abortonclose
  retry-on conn-failure
  timeout connect {settings.connect_timeout}
  timeout queue {settings.hold_timeout}
  timeout server {settings.server_timeout}
  timeout tunnel {settings.tunnel_timeout}
  http-request {full} if {{ be_conn gt {settings.held_requests} }} {{ be_conn_free ge 0 }}
"""


def _nowhere() -> str:
    return f"backend {NOWHERE} from {BASE}\n  http-request {refusal(503, 'no-server', 'no server')}\n"


def _backend(
    settings: Settings,
    capabilities: Capabilities,
    physical: str,
    backend: Backend | None,
    ready: frozenset[str],
) -> str:
    """A backend with its servers, or a spare one when `backend` is None."""
    name = policy.HTTP if backend is None else policy.policy_of(backend).name
    lines = [f"backend {physical} from {name}", _hold(backend is not None and backend.expected)]
    if backend is not None:
        lines.extend(_servers(backend, policy.server_keywords(settings, capabilities, backend), ready))
    return "\n".join(lines) + "\n"


def _hold(enabled: bool) -> str:
    keywords = " ".join(policy.hold_keywords())
    off = "" if enabled else " disabled"
    return f"  server {HOLD} {HOLD_ADDRESS}:{HOLD_PORT} id {policy.HOLD_ID} weight 1 {keywords}{off}"


def _servers(backend: Backend, keywords: tuple[str, ...], ready: frozenset[str]) -> Iterator[str]:
    """A task that leaves takes requests only where no other does: it may be stopped at any moment."""
    named = [(policy.server_name(server, keywords), server) for _, server in sorted(backend.servers.items())]
    stay = {name for name, server in named if server.state is not ServerState.LEAVING} & ready
    for name, server in named:
        off = () if name in (stay or ready) else ("disabled",)
        words = (name, _address(server), "id", str(server.id), "weight", str(server.weight), *keywords, *off)
        yield "  server " + " ".join(words)


def _address(server: Server) -> str:
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"
