"""What `l7 pki init` does: makes whatever is missing, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from l7.deploy import pki
from l7.deploy.secrets import PkiStore
from l7.deploy.stored import (
    ACME_ACCOUNT,
    CA,
    CA_KEY,
    CORE,
    EXTENSION,
    extension_secret,
    newest,
    proxy_secret,
)
from l7.kit.errors import ConfigError
from l7.kit.tls import DEFAULT_CLUSTER


def init(store: PkiStore, clusters: Sequence[str] = (), names: Sequence[str] = ()) -> list[str]:
    """Makes CA and identities that are not there yet; names of those made, in order.

    `clusters` are service clusters beside the default one, `names` DNS names of core beside its usual ones.
    Raises ConfigError when something is missing that the CA's key is needed for, and cannot be read.
    """
    roles = _roles(("", *clusters))
    wanted = (CA, CA_KEY, CORE, *roles, ACME_ACCOUNT)
    stored = store.stored()
    generation = newest(stored)
    present = {each.base for each in stored if each.generation == generation or each.base == ACME_ACCOUNT}
    missing = [name for name in wanted if name not in present]
    made: dict[str, bytes] = {}
    if ACME_ACCOUNT in missing:
        made[ACME_ACCOUNT] = pki.account_key()
    if needing := [name for name in missing if name != ACME_ACCOUNT]:
        authority = _authority(store, [name for name in wanted if name in present], needing)
        if stored and (expected := store.expected(generation)) not in ("", pki.fingerprint(authority.certificate)):
            raise ConfigError(CA, f"core does not use {expected} yet: run `l7 pki rotate` again first")
        made |= {CA: authority.certificate, CA_KEY: authority.key}
        # All are made before the first is kept: a CA in Swarm without a core that has it can't be read back.
        made |= {name: identity(authority, name, roles.get(name), names) for name in needing if name not in made}
    return [store.create(name, generation, made[name]) for name in missing]


def _roles(clusters: Sequence[str]) -> dict[str, str]:
    """Cluster of each secret that belongs to one."""
    names = (("" if name == DEFAULT_CLUSTER else name) for name in clusters)
    return {secret(name): name for name in names for secret in (proxy_secret, extension_secret)}


def _authority(store: PkiStore, present: Sequence[str], missing: Sequence[str]) -> pki.Authority:
    """The one that is there, or a new one when there is nothing at all."""
    there = [name for name in present if name != ACME_ACCOUNT]
    if not there:
        return pki.new_authority()
    if CA in missing or CA_KEY in missing:
        lost = ", ".join(name for name in (CA, CA_KEY) if name in missing)
        raise ConfigError(lost, f"is missing, but {', '.join(there)} is there: remove it first, or restore {lost}")
    return store.authority()


def identity(authority: pki.Authority, base: str, cluster: str | None, names: Sequence[str] = ()) -> bytes:
    """The first identity that a secret holds, by the secret's name without its generation; core's `names`."""
    if base == CORE or cluster is None:
        return pki.core_identity(authority, names)
    make = pki.extension_identity if base.startswith(EXTENSION) else pki.proxy_identity
    return make(authority, cluster)
