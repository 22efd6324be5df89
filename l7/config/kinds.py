"""The kinds of values that the TOML has. A parser takes what `tomllib` gives, and never raises. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from l7.config.option import Kind, Wrong, toml
from l7.fleet import Pairs

OURS = "com.docker.l7."
"""Labels that l7 gives itself."""

_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 366 * 24 * 3600 * 1000
"""Milliseconds; Docker counts in nanoseconds, of which 64 bits hold 292 years."""
_MOST = 2**31 - 1
_SERVICE = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*")
_SIGNALS = re.compile(
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IOT?|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|"
    "TSTP|TTIN|TTOU|URG|USR[12]|VTALRM|WINCH|XCPU|XFSZ"
)
_REAL_TIME = re.compile(r"RTM(IN(\+(1[0-5]|[1-9]))?|AX(-(1[0-4]|[1-9]))?)")


def parse_duration(text: str) -> int | None:
    """Milliseconds of a Go duration such as 500ms, 3s or 1m30s, 0 only for nothing; None when it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return math.ceil(total) if total < 2**53 else None


def must_be(name: str, raw: object) -> Wrong:
    """Of another type than it has to be."""
    return Wrong(f"must be {name}, not {raw!r}")


def _typed(name: str, type_: type) -> Kind:
    # type() and not isinstance(): bool is an int in Python, not in TOML
    return Kind(name, lambda raw: raw if type(raw) is type_ else must_be(name, raw), type_ is str)


TEXT = _typed("a string", str)
FLAG = _typed("true or false", bool)
TABLE = _typed("a table", dict)


def worded(name: str, parse: Callable[[str], object]) -> Kind:
    """Written as a string, which `parse` takes or finds wrong."""
    return Kind(name, lambda raw: parse(raw) if isinstance(raw, str) else must_be(name, raw), text=True)


def choice(words: Mapping[str, object]) -> Kind:
    """One of a few words."""
    name, back = f"one of {', '.join(words)}", {value: word for word, value in words.items()}
    found = worded(name, lambda text: words.get(text, Wrong(f"must be {name}, not {text!r}")))
    return replace(found, show=lambda value: toml(back[value]))


def listed(name: str, parse: Callable[[str], object] = str) -> Kind:
    """A list of strings, each of which `parse` takes or finds wrong."""

    def parse_all(raw: object) -> object:
        if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
            return must_be(name, raw)
        found = tuple(parse(item) for item in raw)
        return next((each for each in found if isinstance(each, Wrong)), found)

    return Kind(name, parse_all)


TEXTS = listed("a list of strings")


def number(name: str, low: int, high: int = _MOST) -> Kind:
    """A whole number within bounds."""

    def parse(raw: object) -> object:
        if type(raw) is not int:
            return must_be("a number", raw)
        return raw if low <= raw <= high else Wrong(f"must be {name}, not {raw}")

    return Kind(name, parse)


COUNT = number("a number, 0 or more", 0)
PUBLISHED = number("a port, 0 to 65535", 0, 65535)
TARGET = number("a port, 1 to 65535", 1, 65535)


def _duration(text: str, least: int = 0) -> object:
    found = parse_duration(text)
    if found is None or found > _LONGEST:
        return must_be(_DURATION, text)
    return found if found >= least else Wrong("must be more than nothing")


_DURATION = 'a duration such as "3s" or "500ms"'


def show_duration(milliseconds: int) -> str:
    """The shortest way to write it in one unit."""
    units = (("h", 3_600_000), ("m", 60_000), ("s", 1000))
    number, unit = next(
        ((milliseconds // size, unit) for unit, size in units if milliseconds and milliseconds % size == 0),
        (milliseconds, "ms" if milliseconds else "s"),
    )
    return toml(f"{number}{unit}")


DURATION = replace(worded(_DURATION, _duration), show=show_duration)
PERIOD = replace(worded(_DURATION, lambda text: _duration(text, 1)), show=show_duration)


def _tables(raw: object) -> object:
    good = isinstance(raw, list) and all(isinstance(item, dict) for item in raw)
    return raw if good else must_be("tables, [[...]]", raw)


TABLES = Kind("tables, [[...]]", _tables)


def _labels(raw: object) -> object:
    if not isinstance(raw, dict):
        return must_be("a table of strings", raw)
    for key, value in raw.items():
        if not isinstance(value, str):
            return Wrong(f"must be a string, not {value!r}", key)
        if not key or key.startswith(OURS):
            return Wrong(f"{key!r} cannot be set: labels have a name, and {OURS}* are l7's own", key)
    pairs: Pairs = tuple(sorted(raw.items()))
    return pairs


def _show_labels(pairs: Pairs) -> str:
    return f"{{ {', '.join(f'{toml(key)} = {toml(value)}' for key, value in pairs)} }}" if pairs else "{}"


LABELS = Kind("a table of strings", _labels, show=_show_labels)


def is_service_name(text: str) -> bool:
    """Whether Swarm takes it."""
    return len(text) <= 63 and bool(_SERVICE.fullmatch(text))


def _service_name(text: str) -> object:
    if not text or is_service_name(text):
        return text
    return Wrong(f"{text!r} is no name of a service: letters, digits, and - and _ between them, at most 63")


SERVICE = worded("a name", _service_name)


def _signal(text: str) -> object:
    name = text.upper().removeprefix("SIG")
    number = text.isascii() and text.isdigit() and len(text) < 3 and 1 <= int(text) <= 64
    if number or _SIGNALS.fullmatch(name) or _REAL_TIME.fullmatch(name):
        return text
    return Wrong(f"{text!r} is no signal: write SIGQUIT or SIGTERM")


SIGNAL = worded('a signal such as "SIGQUIT"', _signal)


_PATH = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


def _absolute_path(text: str) -> object:
    return text if not text or _PATH.fullmatch(text) else Wrong(f"{text!r} is no absolute path of a file")


ABSOLUTE_PATH = worded("a path", _absolute_path)


def _docker_url(text: str) -> object:
    scheme, separator, rest = text.partition("://")
    if separator and rest and scheme in ("unix", "tcp", "http", "https"):
        return text
    return Wrong(f"{text!r} is no address of the Engine API: write unix:///path or tcp://host:port")


DOCKER_URL = worded("a URL", _docker_url)


def _endpoint(text: str) -> object:
    host, _, port = text.rpartition(":")
    good = port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535
    if not text or (host and good and not re.search(r"[\s/]", text)):
        return text
    return Wrong(f"{text!r} is no address: write host:port")


ENDPOINT = worded('an address, "host:port"', _endpoint)


def _https(text: str) -> object:
    return text if text.startswith("https://") else Wrong(f"must be an https:// URL, not {text!r}")


HTTPS = worded("a URL, https://", _https)
