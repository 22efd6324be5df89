"""The whole configuration of an NGINX, from what is wanted. Pure: same in, same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nginx import hosts, lookup, rules, streams, upstreams
from nginx.hosts import Places
from nginx.locations import Rendering
from nginx.settings import Settings
from nginx.state import State
from nginx.text import block, power_of_two

MAIN = "nginx.conf"
BEHIND = "l7-tls.sock"


LONGEST = 900_000
"""Bytes of a file, at the most that a server may make it longer: Docker takes 1,024,000."""


def render(state: State, settings: Settings, places: Places, certified: frozenset[str]) -> dict[str, str]:
    """Files by name, all in one directory, which `places` names. `certified`: hosts whose certificates and keys are
    there, "*" for the default one."""
    if streams.passes_on(state):
        places = replace(places, behind=f"{places.writable}/{BEHIND}")
    rendering = Rendering(state, settings, places.resolver)
    parts = _parts(hosts.servers(rendering, places, certified))
    lines = [
        "# Made by l7; changes are lost.",
        *_main(settings),
        *block("events", [f"worker_connections {settings.max_connections};"]),
        *block("http", [*_http(rendering, places), *(f"include {places.directory}/{name};" for name in parts)]),
    ]
    if streams.is_needed(state):
        lines += streams.section(state, settings, places)
    return {MAIN: "\n".join(lines) + "\n", **parts}


def _parts(servers: Iterable[list[str]]) -> dict[str, str]:
    """The servers in files of bounded length."""
    files: list[list[str]] = [[]]
    size = 0
    for server in servers:
        text = "\n".join(server) + "\n"
        if size + len(text.encode()) > LONGEST and files[-1]:
            files.append([])
            size = 0
        files[-1].append(text)
        size += len(text.encode())
    return {f"l7-servers-{number}.conf": "".join(texts) for number, texts in enumerate(files, 1)}


def _main(settings: Settings) -> Iterator[str]:
    """Modules are files in Debian's package, and built into NGINX's own image, which has no such directory."""
    yield "include /etc/nginx/modules-enabled/*.conf;"
    yield f"user {settings.user};"
    yield f"pid {settings.pid_path};"
    yield f"worker_processes {settings.worker_processes};"
    yield f"worker_rlimit_nofile {settings.open_files};"
    yield f"error_log {settings.error_log};"
    yield from settings.global_options


def _http(rendering: Rendering, places: Places) -> list[str]:
    """After the servers: what these look requests up in is known then."""
    state, settings = rendering.state, rendering.settings
    routes = [state.routes[key] for key in sorted(state.routes)]
    keys = rules.hash_keys(routes, state.rules, rendering.maps)
    return [
        *_sizes(state, settings),
        *_writable(places),
        *_fixed(settings),
        *settings.http_options,
        *rendering.zones.text(),
        *rendering.maps.text(),
        *lookup.VARIABLES,
        *lookup.split_clients(rendering.splits),
        *rules.telling(),
        *rules.answering(rules.NO_RULES, settings, rendering.maps),
        *upstreams.http(state.backends, keys, settings),
    ]


def _sizes(state: State, settings: Settings) -> Iterator[str]:
    """Tables have fixed sizes, and NGINX refuses to start where they don't do."""
    names = {host for host, _ in state.routes} | state.tls_hosts.keys()
    longest = max((len(name) for name in names), default=0)
    yield f"server_names_hash_bucket_size {max(128, power_of_two(longest + 64))};"
    yield f"server_names_hash_max_size {max(1024, power_of_two(4 * len(names)))};"
    yield "map_hash_bucket_size 512;"
    yield f"map_hash_max_size {max(2048, power_of_two(4 * len(state.routes)))};"
    yield f"variables_hash_max_size {max(2048, power_of_two(8 * len(state.rules)))};"
    yield "variables_hash_bucket_size 256;"


def _writable(places: Places) -> Iterator[str]:
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield f"{kind}_temp_path {places.writable}/l7-{kind};"


def _fixed(settings: Settings) -> Iterator[str]:
    yield "server_tokens off;"
    yield "absolute_redirect off;"
    yield "reset_timedout_connection on;"
    yield f"log_format l7 escape=json '{settings.log_format}';"
    yield "access_log off;" if settings.access_log == "off" else f"access_log {settings.access_log} l7;"
    yield f"keepalive_timeout {settings.keep_alive};"
    yield f"client_max_body_size {settings.max_body};"
    yield f"client_body_buffer_size {settings.body_buffer};"
    yield f"client_body_timeout {settings.body_timeout};"
    yield f"client_header_buffer_size {settings.header_buffer};"
    yield f"large_client_header_buffers {settings.large_header_buffers};"
    yield f"underscores_in_headers {'on' if settings.underscores else 'off'};"
    yield from _proxying(settings)
    yield from _tls(settings)
    yield from _trusted(settings)
    yield from _VARIABLES


def _proxying(settings: Settings) -> Iterator[str]:
    """Not buffered: events and lines of a log reach clients as they come."""
    yield f"proxy_http_version {settings.http_version};"
    yield f"proxy_connect_timeout {settings.connect_timeout};"
    yield f"proxy_send_timeout {settings.send_timeout};"
    yield f"proxy_read_timeout {settings.read_timeout};"
    yield f"send_timeout {settings.send_timeout};"
    yield f"proxy_next_upstream_tries {rules.TRIES};"
    yield from lookup.DIRECTIVES
    yield "proxy_buffering off;"


def _tls(settings: Settings) -> Iterator[str]:
    yield f"ssl_protocols {settings.ssl_protocols};"
    yield f"ssl_ciphers {settings.ssl_ciphers};"
    yield "ssl_session_tickets off;"
    if settings.dh_param_path:
        yield f"ssl_dhparam {settings.dh_param_path};"
    yield from settings.ssl_options


def _trusted(settings: Settings) -> Iterator[str]:
    yield from (f"set_real_ip_from {prefix};" for prefix in settings.trusted_proxies)
    if settings.trusted_proxies:
        yield f"real_ip_header {'proxy_protocol' if settings.proxy_protocol else 'X-Forwarded-For'};"
        yield "real_ip_recursive on;"


# An answer is the application's when its head came from there: `$upstream_header_time` has a time then, and a dash
# for each task that sent none. Where the last one was looked up in vain there is a time, too, but no address. An
# upgrade to clear-text HTTP/2 would be a tunnel that no rule here sees.
_VARIABLES = (
    *block("geo $l7_dollar", ['default "$";']),
    *block("map $http_upgrade $l7_upgrade", ["default $http_upgrade;", '"~*h2" "";']),
    *block("map $l7_upgrade $l7_connection", ["default upgrade;", '"" "";']),
    *block("map $ssl_client_verify $l7_client_dn", ['default "";', "SUCCESS $ssl_client_s_dn;"]),
    *block("map $ssl_client_verify $l7_client_serial", ['default "";', "SUCCESS $ssl_client_serial;"]),
    *block('map "$upstream_addr|$upstream_header_time" $l7_own', [
        'default "";', '"~ : [|]" own;', '"~[|](-(, | : )?)*$" own;',
    ]),
    *block('map "$l7_own$status" $l7_error', [
        'default "";', "own502 bad-response;", "own503 no-server;", "own504 timeout;", '"~^own4" bad-request;',
        '"~^own50[01]" internal;',
    ]),
)  # fmt: skip
