"""Which addresses a network of l7's own gets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from l7.kit.errors import ConfigError

_CANDIDATES = tuple(IPv4Network(f"10.{number}.0.0/16") for number in (*range(77, 256), *range(1, 77)))


def free_subnet(taken: Iterable[str]) -> str:
    """The first /16 that overlaps none of these. Raises ConfigError when there is none left."""
    held = [net for net in map(ip_network, taken) if isinstance(net, IPv4Network)]
    for each in _CANDIDATES:
        if not any(each.overlaps(other) for other in held):
            return str(each)
    raise ConfigError("Networks", "no /16 of 10.0.0.0/8 is free: make a network yourself, and name it in Networks")
