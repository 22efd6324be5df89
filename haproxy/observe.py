"""Reads back what HAProxy itself says: the whole at start and in audits, a backend or a row after each change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePath

from haproxy.health import Change
from haproxy.model import CrtListRow, StoredCertificate
from haproxy.observation import OWNED_MAPS, Observation
from haproxy.ops import AddCrtListEntry, AddMapRow, DeleteCrtListEntry, DeleteMapRow, Op, SetMapRow, TlsOp
from haproxy.runtime.client import Runtime
from haproxy.servers import Differing, Servers
from haproxy.settings import BACKENDS_MAP, CERTIFICATES_LIST, Settings
from haproxy.stores import SeenStores, by_store, is_authority, open_transactions
from haproxy.tables import owner_of
from l7.fastpath import Health
from l7.kit.errors import Rejected

FEW_ROWS = 50
"""Up to here, rows of a map are read one by one; beyond, the whole map is cheaper."""


def read_servers(
    runtime: Runtime, servers: Servers, also: Callable[[bytes], None] = lambda chunk: None
) -> Differing:
    """Every backend of HAProxy with its servers, into `servers`; `also` gets the same dump."""
    names = runtime.backends()
    for chunk in runtime.stream_servers_state():
        servers.feed(chunk)
        also(chunk)
    return servers.end(names)


def look(runtime: Runtime, servers: Servers, health: Health) -> tuple[Differing, list[Change]]:
    """As `read_servers`; and of which servers the verdict is another than at the last look."""
    health.begin()
    differing = read_servers(runtime, servers, partial(health.feed, 0))
    return differing, health.end()


def read_all(runtime: Runtime, settings: Settings, servers: Servers) -> Observation:
    """Everything but the servers, which `servers` has: for the start and for audits."""
    seen = Observation(servers, dict(runtime.map_rows(settings.file(BACKENDS_MAP))))
    for file in OWNED_MAPS:
        table = seen.table(file)
        for key, value in runtime.map_rows(settings.file(file)):
            table.setdefault(owner_of(file, key), {})[key] = value
    seen.stores = read_all_stores(runtime, settings)
    return seen


def read_all_stores(runtime: Runtime, settings: Settings) -> SeenStores:
    """What they hold is not known of any: that can't be asked."""
    certificates, authorities = runtime.certificates(), runtime.authorities()
    return SeenStores(
        {name: _unused(each) for name, each in certificates.stores.items()},
        dict(authorities.stores),
        by_store(_rows(runtime, settings)),
        transactions=open_transactions(certificates.transaction, authorities.transaction),
    )


def _unused(certificate: StoredCertificate) -> StoredCertificate:
    """Servers come and go, and nobody reads this again for them."""
    return replace(certificate, used=False)


def _rows(runtime: Runtime, settings: Settings) -> tuple[CrtListRow, ...]:
    return runtime.crt_list(settings.file(CERTIFICATES_LIST)) if settings.tls_bind else ()


def read_stores(runtime: Runtime, settings: Settings, seen: Observation, ops: Iterable[Op]) -> None:
    """Refresh `seen` for the stores that these ops were about."""
    tls = [op for op in ops if isinstance(op, TlsOp)]
    names = {op.store for op in tls}
    authorities = {name for name in names if is_authority(settings, name)}
    if certificates := sorted(names - authorities):
        found = runtime.certificates_of(certificates)
        for name in certificates:
            seen.stores.certificates.pop(name, None)
        seen.stores.certificates |= {name: _unused(each) for name, each in found.items()}
    if authorities:
        seen.stores.authorities = dict(runtime.authorities().stores)
    if any(isinstance(op, AddCrtListEntry | DeleteCrtListEntry) for op in tls):
        seen.stores.rows = by_store(_rows(runtime, settings))


def read_backends(
    runtime: Runtime,
    settings: Settings,
    seen: Observation,
    servers: Servers,
    homes: Mapping[str, str],
    ops: Iterable[Op],
) -> None:
    """Refresh `seen` for some logical backends: the servers of where they live (`homes`), and their rows, as far as
    these ops were about them: mostly a task comes or goes, and the backend stays where it is."""
    file = settings.file(BACKENDS_MAP)
    for name in homes.keys() & set(_keys(ops)[BACKENDS_MAP]):
        physical = runtime.get_map_row(file, name)
        if physical is None:
            seen.placement.pop(name, None)
        else:
            seen.placement[name] = physical
    for home in homes.values():
        _read_backend(runtime, servers, home)


def _read_backend(runtime: Runtime, servers: Servers, physical: str) -> None:
    try:
        for chunk in runtime.stream_servers_state(physical):
            servers.feed(chunk)
    except Rejected:  # no such backend: what the last plan wanted, or will make
        servers.gone(physical)
    else:
        servers.end_of(physical)


def read_rows(runtime: Runtime, settings: Settings, seen: Observation, ops: Iterable[Op]) -> None:
    """Refresh `seen` for the rows that these ops were about, those of backends.map apart."""
    keys = _keys(ops)
    for file in keys.keys() - {BACKENDS_MAP}:
        _read_keys(runtime, settings, seen, file, keys[file])


def _keys(ops: Iterable[Op]) -> defaultdict[str, list[str]]:
    """Of rows, by file."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for op in ops:
        if isinstance(op, AddMapRow | SetMapRow | DeleteMapRow):
            keys[PurePath(op.map).name].append(op.key)
    return keys


def _read_keys(runtime: Runtime, settings: Settings, seen: Observation, file: str, keys: list[str]) -> None:
    path, table = settings.file(file), seen.table(file)
    rows = dict(runtime.map_rows(path)) if len(keys) > FEW_ROWS else None
    for key in keys:
        value = rows.get(key) if rows is not None else runtime.get_map_row(path, key)
        owner = owner_of(file, key)
        of_owner = table.setdefault(owner, {})
        if value is None:
            of_owner.pop(key, None)
        else:
            of_owner[key] = value
        if not of_owner:
            del table[owner]
