"""Grammar of client addresses: lists of prefixes. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from l7.labels.grammar import Bad, printable

MAX_PREFIXES = 256
_PREFIX = re.compile(r"[0-9a-fA-F:.]{2,45}(?:/[0-9]{1,3})?")
_MAPPED = IPv6Network("::ffff:0:0/96")


@lru_cache(maxsize=512)
def parse_allow(text: str) -> tuple[str, ...] | Bad:
    """Addresses and prefixes, separated by commas and/or spaces, as the fewest prefixes that cover them: IPv4
    before IPv6, sorted."""
    words = [word for word in re.split("[, ]", text) if word]
    if not words:
        # An empty list would let in everybody, or nobody: neither is what an accident should do.
        return Bad("is empty", "write at least one prefix, or remove the label to let in everybody")
    if len(words) > MAX_PREFIXES:
        return Bad("is too long", f"write at most {MAX_PREFIXES} prefixes")
    fourth: list[IPv4Network] = []
    sixth: list[IPv6Network] = []
    for word in words:
        network = _network(word)
        if isinstance(network, Bad):
            return Bad(f"has {printable(word)}, which {network.message}", network.remedy)
        if isinstance(network, IPv4Network):
            fourth.append(network)
        else:
            sixth.append(network)
    return (*map(str, collapse_addresses(fourth)), *map(str, collapse_addresses(sixth)))


def _network(text: str) -> IPv4Network | IPv6Network | Bad:
    # `ipaddress` also takes netmasks and zones, which the expression keeps away.
    if not _PREFIX.fullmatch(text):
        return Bad("is no address or prefix", "write such as 10.0.0.0/8 or 2001:db8::/32")
    try:
        network = ip_network(text, strict=False)
        ip_network(text)
    except ValueError:
        return _bad_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Clients of IPv4 are seen with IPv4 addresses.
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _bad_network(text: str) -> Bad:
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        return Bad("is no address or prefix", "write such as 10.0.0.0/8 or 2001:db8::/32")
    return Bad("has bits set to the right of the prefix", f"write {meant}, or the address alone")
