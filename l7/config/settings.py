"""What core runs by, as frozen values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from l7.config.images import is_own
from l7.fleet import NO_OPTIONS, NO_PROXY_OPTIONS, ProxyOptions, ServiceOptions
from l7.host_policy import HostPolicy

WATCH_SOURCES = ("auto", "swarmkit", "docker")
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
DOCKER = "unix:///var/run/docker.sock"

ACME_ACCOUNT = "/run/secrets/l7-acme-account"
"""Where the key of the account at the ACME server is, unless told otherwise."""

CERTIFICATE_KEYS = ("DefaultCertificate", "DefaultCertificateKey")
IP_HASH = "IPHash"
"""What core reads of the extension's own table."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A service cluster. `networks`: names of those its proxies are on; None: found at the proxy service.

    `config`: the extension's own settings, a JSON object with sorted keys. `default_certificate` and
    `default_key`: names of secrets in it, for clients that name no host or an unknown one; "" for none. `ip_hash`
    in it: services that do not say otherwise choose tasks by the client's address. `hitless` False: file mode.
    """

    name: str = ""
    extension: str = "default"
    networks: tuple[str, ...] | None = None
    config: bytes = b"{}"
    default_certificate: str = ""
    default_key: str = ""
    extension_options: ServiceOptions = NO_OPTIONS
    proxy_options: ProxyOptions = NO_PROXY_OPTIONS
    ip_hash: bool = False
    hitless: bool = True

    @property
    def own_extension(self) -> bool:
        """Whether the extension service is l7's own."""
        return is_own(self.extension_options.image)


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """Who makes certificates (RFC 8555). `directory`: its URL; `ca_file`: whom to trust about it, "" for the
    system's CAs."""

    directory: str = LETS_ENCRYPT
    email: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What core runs by. `poll_interval` in milliseconds; `clusters` by name, "" is the default one.

    `legacy_labels`: the labels of Interlock 1 and of HRM are understood, too. `acme` None: l7 gets no certificates.
    `warnings`: what of the file has another effect than its author may think, "path:line: key: reason".
    """

    listen_addr: str = ":8080"
    docker_url: str = DOCKER
    tls_ca_cert: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    allow_insecure: bool = False
    poll_interval: int = 3000
    endpoint_override: str = ""
    watch_source: str = "auto"
    legacy_labels: bool = False
    clusters: Mapping[str, Cluster] = field(default_factory=lambda: {"": Cluster()})
    host_policies: tuple[HostPolicy, ...] = ()
    acme: AcmeSettings | None = None
    warnings: tuple[str, ...] = ()
