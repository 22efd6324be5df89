"""Grammar of numbers: counts, durations, sizes, rates, status codes. Pure.

Digits are matched as [0-9] before int() sees them: int() alone also takes signs, underscores and other
scripts' digits.
"""

from __future__ import annotations

import re

from l7.labels.grammar import Bad, printable
from l7.labels.label import Kind
from l7.model import RateLimit

MILLISECOND, SECOND, MINUTE, HOUR = 1, 1000, 60_000, 3_600_000
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR}
_PERIODS = {"s": SECOND, "10s": 10 * SECOND, "m": MINUTE, "h": HOUR}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
MAX_SIZE = 1 << 40
MAX_RATE = 1_000_000

_DIGITS = re.compile(r"[0-9]{1,10}")
_PART = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,6}))?(ms|s|m|h)")
_PARTS = re.compile(rf"(?:{_PART.pattern}){{1,8}}")
_SIZE = re.compile(r"([0-9]{1,13})([kmg]?)", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"([0-9]{1,7})/(s|10s|m|h)")
_STATUSES = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")
FIRST_STATUS, LAST_STATUS = 200, 599
USUAL_STATUSES = tuple(range(200, 400))
"""What a check accepts unless it is told."""


def integer(low: int, high: int) -> Kind[int]:
    """A decimal number between two bounds, inclusive."""

    def parse(text: str) -> int | Bad:
        digits = text.strip(" ")
        if _DIGITS.fullmatch(digits) and low <= int(digits) <= high:
            return int(digits)
        wrong = "is out of bounds" if _DIGITS.fullmatch(digits) else "is not a whole number"
        return Bad(wrong, f"write a whole number from {low} to {high}")

    numbers = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(f"{low} to {high}", parse, {"anyOf": [numbers, {"type": "string", "pattern": "^ *[0-9]+ *$"}]})


def duration(low: int, high: int) -> Kind[int]:
    """Milliseconds, from Go's notation (`1m30s`, `1.5s`) or a bare number of seconds; bounds in milliseconds."""
    span = f"{show_duration(low)} to {show_duration(high)}"

    def parse(text: str) -> int | Bad:
        value = parse_duration(text)
        if isinstance(value, int) and not low <= value <= high:
            return Bad("is out of bounds", f"write a duration of {span}")
        return value

    pattern = r"^ *([0-9]+|([0-9]+(\.[0-9]+)?(ms|s|m|h))+) *$"
    schema = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}]}
    return Kind(f"duration, {span}", parse, schema)


def pause(low: int, high: int) -> Kind[int]:
    """A duration that may also be 0: none at all."""
    kind = duration(low, high)

    def parse(text: str) -> int | Bad:
        return 0 if parse_duration(text) == 0 else kind.parse(text)

    return Kind(f"0, or {kind.name}", parse, kind.schema)


def seconds(low: int, high: int) -> Kind[int]:
    """A duration that comes out in whole seconds; bounds in seconds."""
    kind = duration(low * SECOND, high * SECOND)

    def parse(text: str) -> int | Bad:
        value = kind.parse(text)
        if isinstance(value, Bad):
            return value
        if value % SECOND:
            return Bad("is not a whole number of seconds", "write whole seconds, such as 10m")
        return value // SECOND

    return Kind(kind.name, parse, kind.schema)


def parse_duration(text: str) -> int | Bad:
    """Milliseconds; any that can be written."""
    text = text.strip(" ")
    if _DIGITS.fullmatch(text):
        return int(text) * SECOND
    if not _PARTS.fullmatch(text):
        return Bad("is not a duration", "write such as 500ms, 3s, 1m30s or 1h; a bare number is seconds")
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        # In millionths, so that what comes out is exact.
        total += (int(whole) * 1_000_000 + int(f"{fraction:0<6}")) * _UNITS[unit]
    if total % 1_000_000:
        return Bad("is finer than a millisecond", "write whole milliseconds")
    return total // 1_000_000


def show_duration(milliseconds: int) -> str:
    """The shortest notation in one unit: `90s`, `1h`, `0`."""
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0"


def parse_size(text: str) -> int | Bad:
    """Bytes; `k`, `m`, `g` are powers of 1024. 0: no bound."""
    match = _SIZE.fullmatch(text.strip(" "))
    if match is None:
        return Bad("is not a size", "write bytes, or a number with k, m or g, such as 10m")
    size = int(match[1]) * _SIZES[match[2].lower()]
    return size if size <= MAX_SIZE else Bad("is too large", "write at most 1024g, or 0 for no bound")


def parse_rate(text: str) -> RateLimit | Bad:
    """Requests in one of four periods."""
    match = _RATE.fullmatch(text.strip(" "))
    if match and 1 <= int(match[1]) <= MAX_RATE:
        return RateLimit(int(match[1]), _PERIODS[match[2]])
    remedy = f"write a number from 1 to {MAX_RATE} and a period: 10/s, 50/10s, 100/m or 1000/h"
    return Bad("is not a rate", remedy)


def parse_statuses(text: str) -> tuple[int, ...] | Bad:
    """Status codes and ranges of them, sorted, each once; empty for the usual ones, 200 to 399."""
    statuses: set[int] = set()
    for part in filter(None, re.split("[, ]", text)):
        match = _STATUSES.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not FIRST_STATUS <= first <= last <= LAST_STATUS:
            remedy = f"write codes from {FIRST_STATUS} to {LAST_STATUS}, or ranges: 200,204,300-399"
            return Bad(f"has {printable(part)}, which is no status code or range", remedy)
        statuses.update(range(first, last + 1))
    if not statuses:
        return Bad("is empty", "write such as 200 or 200,204,300-399, or remove the label")
    found = tuple(sorted(statuses))
    return () if found == USUAL_STATUSES else found
