"""Core by a file of settings that may change while it runs.

What is new in the file and good begins a new core within the same process, after the old one has ended its parts in
order: nothing of core's is on disk, and proxies go on by themselves meanwhile. What is bad is told, and core goes
on as it is.

It is the content that counts and not the file: however it is replaced, it is looked at every so often. What is
still being written may look good, even when half of it is missing, so a content counts when it is found twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from l7.daemon import Core, Options
from l7.kit import logs
from l7.kit.errors import ConfigError
from l7.model import Problem

log = logs.get("renewal")

LOOK = 1.0
"""Seconds between two looks at the file."""


class SettingsFile:
    """`make` reads the file at `path`, and raises ConfigError; "" is no file, which never changes.

    `options` are those in use, `wrong` is why those in the file are not.
    """

    def __init__(self, path: str, make: Callable[[], Options]) -> None:
        self.path = path
        self.wrong = ""
        self._make = make
        self._judged = self._seen = self._content()
        self.options = make()

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the file as it is now."""
        if not self.wrong:
            return ()
        message = f"the settings are not taken, those of before go on: {self.wrong}"
        remedy = f"correct the file; `l7 config check {self.path}` says all that is wrong"
        return (Problem("", "", self.path, message, remedy, fatal=False),)

    async def changed(self, told: Callable[[], None]) -> None:
        """Returns when `options` are others than they were. `told` is called when `problems` change."""
        before = self.options
        while self.options == before:
            await asyncio.sleep(LOOK)
            wrong = self.wrong
            self._look()
            if self.wrong != wrong:
                told()

    def _look(self) -> None:
        seen, self._seen = self._seen, self._content()
        if self._seen != seen or self._seen == self._judged:
            return
        self._judged = self._seen
        try:
            self.options = self._make()
        except ConfigError as error:
            self.refuse(error)
        else:
            self.wrong = ""

    def refuse(self, error: ConfigError) -> None:
        """What is in the file cannot be run by."""
        self.wrong = str(error)
        log.error("settings not taken", error=self.wrong)

    def _content(self) -> bytes | None:
        """None when it cannot be read, which `make` says better."""
        try:
            return Path(self.path).read_bytes() if self.path else b""
        except OSError:
            return None


async def run(file: SettingsFile, stop: asyncio.Event) -> None:
    """Runs core until `stop`, by what the file says at any time. Raises what core raises; but where it cannot even
    begin by new settings, those of before go on."""
    before: Options | None = None
    while not stop.is_set():
        core, options = Core(file.options), file.options
        core.elsewhere = file.problems
        try:
            await _run_until_changed(core, file, stop)
        except ConfigError as error:
            if before is None or core.synced:
                raise
            file.refuse(error)
            file.options, before = before, None
        else:
            before = options
            if not stop.is_set():
                log.info("new settings", path=file.path)


async def _run_until_changed(core: Core, file: SettingsFile, stop: asyncio.Event) -> None:
    over = asyncio.Event()
    works = (partial(file.changed, core.look), stop.wait)
    ending = [asyncio.create_task(_then(over, each)) for each in works]
    try:
        await core.run(over)
    finally:
        for each in ending:
            each.cancel()
        await asyncio.wait(ending)
    for each in ending:
        if not each.cancelled():
            each.result()


async def _then(event: asyncio.Event, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    finally:
        event.set()
