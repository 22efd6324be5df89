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
"""host/path/ -> `backend|operation` (docs/architecture.md, "Routing by maps")."""

BACKENDS_MAP = "backends.map"
"""logical backend -> physical backend: the proxy's own record of which spare serves what."""

CHECK_PATH_MAP = "check_path.map"
"""physical backend -> path of its HTTP check."""

CHECK_HOST_MAP = "check_host.map"
"""physical backend -> Host of its HTTP check."""

CHECK_LIST_MAP = "check_list.map"
"""physical backend -> what the keys of its statuses in check_status.map begin with."""

CHECK_STATUS_MAP = "check_status.map"
"""`<physical>|<status>`, or `default:<status>` -> there, when an HTTP check accepts the status."""
