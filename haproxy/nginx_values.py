"""Values as NGINX writes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from haproxy.option import Parsed, Value
from haproxy.values import Bad, shown

_TIME = re.compile(r"([0-9]+)(ms|[smhdwMy])")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_UNITS |= {"M": 30 * 86_400_000, "y": 365 * 86_400_000}
_SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

LONGEST = 24 * 3600 * 1000
"""Milliseconds."""
MOST_BYTES = 1 << 40
BUFFER = 16384
"""Bytes: HAProxy's own size of a buffer."""
REWRITE = 1024
"""Bytes of a buffer that HAProxy keeps free for what it adds (`tune.maxrewrite`)."""
LARGEST_BUFFER = 1 << 20
MOST_THREADS = 64
"""That HAProxy 2.6 takes."""


def milliseconds(text: str) -> int | None:
    """Of `75s`, `1m 30s` or `75`, seconds; None when it is no time."""
    if text.isascii() and text.isdigit():
        return int(text[:12]) * 1000
    joined = text.replace(" ", "")
    parts = _TIME.findall(joined)
    if not parts or "".join(number + unit for number, unit in parts) != joined:
        return None
    return sum(int(number[:12]) * _UNITS[unit] for number, unit in parts)


def size(text: str) -> int | None:
    """Bytes of `8k`, `1m` or `1024`; None when it is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1][:15]) * _BYTES[match[2].lower()] if match else None


def seconds(value: Value) -> int | Bad:
    """Milliseconds of a number of seconds, or of a time as NGINX has it."""
    bad = Bad("is no time", 'write seconds, or a time such as "75s", above 0 and at most "1d"')
    if isinstance(value, bool) or not isinstance(value, int | str):
        return bad
    found = milliseconds(str(value)) if value != "" else None
    return found if found is not None and 0 < found <= LONGEST else bad


def keep_alive(value: Value) -> int | Bad:
    """NGINX has a second time, which it only tells the client."""
    found = seconds(value.split()[0] if isinstance(value, str) and value.split() else value)
    zero = value in (0, "0", "0s") and not isinstance(value, bool)
    return Bad("would keep no connection at all", 'write a short time, such as "1s"') if zero else found


def body_size(value: Value) -> int | Bad:
    """Bytes; 0 is no limit."""
    found = size(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if found is None or found > MOST_BYTES:
        return Bad("is no size", 'write bytes, or a size such as "32m"; 0: no limit')
    return found


def header_buffers(value: Value) -> int | Bad:
    """ "4 8k": as many lines of that size; or one size. HAProxy has one buffer, for all of a request's head."""
    words = value.split() if isinstance(value, str) else []
    count, text = (words[0], words[1]) if len(words) == 2 else ("1", words[0] if len(words) == 1 else "")
    each = size(text)
    if each is None or not (count.isascii() and count.isdigit() and 1 <= int(count[:6]) <= 100_000):
        return Bad("is no size", 'write how many and how large, as "4 8k"')
    found = int(count) * each + REWRITE
    if found > LARGEST_BUFFER:
        largest = f"of at most {LARGEST_BUFFER // 1024}k together, of which each connection needs two"
        return Bad("is more than HAProxy's one buffer may have", f"write one {largest}")
    return max(BUFFER, found)


def threads(value: Value) -> int | Bad:
    """Of processes, written as a number or as text; 0: as many as there are cores."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text == "auto":
        return 0
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST_THREADS:
        return int(text)
    return Bad("is no number of processes", f'write a number from 1 to {MOST_THREADS}, or "auto"')


def open_files(value: Value) -> int | Bad:
    if isinstance(value, bool) or not isinstance(value, int) or not 500 <= value <= 10_000_000:
        return Bad("is no limit of open files", "write a number from 500 on")
    return value


def access_log(value: Value) -> bool | Bad:
    """Whether requests are logged. There are no files: the proxies' file systems are read-only."""
    if not isinstance(value, str):
        return Bad("is no path", 'write "/dev/stdout", or "off"')
    if value in ("", *_STANDARD):
        return True
    if value in ("off", "/dev/null"):
        return False
    return Bad(f"is {shown(value)!r}", "the proxies log to their container's log alone: set Docker's log driver")


def error_log(value: Value) -> Bad | None:
    if value in ("", *_STANDARD):
        return None
    return Bad("has no effect", "the proxies log to their container's log alone: set Docker's log driver")


_STANDARD = ("/dev/stdout", "/dev/stderr")


def http_version(value: Value) -> Bad | None:
    if value in ("", "1.1", 1.1):
        return None
    return Bad("has no effect: tasks are spoken to in HTTP/1.1", "label services with protocol for another")


def ip_hash(value: Value) -> Bad | None:
    """Core sees to it."""
    return None if isinstance(value, bool) else Bad("is not true or false", "write true or false, without quotes")


def unused(remedy: str) -> Callable[[Value], Parsed | Bad]:
    """Of a key that has no effect here; "" and nothing are as good as none."""
    return lambda value: None if value in ("", [], None) else Bad("has no effect", remedy)
