"""Table by chance: whatever is done to both, they say the same, and what is refused has changed nothing."""

from __future__ import annotations

from random import Random
from typing import Any

from l7 import _fastpath
from l7.fastpath_pure.table import Table as Plain
from l7.v1 import sync_pb2 as pb
from tests.fuzz.dumps import SIZES, broken, cut

BACKENDS = ("a", "b", "shop.http-leastconn", "x" * 70)
SERVERS = ("t1", "t2", "hold", "s" * 25, "s" * 31, "s" * 32, "s" * 33, "l" * 200, "l" * 201)
ADDRESSES = ("10.0.0.1", "10.0.0.255", "::1", "2001:DB8:0:0:1::", "::ffff:10.0.0.1", "255.255.255.255")
PORTS = (1, 80, 65535)
COLUMNS = (
    "be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state", "srv_uweight",
    "srv_check_state", "srv_port",
)  # fmt: skip
ROUNDS = 25

Action = tuple[str, tuple[Any, ...]]


def run(seed: int) -> None:
    random = Random(seed)
    compiled, plain = _fastpath.Table(), Plain()
    for _ in range(ROUNDS):
        for name, arguments in actions(random):
            assert outcome(compiled, name, arguments) == outcome(plain, name, arguments), name
        assert state(compiled) == state(plain)


def outcome(table: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return getattr(table, name)(*arguments)
    except (ValueError, RuntimeError, KeyError) as error:
        return type(error)


def state(table: Any) -> Any:
    rows = [outcome(table, "rows", (backend,)) for backend in BACKENDS]
    return len(table), table.digests(), table.pending(), rows


def actions(random: Random) -> list[Action]:
    kind = random.randrange(8)
    backend, server = random.choice(BACKENDS), random.choice(SERVERS)
    if kind == 0:
        return [("ingest", (update(random),))]
    if kind in (1, 2):
        chunks = cut(dump(random), random.choice(SIZES))
        return [*(("feed", (chunk,)) for chunk in chunks), ("end", (random.choice((None, backend)),))]
    if kind == 3:
        wanted = (random.randint(0, 9), random.choice(ADDRESSES), random.choice(PORTS), random.randint(0, 257))
        return [
            ("upsert", (backend, server, *wanted, random.randint(1, 3), random.randint(0, 5), random.randint(0, 2)))
        ]
    if kind == 4:
        return [random.choice([("remove", (backend, server)), ("remove_backend", (backend,))])]
    if kind == 5:
        return [
            ("settings", (backend, random.randbytes(3))),
            ("keywords", (backend, random.randrange(3), b"check")),
        ]
    return [
        ("commands", (random.choice((1, 100, 65536)),)),
        random.choice([("ack", (1,)), ("ack", (2,)), ("nack", ())]),
    ]


def update(random: Random) -> list[bytes]:
    """The messages of a COMPLETE; every other one is damaged."""
    count = random.randrange(1, 4)
    messages = [message(random, n == count - 1) for n in range(count)]
    return [broken(random, each) for each in messages] if random.randrange(2) else messages


def message(random: Random, last: bool) -> bytes:
    backends = [
        pb.Backend(
            name=random.choice(BACKENDS),
            settings=pb.BackendSettings(services=random.choices("ab", k=random.randrange(3))),
            servers=[server(random) for _ in range(random.randrange(6))],
        )
        for _ in range(random.randrange(4))
    ]
    return pb.SyncResponse(kind=1, last=last, changes=pb.Changes(backends=backends)).SerializeToString()


def server(random: Random) -> pb.Server:
    return pb.Server(
        task=random.choice(SERVERS[:8]),
        id=random.choice((1, 2, 2**31 - 1)),
        address=random.choice(ADDRESSES),
        port=random.choice(PORTS),
        weight=random.choice((0, 1, 256)),
        state=random.choice((1, 2, 2, 3)),
        service=random.choice((0, 1, 65535)),
    )


def dump(random: Random) -> bytes:
    """`show servers state`; every third one is damaged."""
    columns = random.choice((COLUMNS, COLUMNS[::-1], (*("x",) * 70, *COLUMNS)))
    rows = [" ".join(value(random, column) for column in columns) for _ in range(random.randrange(9))]
    whole = "".join(f"{line}\n" for line in ("1", "# " + " ".join(columns), *rows)).encode()
    return broken(random, whole) if random.randrange(3) == 0 else whole


def value(random: Random, column: str) -> str:
    choices = {
        "be_name": BACKENDS,
        "srv_name": SERVERS,
        "srv_addr": (*ADDRESSES, "-"),
        "srv_port": ("1", "80", "65535"),
        "srv_uweight": ("0", "1", "256"),
        "srv_id": ("1", "2", "3", str(2**31 - 1)),
        "srv_op_state": ("0", "1", "2", "3"),
    }
    return random.choice(choices.get(column, ("0", "0", "1", "4", "6", "8", "9", "32")))
