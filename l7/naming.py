"""Names of secrets and configs in labels → Swarm's ids. Pure.

A name is looked up as it is written, then as `docker stack deploy` would have made it: `<stack>_<name>`. What was
looked for is noted, found or not, so that a service is compiled again when one of these comes, goes or changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from l7.fragment import NO_TLS, TlsClaim
from l7.issued import Issued, issued, newest
from l7.labels.grammar import printable
from l7.labels.spec import RouteSpec, TlsSpec
from l7.labels.table import PREFIX
from l7.model import KeyPair, Problem, Secret, StoredSecret

OWN = ("com.docker.l7", "pki")
"""The label of the secrets of the installation itself."""

_OF_HOSTS = (PREFIX + "ssl_cert", PREFIX + "ssl_key")
_OF_TASKS = (PREFIX + "ssl_backend_cert", PREFIX + "ssl_backend_key")
_NAMED = 3


def host_need(host: str) -> str:
    """What a service is noted for that waits for, or has, a host's certificate from an ACME server. No secret can
    have such a name."""
    return f"@{host}"


class IssuedCertificates:
    """The certificates from an ACME server that there are, by host."""

    def __init__(self) -> None:
        self._by_name: dict[str, Issued] = {}
        self._by_host: dict[str, dict[str, Issued]] = {}

    def update(self, secrets: Mapping[str, StoredSecret], name: str) -> set[str]:
        """Look at the secret of this name anew; the hosts that this concerns."""
        secret = secrets.get(name)
        old, new = self._by_name.get(name), issued(secret) if secret else None
        if old == new:
            return set()
        if old is not None:
            del self._by_name[name]
            del self._by_host[old.host][name]
            if not self._by_host[old.host]:
                del self._by_host[old.host]
        if new is not None:
            self._by_name[name] = new
            self._by_host.setdefault(new.host, {})[name] = new
        return {each.host for each in (old, new) if each is not None}

    @property
    def names(self) -> frozenset[str]:
        """Of their secrets."""
        return frozenset(self._by_name)

    def of(self, host: str) -> Issued | None:
        """The one that is valid for the longest time."""
        return newest(self._by_host.get(host, {}).values()).get(host)


@dataclass(slots=True)
class Lookup:
    """Finds what a service of `stack` names. `needs`: all that it looked for."""

    secrets: Mapping[str, StoredSecret]
    configs: Mapping[str, StoredSecret]
    certificates: IssuedCertificates
    stack: str = ""
    needs: set[str] = field(default_factory=set)

    def find(self, key: str, name: str, *, config: bool = False, fatal: bool = True) -> Secret | Problem:
        """The secret of this name; with `config`, else the config. `key`: the label that names it."""
        names = (name, f"{self.stack}_{name}") if self.stack else (name,)
        self.needs.update(names)
        tables = (self.secrets, self.configs) if config else (self.secrets,)
        stored = next((table[each] for table in tables for each in names if each in table), None)
        shown = printable(name)
        if stored is None:
            what = "secret and no config" if config else "secret"
            remedy = f"create it (docker secret create {shown} FILE), or name one that is there"
            return Problem("", key, shown, f"is no {what} of this Swarm", remedy, fatal=fatal)
        if OWN in stored.labels:
            message, remedy = "is a secret of l7 itself", "name one of the application's own"
            return Problem("", key, shown, message, remedy, fatal=fatal)
        return Secret(stored.id, stored.name, stored.config)

    def pair(
        self, keys: tuple[str, str], names: tuple[str, str], *, fatal: bool = False
    ) -> KeyPair | list[Problem]:
        """Certificate and private key, whose name is "" when it stands in the certificate."""
        found = self.find(keys[0], names[0], fatal=fatal)
        private = self.find(keys[1], names[1], fatal=fatal) if names[1] else None
        if isinstance(found, Problem) or isinstance(private, Problem):
            return [each for each in (found, private) if isinstance(each, Problem)]
        return KeyPair(found, private)

    def issued(self, host: str) -> KeyPair | None:
        """What an ACME server made for this host."""
        self.needs.add(host_need(host))
        found = self.certificates.of(host)
        return KeyPair(Secret(found.id, found.name)) if found else None


# ---------------------------------------------------------------- what a service's labels name


@dataclass(frozen=True, slots=True)
class Resolved:
    """A specification with ids in it instead of names, and what it has of TLS."""

    spec: RouteSpec
    tls: TlsClaim = NO_TLS
    problems: tuple[Problem, ...] = ()


def _wanted(spec: RouteSpec) -> tuple[str, ...]:
    """Hosts for which a certificate from an ACME server is asked for."""
    wants = spec.tls.acme and not spec.tls.certificate
    return tuple(host for host in spec.hosts if not host.startswith("*")) if wants else ()


def resolve(spec: RouteSpec, lookup: Lookup, before: RouteSpec | None = None, *, acme: bool = True) -> Resolved:
    """What the labels name. `before`: what the service's previous labels asked for, whose certificates stay where
    there is none yet. `acme`: there is a server to get them from."""
    if spec.tls == TlsSpec() or spec.tls.passthrough:
        return Resolved(spec)
    spec, problems = _settings(spec, lookup)
    certificates, missing = _certificates(spec, lookup)
    ordered = _wanted(spec)
    waiting = tuple(host for host in ordered if host not in certificates)
    if waiting and not acme:
        missing.append(_no_server())
    kept = _kept(spec, certificates, lookup, before) if missing or waiting else {}
    held = f"; meanwhile the previous certificate stays in use for {_listed(kept)}" if kept else ""
    problems.extend(replace(each, message=each.message + held) for each in missing)
    authority = (
        lookup.find(PREFIX + "ssl_client_ca", spec.tls.client_ca, config=True) if spec.tls.client_ca else None
    )
    if isinstance(authority, Problem):
        problems.append(authority)
        authority = None
    certificates |= kept
    orders = (ordered, waiting) if acme else ((), ())
    tls = TlsClaim(tuple(sorted(certificates.items())), *orders, spec.tls.client, authority)
    return Resolved(spec, tls, tuple(problems))


def _settings(spec: RouteSpec, lookup: Lookup) -> tuple[RouteSpec, list[Problem]]:
    """With passwords, and with what is needed to speak to the tasks."""
    asked, problems = spec.tls, list[Problem]()
    if asked.backend_ca:
        authority = lookup.find(PREFIX + "ssl_backend_ca", asked.backend_ca, config=True)
        if isinstance(authority, Problem):
            problems.append(authority)
        else:
            spec = replace(spec, server=replace(spec.server, tls_ca=authority))
    if asked.backend_certificate:
        pair = lookup.pair(_OF_TASKS, (asked.backend_certificate, asked.backend_key), fatal=True)
        if isinstance(pair, KeyPair):
            spec = replace(spec, server=replace(spec.server, tls_certificate=pair))
        else:
            problems.extend(pair)
    if asked.basic_auth:
        users = lookup.find(PREFIX + "basic_auth", asked.basic_auth)
        if isinstance(users, Problem):
            problems.append(users)
        else:
            spec = replace(spec, rules=replace(spec.rules, basic_auth=users))
    return spec, problems


def _certificates(spec: RouteSpec, lookup: Lookup) -> tuple[dict[str, KeyPair], list[Problem]]:
    """By host, and why there are not those that were named."""
    if spec.tls.certificate:
        named = lookup.pair(_OF_HOSTS, (spec.tls.certificate, spec.tls.key))
        return (dict.fromkeys(spec.hosts, named), []) if isinstance(named, KeyPair) else ({}, named)
    return {host: pair for host in _wanted(spec) if (pair := lookup.issued(host))}, []


def _no_server() -> Problem:
    message = "has no effect: the settings have no ACME server"
    remedy = "add the table [ACME] to the settings, or name a certificate by ssl_cert"
    return Problem("", PREFIX + "acme", "true", message, remedy, fatal=False)


def _kept(
    spec: RouteSpec, certificates: Mapping[str, KeyPair], lookup: Lookup, before: RouteSpec | None
) -> dict[str, KeyPair]:
    """The certificates of the labels of before, for hosts that have none by those of now."""
    if before is None:
        return {}
    earlier, _ = _certificates(before, lookup)
    return {host: earlier[host] for host in spec.hosts if host in earlier and host not in certificates}


def _listed(hosts: Iterable[str]) -> str:
    names = sorted(hosts)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
