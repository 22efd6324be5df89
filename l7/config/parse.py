"""The text of a TOML file → settings. Key case is loose, as in Interlock's own documentation.

A key that nobody knows is a warning; a wrong type or syntax is an error that names line and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from l7.config.core_options import ACME, CORE, HOST_POLICY
from l7.config.extension_options import CLUSTER, EXTENSION
from l7.config.kinds import FLAG, TEXT
from l7.config.option import Wrong
from l7.config.proxy_options import PROXY
from l7.config.reading import Reading, without
from l7.config.services import check_names, service_options
from l7.config.settings import CERTIFICATE_KEYS, IP_HASH, AcmeSettings, Cluster, Settings
from l7.host_policy import HostPolicy
from l7.kit.errors import ConfigError
from l7.labels.grammar import Bad, parse_host

_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What the service_cluster label can name."""
_DEFAULT = "default"
"""What certificates call the cluster "": proxies of one that is really named so could prove nothing."""
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_TABLES = ("Extensions", "HostPolicy", "ACME")
_TEMPLATE = (
    "there is no template: HAProxy's configuration is written by l7 itself. Use the options of [Config] and labels "
    "(docs/settings.md, docs/labels.md), and for what has none GlobalOptions and DefaultOptions"
)


def parse_settings(text: str, path: str = "config.toml") -> Settings:
    """Settings from the text of a TOML file; `path` is for the messages. Raises ConfigError, of the first thing
    that is wrong."""
    return _settings(Reading(path, text), _document(text, path))


def examine(text: str, path: str = "config.toml") -> tuple[Settings | None, tuple[ConfigError, ...]]:
    """All that is wrong, and what the file would mean without; None where that cannot be told."""
    errors: list[ConfigError] = []
    try:
        document = _document(text, path)
    except ConfigError as error:
        return None, (error,)
    while True:
        reading = Reading(path, text)
        try:
            return _settings(reading, document), tuple(errors)
        except ConfigError as error:
            errors.append(error)
            if not without(document, *reading.at, reading.number):
                return None, tuple(errors)


def _document(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}:{_syntax_line(str(error), text)}", str(error)) from error


def _syntax_line(message: str, text: str) -> int:
    match = _AT_LINE.search(message)
    return int(match.group(1)) if match else max(1, len(text.splitlines()))


def _settings(reading: Reading, document: Mapping[str, Any]) -> Settings:
    if isinstance(next((value for key, value in document.items() if key.lower() == "extensions"), None), list):
        raise reading.error((), "Extensions", "tables by name, [Extensions.<name>], not [[Extensions]] as in v1")
    values = reading.values(document, (), CORE)
    _docker(reading, values.of)
    fields = values.fields(row for row in CORE if row.key not in _TABLES)
    extensions, policies, acme = (values.of[key] for key in _TABLES)
    clusters = _clusters(reading, extensions)
    check_names(reading, clusters.values())
    return Settings(
        **fields,
        clusters=clusters,
        host_policies=_host_policies(reading, policies),
        acme=None if acme is None else _acme(reading, acme),
        warnings=tuple(reading.warnings),
    )


def _docker(reading: Reading, values: Mapping[str, Any]) -> None:
    """What is right by itself and wrong beside the rest."""
    for key, other in (("TLSCert", "TLSKey"), ("TLSKey", "TLSCert")):
        if values[key] and not values[other]:
            raise reading.error((), key, f"needs {other}")
    url = values["DockerURL"]
    if any(values[key] for key in ("TLSCACert", "TLSCert")) and not url.startswith(("tcp://", "https://")):
        raise reading.error((), "TLSCACert", f"is for an Engine API over TLS, and DockerURL is {url}")
    if values["AllowInsecure"] and url.startswith(("tcp://", "https://")):
        reading.warn((), "AllowInsecure", f"whoever answers at {url} is believed, whatever its certificate")


def _clusters(reading: Reading, tables: Mapping[str, Any]) -> dict[str, Cluster]:
    clusters: dict[str, Cluster] = {}
    for extension, table in tables.items():
        if not isinstance(table, dict):
            raise reading.error(("Extensions",), extension, "a table, [Extensions.<name>]")
        cluster = _cluster(reading, extension, table)
        if cluster.name in clusters:
            other = clusters[cluster.name].extension
            place = ("Extensions", extension)
            raise reading.error(place, "ServiceCluster", f"{cluster.name!r} is {other}'s already")
        clusters[cluster.name] = cluster
    if not clusters:
        raise reading.error((), "Extensions", "at least one extension, [Extensions.<name>]")
    return clusters


def _cluster(reading: Reading, extension: str, table: Mapping[str, Any]) -> Cluster:
    where = ("Extensions", extension)
    values = reading.values(table, where, (*CLUSTER, *EXTENSION, *PROXY))
    if "Template" in values.given:
        raise reading.error(where, values.given["Template"], _TEMPLATE)
    name = _cluster_name(reading, where, values.of["ServiceCluster"])
    config = values.of["Config"]
    certificate, private_key, ip_hash = _shared(reading, where, config)
    extension_options, proxy_options, hitless = service_options(reading, where, values)
    return Cluster(
        name,
        extension,
        # An empty list is what Interlock's own defaults write for "not set".
        tuple(sorted(set(values.of["Networks"]))) or None,
        _json(reading, where, config),
        certificate,
        private_key,
        extension_options,
        proxy_options,
        ip_hash,
        hitless,
    )


def _cluster_name(reading: Reading, where: tuple[str, ...], name: str) -> str:
    if name and not _CLUSTER.fullmatch(name):
        raise reading.error(where, "ServiceCluster", "letters, digits and _.- only")
    if name == _DEFAULT:
        raise reading.error(where, "ServiceCluster", 'is "" for the default one: leave it out')
    return name


def _shared(reading: Reading, where: tuple[str, ...], config: Mapping[str, Any]) -> tuple[str, str, bool]:
    """What core has to know of the extension's own table: names of the secrets with the default certificate and its
    key, and whether services choose tasks by the client's address."""
    where, kinds = (*where, "Config"), dict.fromkeys(CERTIFICATE_KEYS, TEXT) | {IP_HASH: FLAG}
    known, found = {key.lower(): key for key in kinds}, dict[str, Any]()
    for spelt, key in ((spelt, known[spelt.lower()]) for spelt in config if spelt.lower() in known):
        if key in found:
            raise reading.error(where, spelt, f"given twice (case does not count): {key}")
        found[key] = kinds[key].parse(config[spelt])
        if isinstance(found[key], Wrong):
            raise reading.error(where, spelt, found[key].reason)
    certificate, private_key = (found.get(key, "") for key in CERTIFICATE_KEYS)
    if private_key and not certificate:
        raise reading.error(where, CERTIFICATE_KEYS[1], f"needs {CERTIFICATE_KEYS[0]}")
    return certificate, private_key, found.get(IP_HASH, False)


def _json(reading: Reading, where: tuple[str, ...], config: Mapping[str, Any]) -> bytes:
    """The extension's own table, canonical: what its keys mean is its own affair."""
    try:
        return orjson.dumps(config, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise reading.error(where, "Config", f"cannot be passed on: {error}") from error


def _acme(reading: Reading, table: Mapping[str, Any]) -> AcmeSettings:
    return AcmeSettings(**reading.values(table, ("ACME",), ACME).fields(ACME))


def _host_policies(reading: Reading, tables: Iterable[Mapping[str, Any]]) -> tuple[HostPolicy, ...]:
    policies = []
    for reading.number, table in enumerate(tables, 1):
        policies.append(_host_policy(reading, table))
    reading.number = 1
    return tuple(policies)


def _host_policy(reading: Reading, table: Mapping[str, Any]) -> HostPolicy:
    fields = reading.values(table, ("HostPolicy",), HOST_POLICY).fields(HOST_POLICY)
    hosts = tuple(_policy_host(reading, host) for host in fields.pop("hosts"))
    if not hosts:
        raise reading.error((), "HostPolicy", "needs Hosts: names, *.example.org, or *")
    if not any(fields.values()):
        raise reading.error((), "HostPolicy", "needs Stacks, Services or Networks: who may claim the hosts")
    return HostPolicy(hosts, **fields)


def _policy_host(reading: Reading, text: str) -> str:
    host = "*" if text == "*" else parse_host(text)
    if isinstance(host, Bad):
        raise reading.error(("HostPolicy",), "Hosts", f"{text!r} {host.message}")
    return host
