"""What HAProxy processes say, sound or broken, in chunks of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

Piece = tuple[int, bytes]
"""A process, and what it says."""

PROCESSES = 3

STATE = ("be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state")
STAT = (
    "pxname", "svname", "qcur", "scur", "slim", "stot", "bin", "bout", "econ", "eresp", "wretr", "wredis", "status",
    "type", "last_chk", "",
)  # fmt: skip
NAMES = ("a", "b", "c.1", "BACKEND", *("n" * length for length in (1, 30, 31, 32, 33, 100, 255, 256)))
"""About every limit that there is."""
BACKENDS = ("be", "web", "x" * 31, "x" * 32)
NUMBERS = ("", "0", "7", "10", "-1", "x", "1 ", "0" * 21, str(2**64 - 1), str(2**64), "99999999", "123456789012")
STATUSES = ("UP", "UP 1/3", "DOWN", "NOLB", "MAINT", "DRAIN", "no check", "OPEN", "U", "")
SIZES = (1, 2, 7, 63, 64, 65, 96, 97, 128, 300, 10_000)
SPLINTERS = (b"", b'"', b'"', b",", b"\n", b" ", b"1\n", b"# ", b"\xff\0", b'"' * 70, b"," * 400, b"x" * 5000)


def look(random: Random) -> list[Piece]:
    """What all processes say in one look, in turns."""
    return interleaved(random, [text(random) for _ in range(PROCESSES)])


def steady(random: Random) -> list[list[Piece]]:
    """Looks at one process that says much the same each time, in rows as long as real ones are."""
    tail = "1 1 2 15 3 1 6 0 0 0 - 42079 - 0 0 - - 0"[: random.choice((0, 1, 20, 40, 40, 40))]
    columns = (*STATE, *("x" for _ in tail.split()))
    prefix = random.choice(("", "n", "n" * 25, "n" * 26, "n" * 60, "n" * 246))
    rows = [_steady_row(random, n, prefix) + (f" {tail}" if tail else "") for n in range(random.randint(2, 40))]
    whole = _joined(["1", "# " + " ".join(columns), *rows])
    said = [broken(random, whole) if random.randrange(2) else whole for _ in range(4)]
    size = random.choice((*SIZES, 100_000, 100_000))
    return [[(0, chunk) for chunk in cut(each, size)] for each in said]


def _steady_row(random: Random, n: int, prefix: str) -> str:
    backend, address = BACKENDS[n // 12], random.choice(("10.0.0.1", "-", "2001:db8:0:0:1:2:3:4"))
    operational, admin = random.choice("01222234"), random.choice((*"000000001845", "32"))
    return f"{n // 12 + 3} {backend} {n} {prefix}.{n:06x} {address} {operational} {admin}"


def text(random: Random) -> bytes:
    """Some dumps of one process, one after the other; a third of them broken."""
    whole = b"".join(random.choice((state, stat))(random) for _ in range(random.randrange(4)))
    return broken(random, whole) if random.randrange(3) == 0 else whole


def broken(random: Random, whole: bytes) -> bytes:
    """With some bytes replaced, put in or taken away."""
    found = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(found))
        found[at : at + random.randrange(4)] = random.choice(SPLINTERS)
    return bytes(found)


def state(random: Random) -> bytes:
    columns = _columns(random, STATE)
    rows = (" ".join(_state_value(random, column) for column in columns) for _ in range(random.randrange(7)))
    return _joined(["1", "# " + " ".join(columns), *rows])


def stat(random: Random) -> bytes:
    columns = _columns(random, STAT)
    rows = (",".join(_stat_value(random, column) for column in columns) for _ in range(random.randrange(7)))
    return _joined(["# " + ",".join(columns), *rows])


def _columns(random: Random, columns: tuple[str, ...]) -> Sequence[str]:
    return random.choice((columns, columns, columns[::-1], (*("x",) * 70, *columns), (*("x",) * 245, *columns)))


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _state_value(random: Random, column: str) -> str:
    if column in ("be_name", "srv_name"):
        return random.choice(BACKENDS if column == "be_name" else NAMES)
    if column == "srv_op_state":
        return random.choice("00122234")
    return random.choice(("0", "0", "1", "4", "8", "64", "65", *NUMBERS))


def _stat_value(random: Random, column: str) -> str:
    if column in ("", "x"):
        return ""
    if column == "last_chk":
        return random.choice(("", "fine", quoted("".join(random.choices('ab",\n é', k=random.randrange(90))))))
    values = {"pxname": BACKENDS, "svname": NAMES, "status": STATUSES, "type": "2222222101x3"}
    value = random.choice(values.get(column, NUMBERS[: random.choice((3, 3, 4, len(NUMBERS)))]))
    return quoted(value) if random.randrange(60) == 0 else value


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def interleaved(random: Random, said: Sequence[bytes]) -> list[Piece]:
    size = random.choice(SIZES) if random.randrange(2) else random.randint(1, 300)
    queues: list[Iterator[Piece]] = [iter([(n, chunk) for chunk in cut(each, size)]) for n, each in enumerate(said)]
    order = [n for n, each in enumerate(said) for _ in cut(each, size)]
    random.shuffle(order)
    return [next(queues[n]) for n in order]


def cut(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]
