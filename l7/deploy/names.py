"""Names and labels of what l7 makes in a Swarm. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from l7 import fleet
from l7.config import Cluster

MANAGED = "com.docker.l7.managed"
"""Label of all that l7 made; what has one of our names without it is somebody else's."""
FLEET = "fleet"
"""Its value on what core makes for service clusters."""
INSTALLED = "core"
"""Its value on what `l7 install` makes: core itself, its configuration and network."""
APPLIED = "com.docker.l7.applied"
"""Label of a service: the specification as l7 wanted it when it last wrote it, JSON (`l7.deploy.merge`)."""

PIN = "com.docker.l7.pin"
"""Label of an extension service: the revision, perhaps shortened, that its cluster stays at (`l7.deploy.pins`)."""


def extension_service(cluster: Cluster) -> str:
    return fleet.service_name(cluster.extension_options, fleet.EXTENSION, cluster.name)


def proxy_service(cluster: Cluster) -> str:
    return fleet.service_name(cluster.proxy_options, fleet.PROXY, cluster.name)


def services(clusters: Iterable[Cluster]) -> frozenset[str]:
    """All that these clusters are to have."""
    return frozenset(name(each) for each in clusters for name in (extension_service, proxy_service))


def shared_network(cluster: str) -> str:
    """The network that a cluster's proxies are on from the start, and that applications may join."""
    return f"l7-{cluster}" if cluster else "l7"


def plain_image(image: str) -> str:
    """As the operator wrote it. The digest that the client adds is a registry's: a node that was given the image
    by `docker load` does not know it."""
    return image.partition("@")[0]
