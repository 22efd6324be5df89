"""What is done to a Table, sound or broken, and the comparison of two of them; a seed says all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from l7 import _fastpath
from l7.fastpath_pure.table import Table as Plain
from l7.v1 import sync_pb2 as pb

Action = tuple[str, tuple[Any, ...]]
"""A method and its arguments."""

BACKENDS = ("a", "b", "shop.http-leastconn", "x" * 70)
SERVERS = ("t1", "t2", "hold", "s" * 25, "s" * 32, "s" * 33, "l" * 200)
ADDRESSES = ("10.0.0.1", "10.0.0.255", "::1", "2001:DB8:0:0:1::", "::ffff:10.0.0.1", "255.255.255.255")
IDS = (1, 2, 2**20 - 1, 2**31 - 1)
COLUMNS = (
    "be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state", "srv_uweight",
    "srv_check_state", "srv_port", "srv_new",
)  # fmt: skip
SPLINTERS = (b"", b"\x1a", b"\xff" * 9, b"\x80\x01", b"\x0b\x0c", b"\n", b" ", b"1\n", b"# ", b"\0", b"9" * 20)


def actions(random: Random) -> list[Action]:
    """Some twenty of them; a dump is several."""
    found: list[Action] = []
    while len(found) < 20:
        found += random.choice((_ingest, _single, _single, _dump, _answers))(random)
    return found


def _ingest(random: Random) -> list[Action]:
    chunks = [_message(random) for _ in range(random.randrange(3))]
    if random.randrange(3) == 0:
        chunks = [damaged(random, chunk) for chunk in chunks]
    return [("ingest", (chunks,))]


def _message(random: Random) -> bytes:
    response = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, last=True)
    for _ in range(random.randrange(4)):
        backend = response.changes.backends.add(name=random.choice(BACKENDS))
        backend.settings.expected = random.random() < 0.5
        for _ in range(random.randrange(5)):
            _server(random, backend.servers.add())
    return response.SerializeToString()


def _server(random: Random, server: pb.Server) -> None:
    server.task, server.id, server.address = random.choice(SERVERS), random.choice(IDS), random.choice(ADDRESSES)
    server.port, server.weight = random.choice((1, 80, 65535)), random.choice((0, 1, 256))
    server.state = random.randint(1, 3)  # type: ignore[assignment]
    server.stop_in_milliseconds, server.service = random.choice((0, 2**32 - 1)), random.choice((0, 1, 65535))


def damaged(random: Random, data: bytes) -> bytes:
    """With some bytes replaced, put in or taken away."""
    found = bytearray(data)
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(found))
        found[at : at + random.randrange(4)] = random.choice((*SPLINTERS, bytes([random.randrange(256)])))
    return bytes(found)


def _single(random: Random) -> list[Action]:
    place = random.choice(BACKENDS), random.choice(SERVERS)
    row = random.choice(IDS), random.choice(ADDRESSES), random.choice((1, 80)), random.choice((1, 256))
    return [
        random.choice((
            ("upsert", (*place, *row, random.randint(0, 4), 0, random.randrange(2))),
            ("remove", place),
            ("settings", (place[0], random.choice((b"", b"x")))),
            ("remove_backend", place[:1]),
            ("keywords", (place[0], random.randrange(2), random.choice((b"check", b"", b"a;b")))),
            ("retry", random.choice((place[:1], ()))),
        ))
    ]  # fmt: skip


def _dump(random: Random) -> list[Action]:
    columns = list(COLUMNS)
    random.shuffle(columns)
    keys = {(random.choice(BACKENDS), random.choice(SERVERS)) for _ in range(random.randrange(8))}
    rows = [" ".join(_value(random, column, *key) for column in columns) for key in sorted(keys)]
    text = "".join(f"{line}\n" for line in ("1", "# " + " ".join(columns), *rows)).encode()
    if random.randrange(3) == 0:
        text = damaged(random, text)
    size = random.choice((3, 63, 64, 65, 500))
    end = ("end", random.choice(((), (), (random.choice(BACKENDS),))))
    return [*(("feed", (text[at : at + size],)) for at in range(0, len(text), size)), end]


def _value(random: Random, column: str, backend: str, server: str) -> str:
    match column:
        case "be_name":
            return backend
        case "srv_name":
            return server
        case "srv_addr":
            return random.choice((*ADDRESSES, "-"))
        case "srv_admin_state":
            return str(random.choice((0, 0, 1, 2, 4, 8, 9, 32)))
        case "srv_new":
            return "x" * random.choice((1, 64, 300))
        case _:
            return str(random.choice((0, 1, 6, 80)))


def _answers(random: Random) -> list[Action]:
    answer: list[Action] = [("ack", (random.randint(1, 3),)), ("ack_all", ()), ("nack", ())]
    said: Action = ("commands", (random.choice((0, 100, 65536)),))
    return [said, *(random.choice(answer) for _ in range(random.randrange(3)))]


# ---------------------------------------------------------------- the comparison


class Driver:
    """A table, and how many commands wait for an answer."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.waiting = 0

    def do(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """The result, or ValueError itself."""
        if name == "ack_all":
            name, arguments = "ack", (self.waiting,)
        try:
            result = getattr(self.table, name)(*arguments)
        except ValueError:
            return ValueError
        if name == "commands":
            self.waiting += result.count(b"\n")
        elif name == "ack":
            self.waiting -= arguments[0]
        elif name == "nack":
            self.waiting -= 1
        return result

    @property
    def state(self) -> Any:
        table = self.table
        parts = [(name, table.servers(name), table.rows(name), table.settings_of(name)) for name in BACKENDS]
        return parts, len(table), table.digests(), table.pending()


def agree(plain: Callable[[], Any], compiled: Callable[[], Any], steps: Sequence[Action]) -> None:
    """AssertionError, with what was done, where the two say different things."""
    one, other = Driver(plain()), Driver(compiled())
    for name, arguments in steps:
        assert one.do(name, arguments) == other.do(name, arguments), (name, arguments)
        if name != "feed":
            assert one.state == other.state, (name, arguments)


def run(seed: int) -> None:
    random = Random(seed)
    agree(Plain, _fastpath.Table, [action for _ in range(3) for action in actions(random)])
