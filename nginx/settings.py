"""What the operator's table `Config` says, as one frozen value. Texts are as NGINX writes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAIN = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"'
)
"""Format of a line of the log, where the operator gives none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field for each key with an effect (`nginx.options`). Lines are whole, with what ends them."""

    user: str = "nginx"
    pid_path: str = "/var/run/proxy.pid"
    worker_processes: str = "auto"
    max_connections: int = 1024
    open_files: int = 65535
    connect_timeout: str = "1s"
    """Tasks are near. One that is gone without a word holds a request up for so long, until the next roll."""
    send_timeout: str = "600s"
    read_timeout: str = "600s"
    keep_alive: str = "75s"
    http_version: str = "1.1"
    max_body: str = "32m"
    body_buffer: str = "8k"
    body_timeout: str = "60s"
    header_buffer: str = "1k"
    large_header_buffers: str = "4 8k"
    underscores: bool = False
    zone_size: int = 64
    """Kilobytes of shared memory per upstream."""
    ssl_options: tuple[str, ...] = ()
    ssl_protocols: str = "TLSv1.2 TLSv1.3"
    ssl_ciphers: str = "HIGH:!aNULL:!MD5"
    dh_param_path: str = ""
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    hide_info_headers: bool = False
    access_log: str = "/dev/stdout"
    error_log: str = "/dev/stdout"
    log_format: str = MAIN
    global_options: tuple[str, ...] = ()
    http_options: tuple[str, ...] = ()
    tcp_options: tuple[str, ...] = ()
