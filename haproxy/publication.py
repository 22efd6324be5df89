"""What is published of a state: the complete configuration as text, and the state, for proxies to start from. Pure.

Nothing secret is in it: of certificates, keys and passwords only the names of Docker secrets, as in the state
itself. What is only true for a moment is not in it either: answers to an ACME server, where secrets are fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from haproxy import policy
from haproxy.capabilities import Capabilities, dotted
from haproxy.config import configured
from haproxy.model import Backend, Desired, Secret, Server, ServerState
from haproxy.render import render_files
from haproxy.routes import is_tcp
from haproxy.sayable import sayable
from haproxy.settings import AUTHORITIES, CERTIFICATES, IDENTITIES, Settings
from haproxy.targets import stores_of
from haproxy.tcp import open_ports
from haproxy.tls import ANY, Entry, Stores, authority_store, certificate_store
from haproxy.wire import changes_from
from l7.kit.bundle import STATE
from l7.v1 import sync_pb2 as pb

RENDERED_FOR = "proxy"
"""File with the proxy that the configuration is for: "haproxy/2.6.12"."""

BASE = Settings(tls_bind=(":443",), spare_backends=0, spare_backends_other=0)
"""Proxies of which nobody said otherwise. Without backends in reserve: each has the name of what it is for, so that
two configurations differ by what was changed alone."""

_SECRET = tuple(f"{directory}/" for directory in (CERTIFICATES, AUTHORITIES, IDENTITIES))


@dataclass(frozen=True, slots=True)
class Publication:
    """`revision`: core's, of the state. `configuration`: digest of what operators and users decide, which is the
    same whatever tasks there are. `content`: digest of all files. `counts` by kind. `mounts`: file -> where proxies
    in file mode find it, `secrets` the same by the path."""

    revision: str
    configuration: str
    content: str
    files: Mapping[str, bytes] = field(repr=False)
    counts: Mapping[str, int]
    mounts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


def publication(
    cluster: str, desired: Desired, keyed: Desired, capabilities: Capabilities, rolled: FileSet | None = None
) -> Publication:
    """Of a state in core's names (`desired`) and by keys (`keyed`, see `haproxy.mirror`). `rolled`: what proxies
    are run from; None: they are live."""
    lasting = changes_from(replace(desired, challenges={}, secret_sources=()))
    configuration = configuration_digest(cluster, lasting)
    state = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=configuration, changes=lasting, last=True)
    proxy = f"haproxy/{dotted(capabilities.version)}\n".encode()
    own = {STATE: state.SerializeToString(deterministic=True), RENDERED_FOR: proxy}
    files = {**(rendered(keyed, capabilities) if rolled is None else rolled.files), **own}
    found = Publication(desired.revision, configuration, _digest(files), files, _counts(desired))
    return found if rolled is None else replace(found, mounts=rolled.mounts, secrets=rolled.secrets)


@dataclass(frozen=True, slots=True)
class FileSet:
    """What proxies in file mode are run from: files by name, where they are mounted, and secrets by path."""

    files: Mapping[str, bytes] = field(repr=False)
    mounts: Mapping[str, str]
    secrets: Mapping[str, Secret]


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def configuration_digest(cluster: str, changes: pb.Changes) -> str:
    """32 hex digits: of everything in a complete state but servers, and whether there are to be any."""
    settled = pb.Changes()
    settled.CopyFrom(changes)
    for backend in settled.backends:
        del backend.servers[:]
        backend.settings.expected = False
    settled.ClearField("challenges")
    settled.ClearField("secret_sources")
    return hashlib.sha256(f"{cluster}\0".encode() + settled.SerializeToString(deterministic=True)).hexdigest()[:32]


def rendered(keyed: Desired, capabilities: Capabilities, base: Settings = BASE) -> dict[str, bytes]:
    """HAProxy's files as text: as a proxy starts that has every secret, and whose ready tasks all answer."""
    settings = settled(base, keyed)
    desired = sayable(replace(keyed, challenges={}), settings, capabilities)
    placement = {name: name for name in sorted(desired.backends)}
    ready = ready_servers(settings, capabilities, desired.backends)
    files = render_files(settings, capabilities, desired, placement, ready, _stores(settings, desired))
    return {name: content for name, content in files.items() if not name.startswith(_SECRET)}


def settled(base: Settings, desired: Desired) -> Settings:
    """With the operator's, and with the ports that services want besides."""
    settings, _ = configured(base, desired.config)
    wanted = {int(host[1:]) for host, _ in desired.routes if is_tcp(host)}
    extra = wanted - set(open_ports(settings)) if settings.allow_policy_reload else set[int]()
    listening = {int(address.rpartition(":")[2]) for address in (*settings.bind, *settings.tls_bind)}
    return replace(
        settings, extra_tcp_ports=tuple(sorted(extra - listening)), default_certificate=ANY in desired.tls_hosts
    )


def ready_servers(
    settings: Settings, capabilities: Capabilities, backends: Mapping[str, Backend]
) -> frozenset[str]:
    """Names of all servers whose tasks run."""

    def name(backend: Backend, server: Server) -> str:
        return policy.server_name(server, policy.server_keywords(settings, capabilities, backend, server.service))

    return frozenset(
        name(backend, server)
        for backend in backends.values()
        for server in backend.servers.values()
        if server.state is ServerState.READY
    )


def _stores(settings: Settings, desired: Desired) -> Stores:
    """All that are named, and nothing in them."""
    entries = tuple(
        Entry(
            certificate_store(settings, host),
            host,
            each.client_certificate,
            authority_store(settings, each.client_ca) if each.client_ca else "",
        )
        for host, each in desired.tls_hosts.items()
    )
    of_servers = frozenset[str]().union(
        *(
            stores_of(settings, backend, service)
            for backend in desired.backends.values()
            for service in range(len(backend.settings))
        )
    )
    authorities = of_servers | {entry.client_ca for entry in entries if entry.client_ca}
    return Stores(
        dict.fromkeys((entry.store for entry in entries), b""), dict.fromkeys(authorities, b""), {}, entries
    )


def _counts(desired: Desired) -> dict[str, int]:
    return {
        "routes": len(desired.routes),
        "services": len({service for backend in desired.backends.values() for service in backend.services}),
        "servers": sum(len(backend.servers) for backend in desired.backends.values()),
        "certificates": len(desired.tls_hosts),
    }
