"""Which addresses a network of l7's own gets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from l7.kit.errors import ConfigError

CLUSTER = 16
"""Length of the prefix of a cluster's shared network: room for some 30,000 services of one replica."""
CONTROL = 20
"""The same of the network between core, extension services and proxies."""


def free_subnet(taken: Iterable[str], prefix: int = CLUSTER) -> str:
    """The first of 10.0.0.0/8 that overlaps none of these. Raises ConfigError when there is none left."""
    held = [net for net in (ip_network(each, strict=False) for each in taken) if isinstance(net, IPv4Network)]
    for number in (*range(77, 256), *range(1, 77)):
        for each in IPv4Network(f"10.{number}.0.0/16").subnets(new_prefix=prefix):
            if not any(each.overlaps(other) for other in held):
                return str(each)
    reason = f"no /{prefix} of 10.0.0.0/8 is free: make a network yourself, and name it in Networks"
    raise ConfigError("Networks", reason)
