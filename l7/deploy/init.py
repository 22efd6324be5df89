"""What `l7 pki init` does: makes whatever is missing, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from l7.deploy import pki
from l7.deploy.secrets import CA, CA_KEY, CORE, PROXY, PkiStore
from l7.kit.errors import ConfigError
from l7.kit.tls import DEFAULT_CLUSTER

_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


def proxy_secret(cluster: str) -> str:
    """Name of the secret with the identity of a cluster's proxies. Raises ConfigError for a bad name."""
    if not cluster or cluster == DEFAULT_CLUSTER:
        return PROXY
    if not _CLUSTER.fullmatch(cluster):
        raise ConfigError("--cluster", f"{cluster!r}: letters, digits and _.- only, up to 41")
    return f"{PROXY}-{cluster}"


def init(store: PkiStore, clusters: Sequence[str] = (), names: Sequence[str] = ()) -> list[str]:
    """Makes CA and identities that are not there yet; names of those made, in order.

    `clusters` are service clusters beside the default one, `names` DNS names of core beside its usual ones.
    Raises ConfigError when something is missing that the CA's key is needed for, and cannot be read.
    """
    proxies = {proxy_secret(cluster): cluster for cluster in ("", *clusters)}
    wanted, present = (CA, CA_KEY, CORE, *proxies), store.names()
    missing = [name for name in wanted if name not in present]
    if not missing:
        return []
    authority = _authority(store, wanted, missing)
    texts = {CA: authority.certificate, CA_KEY: authority.key}
    # All are made before the first is kept: a CA in Swarm without a core that has it can't be read back.
    texts |= {name: _identity(authority, proxies.get(name), names) for name in missing if name not in texts}
    for name in missing:
        store.create(name, texts[name])
    return missing


def _authority(store: PkiStore, wanted: Sequence[str], missing: Sequence[str]) -> pki.Authority:
    """The one that is there, or a new one when there is nothing at all."""
    present = [name for name in wanted if name not in missing]
    if not present:
        return pki.new_authority()
    if CA in missing or CA_KEY in missing:
        lost = ", ".join(name for name in (CA, CA_KEY) if name in missing)
        raise ConfigError(
            lost, f"is missing, but {', '.join(present)} is there: remove it first, or restore {lost}"
        )
    return store.authority()


def _identity(authority: pki.Authority, cluster: str | None, names: Sequence[str]) -> bytes:
    """That of a cluster's proxies, or of core when `cluster` is None."""
    if cluster is None:
        return pki.core_identity(authority, names)
    return pki.proxy_identity(authority, "" if cluster == DEFAULT_CLUSTER else cluster)
