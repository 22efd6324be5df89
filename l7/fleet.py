"""What the operator wants of a service cluster's two services, as values: the extension service and the proxies.

The names are those of Interlock's TOML; docs/settings.md has each with its default. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]
"""Labels, sorted by key."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """One Swarm service. `image`: "" for core's own; `name`: "" for the usual one (`service_name`).

    `labels` are the service's, `container_labels` its tasks'; `preferences` as in "spread=node.labels.zone".
    """

    image: str = ""
    args: tuple[str, ...] = ()
    name: str = ""
    labels: Pairs = ()
    container_labels: Pairs = ()
    constraints: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the proxies, outside and in the task. `published` 0: Swarm chooses one, per node in host mode."""

    published: int
    target: int


HTTP = Port(80, 80)
HTTPS = Port(443, 443)


@dataclass(frozen=True, slots=True)
class ProxyOptions(ServiceOptions):
    """The proxy service. Times in milliseconds. `everywhere`: one on each node (a global service) instead of
    `replicas`; `publish_mode`: "ingress" or "host"; `config_path`: where the file of file mode is, "" for the
    extension's choice."""

    replicas: int = 2
    everywhere: bool = False
    stop_signal: str = "SIGQUIT"
    stop_grace_period: int = 5_000
    update_delay: int = 0
    publish_mode: str = "ingress"
    http: Port = HTTP
    tls: Port = HTTPS
    config_path: str = ""


NO_OPTIONS = ServiceOptions()
NO_PROXY_OPTIONS = ProxyOptions()

EXTENSION, PROXY = "l7-extension", "l7-proxy"
"""Usual names of the two services."""


def service_name(options: ServiceOptions, usual: str, cluster: str) -> str:
    """The operator's, else the usual one, which the default cluster has as it is."""
    return options.name or (f"{usual}-{cluster}" if cluster else usual)
