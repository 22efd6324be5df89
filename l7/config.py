"""Core's settings as one frozen value, read from Interlock's TOML. Pure: text in, settings or ConfigError out.

Key case is loose, as in Interlock's own documentation. A key that nobody knows is a warning; a wrong type or
syntax is an error that names line and key. Keys that Interlock has and l7 does not use yet are checked for
their type, then ignored with a warning.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from l7.fleet import NO_OPTIONS, NO_PROXY_OPTIONS, ProxyOptions, ServiceOptions
from l7.host_policy import HostPolicy
from l7.kit.errors import ConfigError
from l7.labels.grammar import Bad, parse_host

WATCH_SOURCES = ("auto", "swarmkit", "docker")
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A service cluster. `networks`: names of those its proxies are on; None: found at the proxy service.

    `config`: the extension's own settings, a JSON object with sorted keys. `default_certificate` and
    `default_key`: names of secrets in it, for clients that name no host or an unknown one; "" for none.
    """

    name: str = ""
    extension: str = "default"
    networks: tuple[str, ...] | None = None
    config: bytes = b"{}"
    default_certificate: str = ""
    default_key: str = ""
    extension_options: ServiceOptions = NO_OPTIONS
    proxy_options: ProxyOptions = NO_PROXY_OPTIONS


ACME_ACCOUNT = "/run/secrets/l7-acme-account"
"""Where the key of the account at the ACME server is, unless told otherwise."""


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
    """

    listen_addr: str = ":8080"
    docker_url: str = "unix:///var/run/docker.sock"
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


CORE_KEYS = {
    "ListenAddr": "string",
    "DockerURL": "string",
    "TLSCACert": "string",
    "TLSCert": "string",
    "TLSKey": "string",
    "AllowInsecure": "boolean",
    "PollInterval": "duration",
    "EndpointOverride": "string",
    "WatchSource": "string",
    "LegacyLabels": "boolean",
    "Extensions": "table",
    "HostPolicy": "tables",
    "ACME": "table",
}
_FIELDS = {
    "ListenAddr": "listen_addr",
    "DockerURL": "docker_url",
    "TLSCACert": "tls_ca_cert",
    "TLSCert": "tls_cert",
    "TLSKey": "tls_key",
    "AllowInsecure": "allow_insecure",
    "PollInterval": "poll_interval",
    "EndpointOverride": "endpoint_override",
    "WatchSource": "watch_source",
    "LegacyLabels": "legacy_labels",
}
EXTENSION_KEYS = {"ServiceCluster": "string", "Networks": "strings", "Config": "table"}
CERTIFICATE_KEYS = ("DefaultCertificate", "DefaultCertificateKey")
"""What core reads of the extension's own table."""
ACME_KEYS = {"Directory": "string", "Email": "string", "CAFile": "string"}
HOST_POLICY_KEYS = {"Hosts": "strings", "Stacks": "strings", "Services": "strings", "Networks": "strings"}
UNUSED_EXTENSION_KEYS = {
    "Image": "string",
    "Args": "strings",
    "ServiceName": "string",
    "Labels": "table",
    "ContainerLabels": "table",
    "Constraints": "strings",
    "PlacementPreferences": "strings",
    "ProxyImage": "string",
    "ProxyArgs": "strings",
    "ProxyServiceName": "string",
    "ProxyLabels": "table",
    "ProxyContainerLabels": "table",
    "ProxyConfigPath": "string",
    "ProxyReplicas": "integer",
    "ProxyStopSignal": "string",
    "ProxyStopGracePeriod": "duration",
    "ProxyConstraints": "strings",
    "ProxyPlacementPreferences": "strings",
    "ProxyUpdateDelay": "duration",
    "PublishMode": "string",
    "PublishedPort": "integer",
    "TargetPort": "integer",
    "PublishedSSLPort": "integer",
    "TargetSSLPort": "integer",
    "Template": "string",
    "HitlessServiceUpdate": "boolean",
    "ConfigImage": "string",
    "ConfigServiceName": "string",
}

_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What the service_cluster label can name."""
_DEFAULT = "default"
"""What certificates call the cluster "": proxies of one that is really named so could prove nothing."""
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def parse_duration(text: str) -> int | None:
    """Milliseconds of a Go duration such as 500ms, 3s or 1m30s, 0 only for nothing; None when it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return math.ceil(total) if total < 2**53 else None


def parse_settings(text: str, path: str = "config.toml") -> Settings:
    """Settings from the text of a TOML file; `path` is for the messages. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}:{_syntax_line(str(error), text)}", str(error)) from error
    return _File(path, text).settings(document)


def _syntax_line(message: str, text: str) -> int:
    match = _AT_LINE.search(message)
    return int(match.group(1)) if match else max(1, len(text.splitlines()))


class _File:
    """One parse: the text for the line numbers, and the warnings as they come."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.warnings: list[str] = []
        self.number = 1
        """Of the table that is being read, among those of its name."""

    def settings(self, document: Mapping[str, Any]) -> Settings:
        values = self._values(document, (), CORE_KEYS, {})
        tables, policies = values.pop("Extensions", None), values.pop("HostPolicy", ())
        acme = values.pop("ACME", None)
        source = values.get("WatchSource", "auto")
        if source not in WATCH_SOURCES:
            raise self._error((), "WatchSource", f"one of {', '.join(WATCH_SOURCES)}, not {source!r}")
        if values.get("PollInterval") == 0:
            raise self._error((), "PollInterval", "must be more than nothing")
        fields: dict[str, Any] = {_FIELDS[key]: value for key, value in values.items()}
        if tables is not None:
            fields["clusters"] = self._clusters(tables)
        fields["host_policies"] = self._host_policies(policies)
        fields["acme"] = None if acme is None else self._acme(acme)
        return Settings(**fields, warnings=tuple(self.warnings))

    def _clusters(self, tables: Mapping[str, Any]) -> dict[str, Cluster]:
        clusters: dict[str, Cluster] = {}
        for extension, table in tables.items():
            if not isinstance(table, dict):
                raise self._error(("Extensions",), extension, "a table, [Extensions.<name>]")
            cluster = self._cluster(extension, table)
            if cluster.name in clusters:
                other = clusters[cluster.name].extension
                raise self._error(
                    ("Extensions", extension), "ServiceCluster", f"{cluster.name!r} is {other}'s already"
                )
            clusters[cluster.name] = cluster
        if not clusters:
            raise self._error((), "Extensions", "at least one extension, [Extensions.<name>]")
        return clusters

    def _cluster(self, extension: str, table: Mapping[str, Any]) -> Cluster:
        values = self._values(table, ("Extensions", extension), EXTENSION_KEYS, UNUSED_EXTENSION_KEYS)
        # An empty list is what Interlock's own defaults write for "not set".
        networks = tuple(sorted(set(values.get("Networks", ())))) or None
        name = values.get("ServiceCluster", "")
        if name and not _CLUSTER.fullmatch(name):
            raise self._error(("Extensions", extension), "ServiceCluster", "letters, digits and _.- only")
        if name == _DEFAULT:
            raise self._error(
                ("Extensions", extension), "ServiceCluster", 'is "" for the default one: leave it out'
            )
        config = values.get("Config", {})
        return Cluster(name, extension, networks, self._json(extension, config), *self._default(extension, config))

    def _default(self, extension: str, config: Mapping[str, Any]) -> tuple[str, str]:
        """Names of the secrets with the default certificate and its key."""
        where, names = ("Extensions", extension, "Config"), dict.fromkeys(CERTIFICATE_KEYS, "")
        known = {key.lower(): key for key in CERTIFICATE_KEYS}
        for spelt, key in ((spelt, known[spelt.lower()]) for spelt in config if spelt.lower() in known):
            if names[key]:
                raise self._error(where, spelt, f"given twice (case does not count): {key}")
            names[key] = str(self._checked(where, spelt, config[spelt], "string"))
        certificate, private_key = (names[key] for key in CERTIFICATE_KEYS)
        if private_key and not certificate:
            raise self._error(where, CERTIFICATE_KEYS[1], f"needs {CERTIFICATE_KEYS[0]}")
        return certificate, private_key

    def _acme(self, table: Mapping[str, Any]) -> AcmeSettings:
        values = self._values(table, ("ACME",), ACME_KEYS, {})
        directory = values.get("Directory", LETS_ENCRYPT)
        if not directory.startswith("https://"):
            raise self._error(("ACME",), "Directory", f"must be an https:// URL, not {directory!r}")
        return AcmeSettings(directory, values.get("Email", ""), values.get("CAFile", ""))

    def _json(self, extension: str, config: Mapping[str, Any]) -> bytes:
        """The extension's own table, canonical: what its keys mean is its own affair."""
        try:
            return orjson.dumps(config, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise self._error(("Extensions", extension), "Config", f"cannot be passed on: {error}") from error

    def _host_policies(self, tables: Iterable[Mapping[str, Any]]) -> tuple[HostPolicy, ...]:
        policies = []
        for self.number, table in enumerate(tables, 1):
            policies.append(self._host_policy(table))
        return tuple(policies)

    def _host_policy(self, table: Mapping[str, Any]) -> HostPolicy:
        values = self._values(table, ("HostPolicy",), HOST_POLICY_KEYS, {})
        hosts = tuple(self._policy_host(host) for host in values.pop("Hosts", ()))
        if not hosts:
            raise self._error((), "HostPolicy", "needs Hosts: names, *.example.org, or *")
        kinds = {key.lower(): tuple(value) for key, value in values.items()}
        if not any(kinds.values()):
            raise self._error((), "HostPolicy", "needs Stacks, Services or Networks: who may claim the hosts")
        return HostPolicy(hosts, **kinds)

    def _policy_host(self, text: str) -> str:
        host = "*" if text == "*" else parse_host(text)
        if isinstance(host, Bad):
            raise self._error(("HostPolicy",), "Hosts", f"{text!r} {host.message}")
        return host

    def _values(
        self, table: Mapping[str, Any], where: tuple[str, ...], used: Mapping[str, str], unused: Mapping[str, str]
    ) -> dict[str, Any]:
        """Checked values of the keys in use, in their documented spelling."""
        known = {key.lower(): key for key in (*used, *unused)}
        kinds = {**used, **unused}
        values: dict[str, Any] = {}
        seen: set[str] = set()
        for written, raw in table.items():
            key = known.get(written.lower())
            if key is None:
                self._warn(where, written, "not a key that l7 knows")
                continue
            if key in seen:
                raise self._error(where, written, f"given twice (case does not count): {key}")
            seen.add(key)
            value = self._checked(where, written, raw, kinds[key])
            if key in used:
                values[key] = value
            else:
                self._warn(where, written, "not used yet")
        return values

    def _checked(self, where: tuple[str, ...], key: str, raw: object, kind: str) -> object:
        value = _check(raw, kind)
        if value is None:
            raise self._error(where, key, f"must be {_NAMES[kind]}, not {raw!r}")
        return value

    def _error(self, where: tuple[str, ...], key: str, reason: str) -> ConfigError:
        return ConfigError(self._place(where, key), reason)

    def _warn(self, where: tuple[str, ...], key: str, reason: str) -> None:
        self.warnings.append(f"{self._place(where, key)}: {reason}")

    def _place(self, where: tuple[str, ...], key: str) -> str:
        line = self._line(where, key) or (where and self._line(where[:-1], where[-1]))
        return f"{self.path}{f':{line}' if line else ''}: {'.'.join((*where, key))}"

    def _line(self, where: tuple[str, ...], key: str) -> int:
        return _find_line(self.lines, where, key, self.number)


_NAMES = {
    "string": "a string",
    "strings": "a list of strings",
    "boolean": "true or false",
    "integer": "a number",
    "duration": 'a duration such as "3s" or "500ms"',
    "table": "a table",
    "tables": "tables, [[...]]",
}


def _check(raw: object, kind: str) -> object | None:
    """The value in its own type, None when it has another."""
    if kind == "duration":
        return parse_duration(raw) if isinstance(raw, str) else None
    if kind == "strings":
        return raw if isinstance(raw, list) and all(isinstance(item, str) for item in raw) else None
    if kind == "tables":
        return raw if isinstance(raw, list) and all(isinstance(item, dict) for item in raw) else None
    types = {"string": str, "boolean": bool, "integer": int, "table": dict}
    # bool is an int in Python, not in TOML
    return raw if type(raw) is types[kind] else None


_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]")


def _find_line(lines: list[str], where: tuple[str, ...], key: str, nth: int = 1) -> int:
    """Line, from 1, where `key` of table `where` is written; 0 when it is not found. Of several `[[tables]]` of one
    name, the one that is the `nth`.

    tomllib keeps no positions. This looks for `key =` under the table's header, or for the header of the
    key itself; dotted keys and inline tables are not followed.
    """
    table = _loose(where)
    assigned = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    current: tuple[str, ...] = ()
    counts: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            path = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            current = _loose(path)
            counts[current] += 1
            found = current[: len(where)] == table and path[len(where) : len(where) + 1] == (key,)
        else:
            found = current == table and bool(assigned.match(line))
        if found and counts[current] in (0, nth):
            return number
    return 0


def _loose(path: tuple[str, ...]) -> tuple[str, ...]:
    """Case does not count in the names of tables; in that of a key it does, which may be there in two spellings."""
    return tuple(part.lower() for part in path)
