"""The contents of secrets in the sidecar: fetched, checked, told of, and kept for the next start.

An update of the mirror says which secrets are needed. What arrives touches exactly what needs it. HAProxy gets what
is there; no revision waits for what is missing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from haproxy import expiry, state
from haproxy.capabilities import Capabilities
from haproxy.credentials import KEY_BYTES
from haproxy.fetch import Fetcher
from haproxy.kept import Kept
from haproxy.material import Lack, Material, stores_of
from haproxy.mirror import Mirror, Touched
from haproxy.routes import sni_host
from haproxy.settings import Settings
from haproxy.tls import ANY, NO_STORES, Stores
from haproxy.uses import Part, User, Uses
from haproxy.vault import Vault
from haproxy.work import Work
from l7.kit import logs
from l7.kit.metrics import Metrics
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb

log = logs.get("contents")

PATIENCE = 5.0
"""Seconds that a content may take before it is told that it is missing."""
SAVE_PAUSE = 0.2
"""Seconds in which changes are saved together."""
LONGEST_COMMAND = 300
"""Bytes of a command besides its PEM, at the most that names come to."""
LONGEST_PAUSE = 86_400.0
"""Seconds between two looks at how long certificates last: clocks of machines are set."""


class Contents:
    """`changed` is told what the reconciler has to look at; `told`, that there may be other problems."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        mirror: Mirror,
        metrics: Metrics,
        changed: Callable[[Work], None],
        told: Callable[[], None],
    ) -> None:
        self._mirror = mirror
        self._metrics = metrics
        self._changed = changed
        self._told = told
        self.kept = Kept(settings)
        self.vault = Vault(settings.file("secrets"))
        limit = capabilities.payload_limit - LONGEST_COMMAND
        self.material = Material(
            settings, limit, self.vault.get, lambda: self.kept.stores, self.kept.stores, key=_key(settings)
        )
        self._uses = Uses()
        self._fetcher: Fetcher | None = None
        self._fallback: tuple[str, ...] = ()
        self._since: dict[str, float] = {}
        self._complete = asyncio.Event()
        self._complete.set()
        self._late: asyncio.TimerHandle | None = None
        self._stages: asyncio.TimerHandle | None = None
        self._said: dict[str, tuple[float, int | None]] = {}
        self._first = True
        self._saving: asyncio.TimerHandle | None = None
        files = self.kept.stores
        self._taken = {**files.certificates, **files.authorities, **files.identities}
        self._entries = {entry.host: entry for entry in files.entries}

    async def run(
        self, stop: asyncio.Event, tls: NewestFiles | None, cluster: str, fallback: tuple[str, ...] = ()
    ) -> None:
        """Fetch what is missing, until `stop` is set or cancelled. `fallback`: who is asked after those that core
        names, "address:port"."""
        self._fallback = fallback
        self._fetcher = Fetcher(self.vault, tls, cluster, self._arrived)
        self._want()
        await self._fetcher.run(stop)

    def close(self) -> None:
        for timer in (self._late, self._stages):
            if timer is not None:
                timer.cancel()
        if self._saving is not None:
            self._saving.cancel()
            self._save()

    # -------------------------------------------------------------- what changes

    def update(self, touched: Touched) -> None:
        """The mirror has changed; the reconciler is told of the rest by whoever tells us."""
        first, self._first = self._first, False
        others = self._uses.update(touched, self._mirror)
        if others or first:
            ids = frozenset(self._uses.ids)
            self.vault.keep(ids)
            self.material.retain(ids)
        if others or touched.sources:
            self._want()
        self._look(_users(touched))
        self.material.before = NO_STORES
        if first:
            self.stored((), lambda name: False)

    def _want(self) -> None:
        if self._fetcher is not None:
            self._fetcher.want(frozenset(self._uses.ids), (*self._mirror.secret_sources, *self._fallback))

    def _arrived(self, ids: frozenset[str]) -> None:
        touched = self._uses.touched(ids)
        self._look(_users(touched))
        hosts = set(map(sni_host, touched.tls_hosts))
        self._changed(Work(set(touched.backends), hosts, set(touched.rules)))

    def _look(self, users: Iterable[User]) -> None:
        users = list(users)
        if not users:
            return
        names = self.material.look(users, self._mirror, time.time())
        if names:
            self._changed(Work(stores=names))
        self._await()
        self._watch([key for part, key in users if part is Part.HOST])
        self._told()

    # -------------------------------------------------------------- what HAProxy has (worker.Keeper)

    @property
    def wanted(self) -> Stores:
        """All that is to be had now."""
        return self.material.stores

    def accepted(self) -> Stores:
        """What HAProxy has taken, the last that is known, and the default certificate, which comes by a reload."""
        pem, entries = dict(self._taken), dict(self._entries)
        entries.pop(ANY, None)
        if (default := self.material.entries.get(ANY)) is not None:
            entries[ANY] = default
            pem[default.store] = self.material.pem[default.store]
        return stores_of(self.material.settings, pem, entries, self.material.credentials)

    async def complete(self) -> None:
        """Returns when nothing is missing but what had its time to come (`PATIENCE`)."""
        await self._complete.wait()

    def written(self, stores: Stores) -> None:
        """HAProxy starts from these: what it took before is not written over them while it reads."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        self.kept.written(stores)

    def stored(self, names: Collection[str], holds: Callable[[str], bool]) -> None:
        """HAProxy may have taken these stores. `holds`: whether it has what is wanted of it. Of what is not wanted
        nothing is kept, whether HAProxy still has it or not."""
        pem, entries = self.material.pem, {each.store: each for each in self.material.entries.values()}
        self._taken = {name: each for name, each in self._taken.items() if name in pem}
        self._entries = {host: each for host, each in self._entries.items() if each.store in pem}
        for name in names:
            if name in pem and holds(name):
                self._taken[name] = pem[name]
                if (entry := entries.get(name)) is not None:
                    self._entries[entry.host] = entry
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SAVE_PAUSE, self._save)

    def _save(self) -> None:
        self._saving = None
        self.kept.save(self.accepted())

    # -------------------------------------------------------------- what is told

    @property
    def problems(self) -> list[pb.Problem]:
        """Sorted, each once: the same on every proxy."""
        now = time.monotonic()
        late = (lack for lack in self.material.lacks if now - self._since.get(lack.secret.id, now) >= PATIENCE)
        found = [*self.material.problems, *map(_late, late)]
        unique = {(each.service, each.label, each.message, each.remedy): each for each in found}
        return [unique[key] for key in sorted(unique)]

    @property
    def status(self) -> dict[str, Any]:
        """For /status: hosts, and how long their certificates last."""
        ends = {host: each.not_after for host, each in sorted(self.material.certificates.items())}
        return {host: {"not_after": datetime.fromtimestamp(end, UTC).isoformat()} for host, end in ends.items()}

    def _await(self) -> None:
        """What is missing for long is a problem."""
        now = time.monotonic()
        missing = {lack.secret.id for lack in self.material.lacks}
        self._since = {each: self._since.get(each, now) for each in missing}
        times = [since + PATIENCE for since in self._since.values() if since + PATIENCE > now]
        if times:
            self._complete.clear()
        else:
            self._complete.set()
        if self._late is not None:
            self._late.cancel()
        later = asyncio.get_running_loop().call_later
        self._late = later(min(times) - now, self._is_late) if times else None

    def _is_late(self) -> None:
        self._await()
        self._told()

    # -------------------------------------------------------------- how long certificates last

    def _watch(self, hosts: Collection[str]) -> None:
        """Note the ends of these hosts' certificates, and look again when one comes to another stage."""
        for host in hosts:
            certificate = self.material.certificates.get(host)
            if certificate is None:
                self._metrics.forget_certificate(host)
                self._said.pop(host, None)
            else:
                self._metrics.certificates.labels(host).set(certificate.not_after)
                self._say(host, certificate.not_after)
        ends = (each.not_after for host in hosts if (each := self.material.certificates.get(host)) is not None)
        following = expiry.next_stage(ends, time.time())
        if following is not None:
            self._look_at(following)

    def _look_at(self, when: float) -> None:
        """Look at all of them at this Unix time at the latest."""
        loop = asyncio.get_running_loop()
        due = loop.time() + min(when - time.time(), LONGEST_PAUSE)
        if self._stages is None or due < self._stages.when():
            if self._stages is not None:
                self._stages.cancel()
            self._stages = loop.call_at(due, self._another_stage)

    def _another_stage(self) -> None:
        self._stages = None
        self._look(self.material.due(time.time()))
        self._watch(list(self.material.certificates))

    def _say(self, host: str, not_after: float) -> None:
        """Once for each stage of each certificate."""
        stage = self.material.stage(host)
        if stage is not None and self._said.get(host) != (not_after, stage):
            log.warning("certificate", host=host, end=expiry.in_words(stage, not_after))
        self._said[host] = (not_after, stage)


def _users(touched: Touched) -> list[User]:
    return [
        *((Part.HOST, host) for host in touched.tls_hosts),
        *((Part.RULES, name) for name in touched.rules),
        *((Part.BACKEND, key) for key in touched.backends),
    ]


def _late(lack: Lack) -> pb.Problem:
    kind = "config" if lack.secret.config else "secret"
    return pb.Problem(
        service=lack.service,
        label=lack.label,
        message=f"the content of {kind} {lack.secret.name} has not arrived from the extension service",
        remedy="see that the extension service of this cluster runs: docker service ps <its name>",
    )


def _key(settings: Settings) -> bytes:
    """Of the HMAC of passwords: made once, and never said to anybody but HAProxy."""
    path = Path(settings.file("auth.key"))
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) != KEY_BYTES:
        found = secrets.token_bytes(KEY_BYTES)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.write(path, found)
    return found
