"""`Table` in plain Python, written to be read: the compiled one has to agree with it in everything but speed."""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from l7.fastpath_pure.dump import Dump
from l7.fastpath_pure.rows import HOLD, PHASES, Command, There, Verb, Wanted, checked_name, verbs, wanted
from l7.fastpath_pure.wire import backends_of

Key = tuple[str, str]
Servers = dict[str, Wanted]

_KEYWORDS = re.compile(rb"[\x20-\x7e]*")


class Table:
    """Servers of a set of backends: what is wanted of each and what the proxy has, by (backend, server).

    A backend is ours from when it is wanted until nobody wants it and none of its servers is left. No command is
    given for any other, nor for a server `hold` that nobody wants.
    """

    def __init__(self) -> None:
        self._settings: dict[str, bytes] = {}
        self._want: dict[str, Servers] = {}
        self._have: dict[str, dict[str, There]] = {}
        self._keywords: dict[str, dict[int, str]] = {}
        self._ours: set[str] = set()
        self._dump: Dump | None = None
        self._told: set[Key] = set()
        self._sent: deque[Command] = deque()
        self._refused: set[Key] = set()
        self._broken: set[Key] = set()

    def __len__(self) -> int:
        """Servers that are wanted or there."""
        return sum(
            len(self._want.get(name, {}).keys() | self._have.get(name, {}).keys())
            for name in self._want.keys() | self._have.keys()
        )

    # -------------------------------------------------------------- what is wanted

    def ingest(self, chunks: Sequence[bytes]) -> list[str]:
        """The l7.v1.SyncResponse messages of one COMPLETE update, in order: exactly that is wanted then. Names of
        the backends (sorted) that differ from what was wanted before, new and gone ones included.

        Servers are named by their tasks. Messages of one backend add up; of two settings, or two servers of one
        name, the last counts. Settings are compared byte by byte, those that are absent are b"". Fields that say
        nothing of servers or settings are skipped, unread. ValueError, and nothing has changed, for what is no
        message, for an INCREMENTAL and for what HAProxy would not take as a server.
        """
        settings, want = _read(chunks)
        gone = self._settings.keys() - settings.keys()
        different = [
            name
            for name in settings.keys() | gone
            if self._settings.get(name) != settings.get(name) or self._want.get(name) != want.get(name)
        ]
        for name in different:
            self._put(name, settings.get(name), want.get(name, {}))
        return sorted(different)

    def upsert(  # noqa: PLR0913
        self, backend: str, server: str, id: int, address: str, port: int, weight: int, state: int,
        stop_in: int = 0, service: int = 0,
    ) -> bool:  # fmt: skip
        """A server is wanted like this, and so is its backend. Whether that differs from before. ValueError for
        what HAProxy would not take."""
        new = wanted(id, address, port, weight, state, stop_in, service)
        checked_name(backend)
        checked_name(server)
        if self._want.get(backend, {}).get(server) == new:
            return False
        self._put(backend, self._settings.get(backend, b""), {**self._want.get(backend, {}), server: new})
        return True

    def remove(self, backend: str, server: str) -> bool:
        """A server is not wanted any more; its backend still is. Whether it was."""
        servers = self._want.get(backend, {})
        if server not in servers:
            return False
        left = {name: want for name, want in servers.items() if name != server}
        self._put(backend, self._settings[backend], left)
        return True

    def settings(self, backend: str, content: bytes) -> bool:
        """A backend is wanted, with these settings. Whether that differs from before."""
        checked_name(backend)
        if self._settings.get(backend) == content:
            return False
        self._put(backend, bytes(content), self._want.get(backend, {}))
        return True

    def remove_backend(self, backend: str) -> bool:
        """A backend is not wanted any more, nor is any of its servers. Whether it was."""
        known = backend in self._settings
        self._put(backend, None, {})
        return known

    def keywords(self, backend: str, service: int, words: bytes) -> None:
        """What `add server` says after the weight for servers of a service, until the backend is not wanted any
        more. ValueError for a backend that is not wanted, and for what would end the command."""
        if backend not in self._settings or not 0 <= service <= 65535:
            raise ValueError(f"backend {backend!r} is not wanted, or {service} no index of a service")
        if b";" in words or b"<<" in words or not _KEYWORDS.fullmatch(words):
            raise ValueError(f"server keywords {words[:80]!r} would end the command")
        known = self._keywords.setdefault(backend, {})
        if known.get(service, "") != words.decode():
            known[service] = words.decode()
            self.retry(backend)

    def servers(self, backend: str) -> list[tuple[str, int, str, int, int, int, int, int]]:
        """The servers that are wanted, by name: name, id, address, port, weight, state, stop_in, service."""
        return [
            (name, w.id, str(w.address), w.port, w.weight, w.state, w.stop_in, w.service)
            for name, w in sorted(self._want.get(backend, {}).items())
        ]

    def settings_of(self, backend: str) -> bytes | None:
        """The settings that are wanted; None: the backend is not."""
        return self._settings.get(backend)

    def digests(self) -> dict[str, bytes]:
        """16 bytes for each backend that is wanted, of its settings and servers: the same for the same content."""
        return {name: _digest(self._settings[name], self._want.get(name, {})) for name in sorted(self._settings)}

    def _put(self, backend: str, settings: bytes | None, servers: Servers) -> None:
        """Settings None: it is not wanted."""
        before = self._want.pop(backend, {})
        if settings is None:
            self._settings.pop(backend, None)
            self._keywords.pop(backend, None)
        else:
            self._settings[backend] = settings
            self._ours.add(backend)
        if servers:
            self._want[backend] = servers
        for name in before.keys() | servers.keys():
            if before.get(name) != servers.get(name):
                self._refused.discard((backend, name))
        self._forget()

    # -------------------------------------------------------------- what the proxy has

    def feed(self, chunk: bytes) -> None:
        """Part of `show servers state`, of all backends or of one; any size. The first one after `end` begins a new
        dump. What can't be read is said by `end`."""
        if self._dump is None:
            self._dump = Dump()
        self._dump.feed(chunk)

    def end(self, backend: str | None = None) -> list[tuple[str, int]]:
        """The dump is whole: that is what the proxy has. `backend`: of that one, and it was that one's alone.

        Names of the backends (sorted) that differ from what was known, each with the number of servers in which
        what only a command changes differs (come, gone, id, address, port, weight, admin state): 0 when checks
        alone changed something. A server that a command has changed meanwhile stays as that left it, whatever the
        dump says; one that the dump changes is left alone until all that was sent of it is answered. ValueError,
        and what was known stays, when the dump can't be read or was not whole.
        """
        dump, told = self._dump, self._told
        self._dump, self._told = None, set()
        try:
            found = self._take(dump, told, backend)
        finally:
            self._forget()
        return found

    def _take(self, dump: Dump | None, told: set[Key], backend: str | None) -> list[tuple[str, int]]:
        if dump is None or not dump.whole:
            raise ValueError((dump.error if dump else "") or "the dump is not whole")
        if backend is not None and dump.rows.keys() - {backend}:
            raise ValueError(f"the dump is not of backend {backend!r} alone")
        names = [backend] if backend is not None else sorted(dump.rows.keys() | self._have.keys())
        found = []
        for name in names:
            before, now = self._have.pop(name, {}), dump.rows.get(name, {})
            now = _outdated(now, before, {server for of, server in told if of == name})
            if now:
                self._have[name] = now
            if before != now:
                found.append((name, _commanded(before, now)))
                changed = {(name, server) for server in before | now if before.get(server) != now.get(server)}
                self._broken |= changed & {command.key for command in self._sent}
        self.retry(backend)
        return found

    def rows(self, backend: str) -> list[tuple[str, int, str, int, int, int, int, int]]:
        """The servers that the proxy has, by name: name, srv_id, srv_addr, srv_port, srv_uweight, srv_admin_state,
        srv_op_state, srv_check_state (but whether a check is under way). Addresses in their shortest form."""
        return [
            (name, h.id, str(h.address or "-"), h.port, h.weight, h.admin, h.op, h.check)
            for name, h in sorted(self._have.get(backend, {}).items())
        ]

    # -------------------------------------------------------------- from one to the other

    def commands(self, limit: int = 65536) -> bytes:
        """The next lines of Runtime API text, up to `limit` bytes, but one line at least; b"" when nothing is left
        that was not sent. Each has to be answered by `ack` or `nack`, in order."""
        lines: list[bytes] = []
        size = 0
        for command in self._commands():
            size += len(command.line)
            if lines and size > limit:
                break
            lines.append(command.line)
            self._sent.append(command)
        return b"".join(lines)

    def pending(self) -> list[tuple[str, str, str]]:
        """What `commands` would say, in order: verb, backend, server. Backends by name, in each first what opens,
        then what closes, and servers by name."""
        return [(command.verb.value, command.backend, command.server) for command in self._commands()]

    def ack(self, count: int = 1) -> None:
        """HAProxy did the oldest `count` commands that were sent: only now is it so. ValueError for more than were
        sent."""
        if not 0 <= count <= len(self._sent):
            raise ValueError(f"{len(self._sent)} commands wait for an answer, not {count}")
        for _ in range(count):
            command = self._sent.popleft()
            servers = self._have.setdefault(command.backend, {})
            now = command.result(servers.pop(command.server, None))
            if now is not None:
                servers[command.server] = now
            if not servers:
                del self._have[command.backend]
            if self._dump is not None:
                self._told.add(command.key)
            self._answered(command.key)

    def nack(self) -> None:
        """HAProxy refused the oldest command: what there is stays as it was. Its server is left alone until all
        that was sent of it is answered, and then until `retry`, a change of what is wanted of it, or another dump.
        ValueError when nothing was sent."""
        if not self._sent:
            raise ValueError("no command waits for an answer")
        key = self._sent.popleft().key
        self._refused.add(key)
        self._broken.add(key)
        self._answered(key)

    def retry(self, backend: str | None = None) -> None:
        """What was refused (of one backend, or of all) may be sent again."""
        self._refused = {key for key in self._refused if backend is not None and key[0] != backend}

    def _answered(self, key: Key) -> None:
        if all(command.key != key for command in self._sent):
            self._broken.discard(key)
        self._forget()

    def _commands(self) -> Iterable[Command]:
        """Planned from what will be there once all that was sent is done. A server that is being deleted has to
        wait: if HAProxy refuses that, what would follow would be said of the old one."""
        waiting = {command.key for command in self._sent if command.verb is Verb.DELETE}
        waiting |= self._refused | self._broken
        after: dict[Key, There | None] = {}
        for command in self._sent:
            before = after[command.key] if command.key in after else self._there(command.key)
            after[command.key] = command.result(before)
        for backend in sorted(self._ours):
            yield from self._of_backend(backend, waiting, after)

    def _of_backend(self, backend: str, waiting: set[Key], after: dict[Key, There | None]) -> list[Command]:
        want = self._want.get(backend, {})
        names = want.keys() | self._have.get(backend, {}).keys() | {name for of, name in after if of == backend}
        todo = {}
        for name in sorted(names):
            key = (backend, name)
            if key not in waiting and not (name == HOLD and name not in want):
                todo[name] = verbs(want.get(name), after[key] if key in after else self._there(key))
        return [
            Command(verb, backend, name, want.get(name), self._words(backend, want.get(name)))
            for phase in PHASES
            for name, of in todo.items()
            for verb in phase
            if verb in of
        ]

    def _there(self, key: Key) -> There | None:
        return self._have.get(key[0], {}).get(key[1])

    def _words(self, backend: str, want: Wanted | None) -> str:
        return self._keywords.get(backend, {}).get(want.service, "") if want is not None else ""

    def _forget(self) -> None:
        """A backend is ours no longer when nobody wants it and nothing of it is left, or on its way."""
        sent = {command.backend for command in self._sent}
        dumped = set(self._dump.rows) if self._dump is not None else set()
        told = {backend for backend, _ in self._told}
        self._ours &= self._settings.keys() | self._have.keys() | sent | dumped | told


def _read(chunks: Sequence[bytes]) -> tuple[dict[str, bytes], dict[str, Servers]]:
    """Settings and servers by backend, checked."""
    settings: dict[str, bytes] = {}
    want: dict[str, Servers] = {}
    for backend in backends_of(chunks):
        checked_name(backend.name)
        settings.setdefault(backend.name, b"")
        if backend.settings is not None:
            settings[backend.name] = backend.settings
        for task, *fields in backend.servers:
            want.setdefault(backend.name, {})[checked_name(task)] = wanted(*fields)  # type: ignore[arg-type]
    return settings, want


def _outdated(now: dict[str, There], before: dict[str, There], told: set[str]) -> dict[str, There]:
    """The rows of a dump, but of the servers that were told something while it arrived what that made of them."""
    kept = {name: row for name, row in before.items() if name in told}
    return {name: row for name, row in now.items() if name not in told} | kept


def _commanded(before: dict[str, There], now: dict[str, There]) -> int:
    both = before.keys() & now.keys()
    return len(before.keys() ^ now.keys()) + sum(before[name].commanded != now[name].commanded for name in both)


_PACKED = struct.Struct("<16sIIHHHBB")


def _digest(settings: bytes, servers: Servers) -> bytes:
    """Of lengths and contents, so that no two contents are the same bytes. An IPv4 address is text, and the last
    byte its length; 6 is that of an IPv6 address."""
    parts = [struct.pack("<I", len(settings)), settings]
    for name, w in sorted(servers.items()):
        text = w.address.version == 4
        address = str(w.address).encode() if text else w.address.packed
        form = len(address) if text else 6
        fields = (w.id, w.stop_in, w.port, w.weight, w.service, w.state, form)
        parts += [struct.pack("<H", len(name)), name.encode(), _PACKED.pack(address, *fields)]
    return blake2b(b"".join(parts), digest_size=16).digest()
