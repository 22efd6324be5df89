"""The settings that `l7 install` writes from its options: a TOML file that a person goes on with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

LABEL = "com.docker.l7.options"
"""Of a config object that was written from options: these, so that the next run changes what it is told alone."""

_TEXT = """\
# Settings of l7, written by `l7 install` from its options. To change them, run it again with other options; or go
# on with this text, and `l7 config apply` it. `l7 config check` says what it means, docs/settings.md has every key.

[Extensions.default]

# Ports that clients use, and those of the proxies' tasks behind them.
PublishedPort = {http}
TargetPort = 80
PublishedSSLPort = {https}
TargetSSLPort = 443

# "ingress": every node takes connections and hands them on to one with a proxy, by Swarm's routing mesh (it needs
# IP_VS in the kernel); the clients' own addresses are lost on the way. "host": the nodes with a proxy take
# connections, one proxy on each at most, and it sees the clients' addresses.
PublishMode = "{publish_mode}"

# "replicated": ProxyReplicas of them, on workers where there are any, else on managers. "global": one on each node.
ProxyMode = "{mode}"
ProxyReplicas = {replicas}

# How long a proxy that leaves may take to finish what it has.
ProxyStopGracePeriod = "40s"
"""


@dataclass(frozen=True, slots=True)
class Flags:
    """`publish_mode`: ingress or host; `mode`: replicated or global."""

    http: int = 80
    https: int = 443
    publish_mode: str = "ingress"
    mode: str = "replicated"
    replicas: int = 2

    def text(self) -> str:
        """The TOML."""
        return _TEXT.format(**{each.name: getattr(self, each.name) for each in fields(self)})

    def label(self) -> str:
        return ",".join(f"{each.name}={getattr(self, each.name)}" for each in fields(self))

    def changed(self, given: Mapping[str, object]) -> Flags:
        """With the options that are given, by field."""
        return replace(self, **given)  # type: ignore[arg-type]


def read_label(text: str) -> Flags | None:
    """The options that `label` says, None when it says none."""
    values = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    known = {each.name for each in fields(Flags)}
    if not values or not values.keys() <= known:
        return None
    numbers = {name: int(value) for name, value in values.items() if value.isdecimal()}
    return Flags().changed({**values, **numbers})
