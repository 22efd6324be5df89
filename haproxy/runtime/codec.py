"""The Runtime API's bytes: ops and other commands become lines, and these batches. No IO.

Spoken is the interactive mode (`prompt`), with one command per line and many lines in one write. Each line is
then answered by exactly one prompt, on every version (HAProxy management guide, section 9.3); blank lines are
no frame: before 3.0 several replies end without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeAlias

from haproxy import ops
from haproxy.ops import Op
from haproxy.runtime import tls
from l7.kit.errors import ProtocolError

LINE_LIMIT = 15_000
"""Bytes of a line. HAProxy takes bufsize (16384) less a few; beyond it some versions just close."""

BATCH_LINES = 100
"""More lines in one write save nothing further."""

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES = str.maketrans({c: "\\" + c for c in "\\ ;<"})  # `<`: a line that ends in << opens a payload
_OPENS_PAYLOAD = re.compile(rb"<<[^\s<]{0,7}$")
_SEPARATOR = re.compile(rb"(?<!\\)(?:\\\\)*;")


# ---------------------------------------------------------------- ops to lines


def encode(op: Op, payload_limit: int = LINE_LIMIT) -> bytes:
    """One line with its newline, and behind it the payload of the few that have one, to its empty line.

    `payload_limit`: bytes (`Capabilities.payload_limit`). Raises ProtocolError, which quotes no payload, for what
    can't be said safely.
    """
    match op:
        case ops.SetCertificate(store, pem) | ops.SetAuthority(store, pem):
            return _payload(f"{verb(op)} {tls.store(store)} <<", tls.pem_lines(pem), payload_limit)
        case ops.AddCrtListEntry():
            file, line = tls.entry_words(op)
            return _payload(f"{verb(op)} {file} <<", _line(line), LINE_LIMIT)
        case _:
            return _line(" ".join(_words(op)))


def has_payload(op: Op) -> bool:
    """Whether how much HAProxy takes at once depends on its version."""
    return isinstance(op, ops.SetCertificate | ops.SetAuthority)


def _payload(head: str, lines: bytes, limit: int) -> bytes:
    if len(lines) > limit:
        raise ProtocolError(f"{head}: {len(lines)} bytes are more than the {limit} that HAProxy takes")
    return _line(head) + lines + b"\n"


def verb(op: Op) -> str:
    """The command's name without its arguments, as `add server`: a label for metrics."""
    return _VERBS[type(op)]


_VERBS: dict[type[Op], str] = {
    ops.AddBackend: "add backend",
    ops.PublishBackend: "publish backend",
    ops.UnpublishBackend: "unpublish backend",
    ops.DeleteBackend: "del backend",
    ops.AddServer: "add server",
    ops.EnableServer: "set server state ready",
    ops.EnableHealth: "enable health",
    ops.DisableServer: "set server state maint",
    ops.SetWeight: "set server weight",
    ops.ShutdownSessions: "shutdown sessions server",
    ops.DeleteServer: "del server",
    ops.AddMapRow: "add map",
    ops.SetMapRow: "set map",
    ops.DeleteMapRow: "del map",
    ops.NewCertificate: "new ssl cert",
    ops.SetCertificate: "set ssl cert",
    ops.CommitCertificate: "commit ssl cert",
    ops.AbortCertificate: "abort ssl cert",
    ops.DeleteCertificate: "del ssl cert",
    ops.AddCrtListEntry: "add ssl crt-list",
    ops.DeleteCrtListEntry: "del ssl crt-list",
    ops.NewAuthority: "new ssl ca-file",
    ops.SetAuthority: "set ssl ca-file",
    ops.CommitAuthority: "commit ssl ca-file",
    ops.AbortAuthority: "abort ssl ca-file",
    ops.DeleteAuthority: "del ssl ca-file",
}


_ServerOp: TypeAlias = (
    ops.EnableServer
    | ops.EnableHealth
    | ops.DisableServer
    | ops.SetWeight
    | ops.ShutdownSessions
    | ops.DeleteServer
)


def _words(op: Op) -> Iterable[str]:
    match op:
        case ops.AddServer():
            return _add_server(op)
        case ops.AddBackend(backend, policy):
            return ("add backend", _name(backend), "from", _name(policy))
        case ops.PublishBackend(backend) | ops.UnpublishBackend(backend) | ops.DeleteBackend(backend):
            return (verb(op), _name(backend))
        case ops.AddMapRow(file, key, value) | ops.SetMapRow(file, key, value):
            return (verb(op), _file(file), _key(key), _word(value))
        case ops.DeleteMapRow(file, key):
            return (verb(op), _file(file), _key(key))
        case ops.DeleteCrtListEntry(file, store, line):
            return (verb(op), tls.store(file), f"{tls.store(store)}:{_number(line, 1, 2**31 - 1)}")
        case _ if not isinstance(op, _ServerOp):
            return (verb(op), tls.store(op.store))
        case _:
            return _server_words(op)


def _server_words(op: _ServerOp) -> Iterable[str]:
    server = f"{_name(op.backend)}/{_name(op.name)}"
    match op:
        case ops.EnableServer():
            return ("set server", server, "state ready")
        case ops.DisableServer():
            return ("set server", server, "state maint")
        case ops.SetWeight():
            return ("set server", server, "weight", _number(op.weight, 0, 256))
        case _:
            return (verb(op), server)


def _add_server(op: ops.AddServer) -> Iterable[str]:
    yield f"add server {_name(op.backend)}/{_name(op.name)} {_address(op.address, op.port)}"
    if op.id:
        yield f"id {_number(op.id, 1, 2**31 - 1)}"
    yield f"weight {_number(op.weight, 0, 256)}"
    for keyword in op.keywords:
        if ";" in keyword or "<<" in keyword:
            raise ProtocolError(f"server keyword {keyword!r} would end the command")
        yield keyword


def _name(text: str) -> str:
    """Names of backends, servers and policies: what HAProxy takes in all of them, and nothing to escape."""
    if not _NAME.fullmatch(text):
        raise ProtocolError(f"{text[:80]!r} is no name that HAProxy takes")
    return text


def _address(address: str, port: int) -> str:
    """An IP address and port: a host name would be accepted but never resolved."""
    try:
        ip = ip_address(address)
    except ValueError as error:
        raise ProtocolError(f"{address[:80]!r} is no IP address") from error
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    return f"{host}:{_number(port, 1, 65535)}"


def _number(value: int, low: int, high: int) -> str:
    if not low <= value <= high:
        raise ProtocolError(f"{value} is not within {low}..{high}")
    return str(int(value))


def _word(text: str) -> str:
    """One argument, escaped so that it arrives as it is."""
    if not text:
        raise ProtocolError("an argument can't be empty")
    if found := _CONTROL.search(text):
        raise ProtocolError(f"control character {found.group()!r} in {text[:80]!r}")
    return text.translate(_ESCAPES)


def _key(text: str) -> str:
    """A map's key: `del map` and `set map` would take a leading # as the address of a row."""
    if text.startswith("#"):
        raise ProtocolError(f"map key {text[:80]!r} begins with #")
    return _word(text)


def _file(path: str) -> str:
    """A map by its file: a leading @ would be a version, a leading # an id."""
    if not path.startswith("/"):
        raise ProtocolError(f"map {path[:80]!r} is not named by an absolute path")
    return _word(path)


def _line(text: str) -> bytes:
    if found := _CONTROL.search(text):
        raise ProtocolError(f"control character {found.group()!r} in {text[:80]!r}")
    line = _utf8(text)
    if len(line) > LINE_LIMIT:
        raise ProtocolError(f"a command of {len(line)} bytes is more than the {LINE_LIMIT} that HAProxy takes")
    return line + b"\n"


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{text[:80]!r} is not Unicode text") from error


# ---------------------------------------------------------------- other commands


def show_servers_state(backend: str | None) -> bytes:
    return _line("show servers state" + (f" {_name(backend)}" if backend is not None else ""))


def show_stat(backend: str | None, kinds: int) -> bytes:
    """`kinds`: sum of 1 frontends, 2 backends, 4 servers."""
    return _line(f"show stat {_name(backend) if backend is not None else -1} {kinds} -1")


def show_map(file: str) -> bytes:
    return _line(f"show map {_file(file)}")


def get_map(file: str, key: str) -> bytes:
    return _line(f"get map {_file(file)} {_word(key)}")


def show_certificates() -> bytes:
    return _line("show ssl cert")


def show_certificate(store: str) -> bytes:
    return _line(f"show ssl cert {tls.store(store)}")


def show_authorities() -> bytes:
    return _line("show ssl ca-file")


def show_crt_list(file: str) -> bytes:
    return _line(f"show ssl crt-list -n {tls.store(file)}")


def prepare_map(file: str) -> bytes:
    return _line(f"prepare map {_file(file)}")


def commit_map(file: str, version: int) -> bytes:
    return _line(f"commit map @{version} {_file(file)}")


def clear_map(file: str, version: int) -> bytes:
    """Forgets a version that was prepared and will not be committed."""
    return _line(f"clear map @{version} {_file(file)}")


def load_map(file: str, version: int, rows: Iterable[tuple[str, str]], limit: int) -> Iterator[bytes]:
    """Commands that add rows to a prepared version, each of at most `limit` bytes.

    Rows go by payload, where nothing is unescaped and the first blank ends the key; the few that can't be
    written so go one by one.
    """
    head = _line(f"add map @{version} {_file(file)} <<")
    chunk, size = [head], len(head) + 1
    for key, value in rows:
        if not _fits_payload(key, value):
            yield _line(f"add map @{version} {_file(file)} {_key(key)} {_word(value)}")
            continue
        row = _line(f"{key} {value}")
        if size + len(row) > limit and len(chunk) > 1:
            yield b"".join(chunk) + b"\n"
            chunk, size = [head], len(head) + 1
        chunk.append(row)
        size += len(row)
    if len(chunk) > 1:
        yield b"".join(chunk) + b"\n"


def _fits_payload(key: str, value: str) -> bool:
    return bool(key and value) and " " not in key and value == value.strip(" ") and not key.startswith("#")


# ---------------------------------------------------------------- batches


def batches(lines: Iterable[bytes], max_lines: int = BATCH_LINES, max_bytes: int = LINE_LIMIT) -> Iterator[bytes]:
    """Joins commands, in order, into writes that HAProxy takes in one go."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) >= max_lines or size + len(line) > max_bytes):
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield b"".join(batch)


def count_commands(batch: bytes) -> int:
    """How many replies a batch will have. Raises ProtocolError where versions would not agree on it."""
    if not batch.endswith(b"\n"):
        raise ProtocolError("a batch must end with a newline: HAProxy would wait for it")
    lines = iter(batch[:-1].split(b"\n"))
    count = 0
    for line in lines:
        count += 1
        if not line.strip():
            raise ProtocolError("a batch can't have an empty command")
        if _SEPARATOR.search(line):
            raise ProtocolError("one command per line: `;` has one reply or several, by version")
        if _OPENS_PAYLOAD.search(line):
            _skip_payload(lines)
    return count


def _skip_payload(lines: Iterator[bytes]) -> None:
    for line in lines:
        if not line:
            return
    raise ProtocolError("a payload must end with an empty line")
