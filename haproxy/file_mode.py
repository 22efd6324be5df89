"""File mode: what a stock HAProxy is run from, instead of a sidecar that drives it. Pure.

The same configuration as live, by the oldest HAProxy's means: which one the proxies are is not known. Its stores
are the secrets themselves, mounted under the stores' names. What lacks a secret, or has a bad one, is left out as
live. Passwords are the exception: HAProxy can't read them from a file, and must be in none that is no secret. So
nobody is let in where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from haproxy import checks
from haproxy.capabilities import OLDEST, Capabilities, capabilities
from haproxy.config import configured
from haproxy.lookup import DNS
from haproxy.material import PREFIX, Lack, Material
from haproxy.model import Backend, Desired, KeyPair, Protocol, Secret
from haproxy.publication import FileSet, ready_servers, settled
from haproxy.render import CONFIG, render_files
from haproxy.sayable import sayable
from haproxy.settings import AUTHORITIES, CERTIFICATES, IDENTITIES, Settings
from haproxy.tls import authority_store, certificate_store, identity_store
from haproxy.uses import Part
from haproxy.verdicts import complaints_told
from l7.v1 import sync_pb2 as pb

CONFIG_PATH = "/usr/local/etc/haproxy/haproxy.cfg"
"""Where stock images have it."""
SOCKETS = "/tmp"
"""Everybody can write there, in whatever image."""
ABLE: Capabilities = capabilities(OLDEST)
STOP_SIGNAL = "SIGUSR1"
"""Upon which HAProxy finishes what it has (management guide, section 4)."""
LONGEST = 1 << 30
"""Bytes of a PEM: a file may be as long as it likes."""
_EMPTY = b"# nothing\n"
_STORES = tuple(f"{directory}/" for directory in (CERTIFICATES, AUTHORITIES, IDENTITIES))


@dataclass(frozen=True, slots=True)
class FileMode:
    """Where proxies find their configuration, on which ports they listen, inside, where their sockets are, and who
    knows of tasks that came since."""

    config_path: str = CONFIG_PATH
    http_port: int = 80
    tls_port: int = 443
    sockets: str = SOCKETS
    name_server: str = DNS

    @property
    def settings(self) -> Settings:
        """Of the proxies, before the operator's."""
        return Settings(
            run_dir=self.config_path.rpartition("/")[0],
            socket_dir=self.sockets,
            bind=(f":{self.http_port}",),
            tls_bind=(f":{self.tls_port}",),
            spare_backends=0,
            spare_backends_other=0,
            name_server=self.name_server,
        )

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in an image that does not know by itself."""
        return ("haproxy", "-W", "-db", "-f", self.config_path)


def file_set(mode: FileMode, keyed: Desired, material: Material) -> FileSet:
    """`material`: of this mode's settings, up to date with the state."""
    settings = settled(mode.settings, keyed)
    desired = sayable(keyed, settings, ABLE)
    files = _rendered(settings, desired, material)
    mounts = {name: mode.config_path if name == CONFIG else settings.file(name) for name in files}
    return FileSet(files, mounts, dict(_secrets(settings, desired, material)))


def checked_at(settings: Settings, directory: str, keyed: Desired, material: Material) -> dict[str, bytes]:
    """The same files as they would be in another directory, secrets among them, for HAProxy to judge. `settings`:
    the mode's. Its sockets are there, too, and it listens nowhere else."""
    known = settled(settings, keyed)
    desired = sayable(keyed, known, ABLE)
    there = replace(
        known, run_dir=directory, socket_dir=directory, bind=(f"unix@{directory}/http.sock",),
        tls_bind=(f"unix@{directory}/https.sock",), tcp_ports=(), extra_tcp_ports=(),
    )  # fmt: skip
    moved = _moved(material, settings, there)
    contents = {path: material.content(secret.id) or b"" for path, secret in _secrets(there, desired, moved)}
    files = _rendered(there, desired, moved)
    return files | {path.removeprefix(f"{directory}/"): content for path, content in contents.items()}


def material_of(settings: Settings, keyed: Desired, content: Callable[[str], bytes | None], now: float) -> Material:
    """What of the wanted TLS can be had, at `now` (Unix time). `settings`: the mode's."""
    material = Material(settings, LONGEST, content)
    material.look(((Part.HOST, host) for host in keyed.tls_hosts), keyed, now)
    material.look(((Part.BACKEND, key) for key in keyed.backends), keyed, now)
    return material


def problems(keyed: Desired, material: Material) -> list[pb.Problem]:
    """What can't be had as users and the operator asked for it; sorted, each once."""
    _, complaints = configured(Settings(), keyed.config)
    found = [*complaints_told(complaints), *material.problems, *map(_missing, material.lacks)]
    for name in sorted(keyed.rules):
        found += checks.problems(keyed.rules[name], ABLE)
        if keyed.rules[name].HasField("basic_auth"):
            found.append(_no_passwords(name))
    unique = {(each.service, each.label, each.message, each.remedy): each for each in found}
    return [unique[key] for key in sorted(unique)]


def _missing(lack: Lack) -> pb.Problem:
    kind = "config" if lack.secret.config else "secret"
    message = f"{kind} {lack.secret.name} is not attached to the extension service"
    remedy = "core attaches it: see its log, and docker service ps of the extension service"
    return pb.Problem(service=lack.service, label=lack.label, message=message, remedy=remedy)


def _no_passwords(service: str) -> pb.Problem:
    message = "nobody is let in: in file mode there are no passwords, which would be in a file that is no secret"
    remedy = "set HitlessServiceUpdate = true, or take the label away"
    return pb.Problem(service=service, label=f"{PREFIX}basic_auth", message=message, remedy=remedy)


# ---------------------------------------------------------------- inside


def _rendered(settings: Settings, desired: Desired, material: Material) -> dict[str, bytes]:
    placement = {name: name for name in sorted(desired.backends)}
    ready = ready_servers(settings, ABLE, desired.backends)
    files = render_files(settings, ABLE, desired, placement, ready, material.stores)
    return {name: content or _EMPTY for name, content in files.items() if not name.startswith(_STORES)}


def _moved(material: Material, settings: Settings, there: Settings) -> Material:
    """Its stores by the names that they have elsewhere."""

    def name(path: str) -> str:
        return there.file(path.removeprefix(f"{settings.run_dir}/")) if path else ""

    entries = {
        host: replace(each, store=name(each.store), client_ca=name(each.client_ca))
        for host, each in material.entries.items()
    }
    pem = {name(path): content for path, content in material.pem.items()}
    return Material(there, material.limit, material.content, pem=pem, entries=entries)


def _secrets(settings: Settings, desired: Desired, material: Material) -> Iterator[tuple[str, Secret]]:
    """(path, secret) of each store that there is. A key that is apart has the name by which HAProxy looks for it
    (configuration manual, "ssl-load-extra-files")."""
    for name, host in desired.tls_hosts.items():
        entry = material.entries.get(name)
        if entry is None:
            continue
        yield from _pair(certificate_store(settings, name), host.certificate)
        if entry.client_ca and host.client_ca is not None:
            yield entry.client_ca, host.client_ca
    for backend in desired.backends.values():
        yield from _of_servers(settings, backend, material)


def _of_servers(settings: Settings, backend: Backend, material: Material) -> Iterator[tuple[str, Secret]]:
    for own in () if backend.tcp else backend.settings:
        if own.protocol is not Protocol.HTTPS:
            continue
        if own.tls_ca is not None and (path := authority_store(settings, own.tls_ca)) in material.pem:
            yield path, own.tls_ca
        pair = own.tls_certificate
        if pair is not None and (path := identity_store(settings, pair)) in material.pem:
            yield from _pair(path, pair)


def _pair(path: str, pair: KeyPair) -> Iterator[tuple[str, Secret]]:
    yield path, pair.certificate
    if pair.key is not None:
        yield f"{path}.key", pair.key
