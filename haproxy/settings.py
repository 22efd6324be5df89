"""Settings of the proxy side, as one frozen value; the command line fills it, `render` and `plan` read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """How HAProxy is to run. Times in milliseconds unless the name says otherwise.

    `connect_timeout` is also the pace at which a held request tries again (HAProxy waits min(1 s, timeout
    connect) between tries), so `hold_timeout / connect_timeout` is the number of retries.
    """

    run_dir: str = "/run/l7"
    bind: tuple[str, ...] = (":80",)
    max_connections: int = 20000
    threads: int = 0
    spare_backends: int = 200
    spare_backends_other: int = 16
    spare_pools: tuple[tuple[str, int], ...] = ()
    """Kind of a policy -> spare backends of it, where it is neither of the two numbers above: pools that grew."""
    connect_timeout: int = 250
    client_timeout: int = 60_000
    server_timeout: int = 60_000
    tunnel_timeout: int = 3_600_000
    keep_alive_timeout: int = 60_000
    hold_timeout: int = 15_000
    hold_deadline: int = 60_000
    held_requests: int = 1000
    check_interval: int = 2000
    check_fall: int = 2
    drain_timeout: int = 600_000
    hide_info_headers: bool = False
    trusted_proxies: tuple[str, ...] = ()
    """Prefixes ("10.0.0.0/8") of proxies in front, whose word about the client is believed."""
    proxy_protocol: bool = False
    """Connections from trusted proxies begin with a header of the PROXY protocol."""
    tcp_address: str = ""
    """Where TCP ports listen, "" for everywhere."""
    tcp_ports: tuple[int, ...] = ()
    """Declared ports for raw TCP: open from the start, so that a service takes one live."""
    extra_tcp_ports: tuple[int, ...] = ()
    """Ports that were opened by a reload, when a service asked for them."""
    error_pages: tuple[tuple[int, str], ...] = ()
    """Status -> body, HTML."""
    allow_policy_reload: bool = True
    """Whether a reload may open what was not declared."""

    @property
    def socket(self) -> str:
        """The Runtime API of the worker."""
        return f"{self.run_dir}/cli.sock"

    @property
    def master_socket(self) -> str:
        """The master's own socket: reload, and the list of workers."""
        return f"{self.run_dir}/master.sock"

    @property
    def retries(self) -> int:
        return max(3, self.hold_timeout // min(1000, self.connect_timeout))

    def file(self, name: str) -> str:
        """Path of a file that HAProxy and the sidecar share, such as a map."""
        return f"{self.run_dir}/{name}"


ROUTES_MAP = "routes.map"
"""`host/path/` -> `backend|operation|argument|rules|header|cookie|key` (`haproxy.routes`)."""

CANARY_MAP = "canary.map"
"""`host/path/|h=value`, `host/path/|h`, the same with `c` for cookies -> logical backend (`haproxy.features`)."""

BACKENDS_MAP = "backends.map"
"""logical backend -> physical backend: the proxy's own record of which spare serves what."""

TCP_MAP = "tcp.map"
"""port -> logical backend."""

FEATURES_MAP = "features.map"
"""name of rules -> their row (`haproxy.features.Field`)."""

ALLOW_MAP = "allow.map"
CORS_MAP = "cors.map"
REQUEST_HEADERS_MAP = "request_headers.map"
RESPONSE_HEADERS_MAP = "response_headers.map"
"""`<name of rules>|...` -> what the row of features.map says is there."""

CHECK_PATH_MAP = "check_path.map"
CHECK_HOST_MAP = "check_host.map"
CHECK_LIST_MAP = "check_list.map"
CHECK_STATUS_MAP = "check_status.map"
"""What is asked and expected of the servers of a physical backend."""

RULES_MAPS = (ALLOW_MAP, CORS_MAP, REQUEST_HEADERS_MAP, RESPONSE_HEADERS_MAP, FEATURES_MAP)
"""Those of rules, in the order in which rows are added; they are removed the other way round."""

CHECK_MAPS = (CHECK_STATUS_MAP, CHECK_PATH_MAP, CHECK_HOST_MAP, CHECK_LIST_MAP)

MAPS = (ROUTES_MAP, CANARY_MAP, BACKENDS_MAP, TCP_MAP, *RULES_MAPS, *CHECK_MAPS)
"""All that the configuration names, so all that must exist when HAProxy starts."""

LUA = "l7.lua"
"""File name of what HAProxy can't say itself (`haproxy.lua`)."""
