"""How commands speak: to a person in the terminal's width and with colours, to a pipe in plain, whole lines."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.status import Status

_PIPE_WIDTH = 200
"""A pipe has no width: wide enough that names and digests stay whole for grep."""


def console() -> Console:
    """For tables and text. Values come from users: nothing in them is markup."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=not sys.stdout.isatty())


class Progress:
    """What is done, a line each, and what is waited for: in a terminal as a line that changes, in a pipe as a line
    for each change."""

    def __init__(self, out: Console | None = None) -> None:
        self.console = out or console()
        self._status: Status | None = None
        self._waiting = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quiet()

    def say(self, line: str, style: str = "") -> None:
        """Something is done, or known."""
        self._quiet()
        self.console.print(line, style=style or None)

    def waiting(self, what: str) -> None:
        """Something is waited for; "" for nothing any more."""
        if what == self._waiting:
            return
        if not what or not self.console.is_terminal:
            self._quiet()
        self._waiting = what
        if what and self.console.is_terminal:
            self._show(f"waiting for {what}")
        elif what:
            self.console.print(f"waiting for {what}")

    def _show(self, text: str) -> None:
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _quiet(self) -> None:
        self._waiting = ""
        if self._status is not None:
            self._status.stop()
            self._status = None
