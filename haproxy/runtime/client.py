"""A blocking client of one HAProxy, for one thread: `Runtime` for the worker, `Master` for its master.

Foreign exceptions end here: whatever `requests` raises becomes Unavailable or ProtocolError, with its cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import requests

from haproxy.capabilities import Capabilities, capabilities
from haproxy.model import CrtListRow, ServerRow, Stored, StoredCertificate
from haproxy.ops import Op
from haproxy.runtime import adapter, codec, dumps, framing, replies
from haproxy.runtime.dumps import Info, Process, StatKind, StatRow
from haproxy.runtime.replies import Refusal
from haproxy.servers import rows_of
from l7.kit.errors import ProtocolError, Rejected, Unavailable

OnCommand = Callable[[str, str, float], None]
"""Called per command: verb as `add server`; "ok", a refusal's reason or "error"; its share of seconds."""


def unix_url(path: str) -> str:
    """The URL of a worker's Runtime API at a unix socket."""
    return f"haproxy+unix://{quote(path, safe='')}/"


def master_url(path: str) -> str:
    """The URL of a master's socket."""
    return f"haproxy-master+unix://{quote(path, safe='')}/"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one op: done when `refusal` is None."""

    op: Op
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        return self.refusal is None


class Runtime:
    """A worker's Runtime API, with one connection for changes and one for reads.

    `timeout`: seconds, or (connect, read), as for `requests`. All calls raise Unavailable when HAProxy is
    down, slow or restarted, ProtocolError when its answer can't be read, Rejected when it refuses to show.
    After any of them: read back and plan again; nothing is repeated here.
    """

    def __init__(
        self, url: str, timeout: adapter.Timeout = (1.0, 5.0), on_command: OnCommand | None = None
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._on_command = on_command
        self._changes = adapter.session()
        self._reads = adapter.session()
        self._pid: int | None = None
        self._capabilities: Capabilities | None = None

    @property
    def pid(self) -> int | None:
        """The worker that is spoken to; None before the first answer. No other is, until `reopen`."""
        return self._pid

    def reopen(self) -> None:
        """Drops connections, worker and version: after every start or reload of HAProxy.

        Needed although the connections still work: they lead to the worker that was replaced.
        """
        self.close()
        self._pid = None
        self._capabilities = None

    def close(self) -> None:
        self._changes.close()
        self._reads.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ changes

    def apply(self, ops: Sequence[Op]) -> list[Result]:
        """Sends all, in order, in batches; a refusal stops nothing. One result per op.

        Raises ProtocolError, before anything is sent, for an op that can't be said. When Unavailable is
        raised, any number of the ops may have been carried out.
        """
        limit = self.capabilities().payload_limit if any(map(codec.has_payload, ops)) else codec.LINE_LIMIT
        lines = [codec.encode(op, limit) for op in ops]
        results: list[Result] = []
        for batch in codec.batches(lines):
            part = ops[len(results) : len(results) + codec.count_commands(batch)]
            results += self._apply_batch(part, batch)
        return results

    def _apply_batch(self, ops: Sequence[Op], batch: bytes) -> list[Result]:
        verbs = [codec.verb(op) for op in ops]
        begin = time.perf_counter()
        answers = self._ask(self._changes, batch, verbs)
        if len(answers) != len(ops):
            raise ProtocolError(f"{len(answers)} replies to {len(ops)} commands")
        results = [Result(op, replies.check(op, reply)) for op, reply in zip(ops, answers, strict=True)]
        self._count(verbs, [_outcome(result.refusal) for result in results], begin)
        return results

    def replace_map(self, file: str, rows: Iterable[tuple[str, str]]) -> None:
        """Gives a map exactly these rows, all at once: readers see the old map until the last command.

        Raises Rejected when HAProxy refuses; the map is then as before.
        """
        prepared = self._show(self._changes, codec.prepare_map(file), "prepare map")
        version = dumps.parse_new_version(prepared)
        loads = codec.load_map(file, version, rows, self.capabilities().payload_limit)
        try:
            for command in codec.batches(loads):
                self._expect_nothing(command, "add map")
        except (Rejected, ProtocolError):
            self._ask(self._changes, codec.clear_map(file, version), ["clear map"])
            raise
        self._expect_nothing(codec.commit_map(file, version), "commit map")

    def _expect_nothing(self, batch: bytes, verb: str) -> None:
        verbs = [verb] * codec.count_commands(batch)
        begin = time.perf_counter()
        refusals = [replies.refusal(reply) for reply in self._ask(self._changes, batch, verbs)]
        self._count(verbs, [_outcome(refused) for refused in refusals], begin)
        for refused in refusals:
            if refused is not None:
                raise Rejected(_first_line(batch), refused.text)

    # ------------------------------------------------------------ reads

    def servers_state(self, backend: str | None = None) -> tuple[ServerRow, ...]:
        """All servers, or those of one backend. One read of the whole is far cheaper than `stat`."""
        return rows_of(self.stream_servers_state(backend))

    def stream_servers_state(self, backend: str | None = None) -> Iterator[bytes]:
        """The same as HAProxy writes it, chunk by chunk as it arrives: for `haproxy.servers.Servers.feed`."""
        begin, outcome = time.perf_counter(), "error"
        command = codec.show_servers_state(backend)
        try:
            chunks = self.stream(command)
            head = _two_lines(chunks)
            if replies.is_refused_show(head.decode(errors="replace")):
                refused = replies.refusal((head + b"".join(chunks)).decode(errors="replace"))
                outcome = _outcome(refused)
                raise Rejected(_first_line(command), refused.text if refused else "")
            yield head
            yield from chunks
            outcome = "ok"
        finally:
            self._count(["show servers state"], [outcome], begin)

    def backends(self) -> tuple[str, ...]:
        """Names of the backends there are, with servers or without."""
        return dumps.parse_backends(self._show(self._reads, b"show backend\n", "show backend"))

    def map_rows(self, file: str) -> tuple[tuple[str, str], ...]:
        """(key, value) of each row, copies included. A key with a blank in it can't be told from its value."""
        return dumps.parse_map(self._show(self._reads, codec.show_map(file), "show map"))

    def get_map_row(self, file: str, key: str) -> str | None:
        """The value of exactly this key, None when it has no row (`get map` itself matches as a request would)."""
        row = dumps.parse_map_match(self._show(self._reads, codec.get_map(file, key), "get map"))
        return row[1] if row is not None and row[0] == key else None

    def certificates(self) -> Stored[StoredCertificate]:
        """All stores of certificates and keys, those of servers included."""
        names = dumps.parse_certificate_names(self._show(self._reads, codec.show_certificates(), "show ssl cert"))
        return Stored(self.certificates_of(names.stores), names.transaction)

    def certificates_of(self, stores: Iterable[str]) -> dict[str, StoredCertificate]:
        """These stores, as far as they exist."""
        wanted = list(stores)
        found: dict[str, StoredCertificate] = {}
        for batch in codec.batches(codec.show_certificate(store) for store in wanted):
            verbs = ["show ssl cert"] * codec.count_commands(batch)
            begin = time.perf_counter()
            answers = self._ask(self._reads, batch, verbs)
            self._count(verbs, ["ok"] * len(verbs), begin)
            found |= dumps.parse_certificates(answers)
        return found

    def authorities(self) -> Stored[int]:
        """How many certificates each store of CAs has."""
        return dumps.parse_authorities(self._show(self._reads, codec.show_authorities(), "show ssl ca-file"))

    def crt_list(self, file: str) -> tuple[CrtListRow, ...]:
        """Its lines, in order."""
        return dumps.parse_crt_list(self._show(self._reads, codec.show_crt_list(file), "show ssl crt-list"))

    def info(self) -> Info:
        """Version, pid, age; `stopping` says that a reload replaced the worker that this is connected to."""
        return dumps.parse_info(self._show(self._reads, b"show info\n", "show info"))

    def capabilities(self) -> Capabilities:
        """Of the running version, asked once. Raises Incompatible when it is too old."""
        if self._capabilities is None:
            self._capabilities = capabilities(self.info().version)
        return self._capabilities

    def stat(
        self, backend: str | None = None, kinds: StatKind = StatKind.BACKENDS | StatKind.SERVERS
    ) -> tuple[StatRow, ...]:
        """Counters of one backend or all. Of all servers at once only rarely: on 2.6 that stalls traffic."""
        return dumps.parse_stat(self._show(self._reads, codec.show_stat(backend, int(kinds)), "show stat"))

    def stream(self, command: bytes) -> Iterator[bytes]:
        """The reply to one command as it arrives, for dumps that are not to be held in memory."""
        try:
            with self._post(self._reads, command) as response:
                yield from response.iter_content(adapter.CHUNK)
        except requests.exceptions.RequestException as error:
            raise _mapped(error, command) from error

    # ------------------------------------------------------------ the session

    def _show(self, session: requests.Session, command: bytes, verb: str) -> str:
        begin = time.perf_counter()
        (reply,) = self._ask(session, command, [verb])
        refused = replies.refusal(reply) if replies.is_refused_show(reply) else None
        self._count([verb], [_outcome(refused)], begin)
        if refused is not None:
            raise Rejected(_first_line(command), refused.text)
        return reply

    def _ask(self, session: requests.Session, batch: bytes, verbs: Sequence[str]) -> list[str]:
        """The replies to a batch; counts its commands when there are none, else the caller does."""
        begin = time.perf_counter()
        try:
            with self._post(session, batch) as response:
                return framing.split(b"".join(response.iter_content(adapter.CHUNK)))
        except requests.exceptions.RequestException as error:
            self._count(verbs, ["error"] * len(verbs), begin)
            raise _mapped(error, batch) from error
        except ProtocolError:
            self._count(verbs, ["error"] * len(verbs), begin)
            raise

    def _count(self, verbs: Sequence[str], outcomes: Sequence[str], begin: float) -> None:
        if self._on_command is None:
            return
        share = (time.perf_counter() - begin) / len(verbs)
        for verb, outcome in zip(verbs, outcomes, strict=True):
            self._on_command(verb, outcome, share)

    def _post(self, session: requests.Session, batch: bytes) -> requests.Response:
        headers = {} if self._pid is None else {adapter.IF_WORKER_PID: str(self._pid)}
        response = session.post(self.url, data=batch, headers=headers, timeout=self._timeout, stream=True)
        if self._pid is None:
            self._pid = int(response.headers[adapter.WORKER_PID])
        return response


class Master:
    """The socket of a master process (`haproxy -W -S`). Errors as those of `Runtime`."""

    def __init__(self, url: str, timeout: adapter.Timeout = (1.0, 60.0)) -> None:
        self.url = url
        self._timeout = timeout
        self._session = adapter.session()

    def reload(self) -> bool:
        """Starts a new worker from the configuration file. True: HAProxy said that it took over.

        False: it closed without a word, as before 3.0; `workers` tells. Raises Rejected when the new
        configuration did not load; the old worker then goes on.
        """
        answer = self._ask(b"reload\n")
        if answer.startswith("Success=1"):
            return True
        if not answer.strip():
            return False
        alerts = [line for line in answer.splitlines() if line.startswith("[ALERT]")]
        raise Rejected("reload", "\n".join(alerts) or answer.strip())

    def workers(self) -> tuple[Process, ...]:
        """The workers, also those from before the last reload (`old`)."""
        return tuple(p for p in dumps.parse_processes(self._ask(b"show proc\n")) if p.kind == "worker")

    def close(self) -> None:
        self._session.close()

    def _ask(self, command: bytes) -> str:
        try:
            with self._session.post(self.url, data=command, timeout=self._timeout) as response:
                return response.content.decode()
        except requests.exceptions.RequestException as error:
            raise _mapped(error, command) from error
        except UnicodeDecodeError as error:
            raise ProtocolError(f"{_first_line(command)}: not UTF-8") from error


def _two_lines(chunks: Iterator[bytes]) -> bytes:
    """The beginning of a reply, which tells a refusal from a dump; all of one that is shorter."""
    head = b""
    while head.count(b"\n") < 2 and (chunk := next(chunks, b"")):
        head += chunk
    return head


def _outcome(refused: Refusal | None) -> str:
    return "ok" if refused is None else refused.reason.value


def _mapped(error: requests.exceptions.RequestException, batch: bytes) -> Unavailable | ProtocolError:
    what = f"{_first_line(batch)}: {error}"
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)):
        return Unavailable(what)
    return ProtocolError(what)


SAID_WORDS = 4
"""Of a command in an error: verb, file and key at the most, none of which is a secret. Values of rows may be."""


def _first_line(batch: bytes) -> str:
    words = batch.split(b"\n", 1)[0].decode(errors="replace").split(" ")
    return " ".join(words[:SAID_WORDS])
