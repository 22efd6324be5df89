"""Structured logs: one JSON object per line, constant event names, everything else as keys.

    log = logs.get("serve.grpc")
    log.info("stream opened", cluster="", instance="h1")
    with logs.bound(revision="9f2c"):     # every line within carries the revision
        log.info("update sent", bytes=512)

The event name never contains values, so that lines can be counted and searched by it. Context is kept in
contextvars and thus follows a task across awaits.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from l7.kit.errors import ConfigError

Logger = FilteringBoundLogger

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("json", "text")


def configure(level: str = "info", format: str = "json", stream: TextIO | None = None) -> None:
    """Set up logging of the process; called once, by the program's `main`.

    `stream` defaults to standard error, because standard output belongs to commands' results. Lines of
    libraries that use the standard `logging` come out in the same form, from warnings upward.
    Raises ConfigError for an unknown level or format.
    """
    if level not in LEVELS:
        raise ConfigError("log level", f"{level!r} is none of {', '.join(LEVELS)}")
    if format not in FORMATS:
        raise ConfigError("log format", f"{format!r} is none of {', '.join(FORMATS)}")
    out = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors(format)
    structlog.configure(
        processors=[*shared, _renderer(format)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # One write per line: HAProxy and its sidecar share a standard output, and lines must not mix.
        logger_factory=structlog.WriteLoggerFactory(out),
        # Loggers are made at import time, before this runs: caching would pin the defaults.
        cache_logger_on_first_use=False,
    )
    _configure_standard(out, shared, format, max(number, logging.WARNING))


def get(part: str) -> Logger:
    """The logger of a part of the program; `part` becomes the key `part`, such as "serve.grpc"."""
    return cast(Logger, structlog.get_logger(part=part))


def bound(**context: Any) -> AbstractContextManager[None]:
    """Adds keys, such as `revision` or `cluster`, to every line logged within the block."""
    return cast(AbstractContextManager[None], structlog.contextvars.bound_contextvars(**context))


def _shared_processors(format: str) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    # The text form prints tracebacks by itself.
    return [*shared, structlog.processors.format_exc_info] if format == "json" else shared


def _renderer(format: str) -> Processor:
    if format == "text":
        return cast(Processor, structlog.dev.ConsoleRenderer(colors=False, timestamp_key="time"))
    return _render_json


def _render_json(_logger: Any, _method: str, event: EventDict) -> str:
    line = {key: event.pop(key, None) for key in ("time", "level", "event")}
    line.update(event)
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _configure_standard(out: TextIO, shared: list[Processor], format: str, level: int) -> None:
    """Lines of foreign libraries go the same way, so that a reader of the log has one format."""
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _name_part], processors=[strip, _renderer(format)]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _name_part(_logger: Any, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["part"] = record.name
    return event
