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
    socket_dir: str = ""
    """Where sockets are, "" for `run_dir`: files may be where nobody can write."""
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
    tls_bind: tuple[str, ...] = ()
    """Addresses of the TLS listener; none: no TLS."""
    ssl_protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    """Versions that clients may use."""
    ssl_ciphers: str = ""
    """OpenSSL's list for TLS 1.2 and before, "" for ours."""
    ssl_ciphersuites: str = ""
    """The same for TLS 1.3."""
    ssl_options: tuple[str, ...] = ()
    """More words for the TLS listener (configuration manual, section 5.1)."""
    dh_param: int = 0
    """Bits of Diffie-Hellman parameters, 0: HAProxy's own."""
    max_body: int = 0
    """Bytes of a request's body where the service does not say, 0: no limit."""
    body_timeout: int = 0
    """How long the begin of a body may take, as much of it as fits into a buffer; 0: as long as it likes."""
    buffer_size: int = 0
    """Bytes of a buffer, which has to hold a request's head; 0: HAProxy's own."""
    underscores: bool = True
    """Whether headers with `_` in their name reach applications."""
    open_files: int = 0
    """Limit of open files, 0: that of the container."""
    access_log: bool = True
    global_options: tuple[str, ...] = ()
    """Lines of the operator's for `global`."""
    default_options: tuple[str, ...] = ()
    """The same for the sections `defaults` of HTTP."""
    name_server: str = ""
    """Where tasks are looked up that came since the files were written, in file mode; "": nowhere."""
    default_certificate: bool = False
    """Whether the running HAProxy has a certificate for clients that name no host, or an unknown one."""

    @property
    def socket(self) -> str:
        """The Runtime API of the worker."""
        return self.socket_file("cli.sock")

    @property
    def master_socket(self) -> str:
        """The master's own socket: reload, and the list of workers."""
        return self.socket_file("master.sock")

    @property
    def retries(self) -> int:
        return max(3, self.hold_timeout // min(1000, self.connect_timeout))

    def socket_file(self, name: str) -> str:
        """Path of a socket of HAProxy's."""
        return f"{self.socket_dir or self.run_dir}/{name}"

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

SNI_MAP = "sni.map"
"""host, lower case, of TLS that is passed on -> logical backend; `*.example.org` and `*` as in routes.map."""

ACME_MAP = "acme.map"
"""token -> key authorization."""

FEATURES_MAP = "features.map"
"""name of rules -> their row (`haproxy.features.Field`)."""

ALLOW_MAP = "allow.map"
CORS_MAP = "cors.map"
AUTH_MAP = "auth.map"
"""`<name of rules>|<HMAC-SHA256 of base64(user:password), upper-case hexadecimal>` -> user; `key` -> the key of
the HMAC, base64, made at random by the sidecar."""
AUTH_KEY = "key"
"""Key of the row that is nobody's rules'."""
REQUEST_HEADERS_MAP = "request_headers.map"
RESPONSE_HEADERS_MAP = "response_headers.map"
"""`<name of rules>|...` -> what the row of features.map says is there."""

CHECK_PATH_MAP = "check_path.map"
CHECK_HOST_MAP = "check_host.map"
CHECK_LIST_MAP = "check_list.map"
CHECK_STATUS_MAP = "check_status.map"
"""What is asked and expected of the servers of a physical backend."""

RULES_MAPS = (ALLOW_MAP, CORS_MAP, AUTH_MAP, REQUEST_HEADERS_MAP, RESPONSE_HEADERS_MAP, FEATURES_MAP)
"""Those of rules, in the order in which rows are added; they are removed the other way round."""

CHECK_MAPS = (CHECK_STATUS_MAP, CHECK_PATH_MAP, CHECK_HOST_MAP, CHECK_LIST_MAP)

MAPS = (ROUTES_MAP, CANARY_MAP, BACKENDS_MAP, TCP_MAP, SNI_MAP, ACME_MAP, *RULES_MAPS, *CHECK_MAPS)
"""All that the configuration names, so all that must exist when HAProxy starts."""

VERSIONS = ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
"""Of TLS, as HAProxy calls them, oldest first."""

CERTIFICATES_LIST = "tls/certificates.list"
"""HAProxy's crt-list: a line for each host."""

DEFAULT_LIST = "tls/default.list"
"""The same for clients that name no host, or an unknown one: one line, or none."""

CERTIFICATES = "tls/certificates"
AUTHORITIES = "tls/authorities"
IDENTITIES = "tls/identities"
"""Directories, and with them the first parts of HAProxy's names: certificates of hosts, by host; CAs of clients and
of servers, by the secret's id; certificates that servers are shown, by the ids of their secrets."""

READY = "ready"
"""File that is there once HAProxy has taken a first complete state (`haproxy.readiness`)."""

LUA = "l7.lua"
"""File name of what HAProxy can't say itself (`haproxy.lua`)."""
