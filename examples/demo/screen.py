"""The demo in the terminal: lines that stay, and, where there is a terminal, a picture of the present below them.

Elsewhere (a pipe, a log) the present is a line of its own now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from examples.demo.board import Answering, Board

BAR = 12
"""Characters of the longest bar."""

QUIET, PATIENT = 2.0, 10.0
"""Seconds between lines about the present, without a terminal: while requests are sent, and before."""


class Screen:
    """All output of the demo; a context manager for the time in which something moves."""

    def __init__(self, console: Console, live: bool) -> None:
        self.console = console
        self.board: Board | None = None
        self._step = ""
        self._began = self._since = time.monotonic()
        self._spinner = Spinner("dots")
        self._live = Live(self, console=console, refresh_per_second=8, transient=True) if live else None
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        else:
            self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._live:
            self._live.stop()
        else:
            self._ticker.join()

    # -- lines that stay -----------------------------------------------------------------------------------

    def say(self, text: RenderableType = "") -> None:
        self.console.print(text)

    def chapter(self, title: str, command: str) -> None:
        """A new part of the story: what happens, and the command that makes it happen."""
        self.say()
        self.say(Text(title, style="bold"))
        for line in command.splitlines():
            self.say(Text(f"  {line}", style="cyan"))

    @contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Shown as under way, then as done, with its duration and what was put into the list."""
        self._step, self._since = text, time.monotonic()
        notes: list[str] = []
        yield notes
        seconds = time.monotonic() - self._since
        self._step = ""
        what = Text.assemble(("  ✓ ", "green"), notes[0] if notes else text, (f"  {seconds:.1f} s", "dim"))
        self.say(what)

    # -- the present ---------------------------------------------------------------------------------------

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._step:
            self._spinner.update(text=f"{self._step}  {time.monotonic() - self._since:.0f} s")
            parts.append(Padding(self._spinner, (0, 0, 0, 2)))
        if self.board is not None:
            bars = Padding(_bars(self.board.answering()), (0, 0, 0, 2))
            parts += [Text(), _counts(self.board), bars]
        return Group(*parts)

    def _tick(self) -> None:
        told = 0.0
        while not self._ended.wait(0.2):
            now = time.monotonic()
            moving = self.board is not None and self.board.sent
            if now - max(told, self._since if self._step and not moving else 0.0) < (
                QUIET if moving else PATIENT
            ):
                continue
            told = now
            if self.board is not None and moving:
                self.say(plain(self.board, now - self._began))
            elif self._step:
                self.say(f"  … {self._step}  {now - self._since:.0f} s")


def plain(board: Board, seconds: float) -> str:
    """The present as one line."""
    groups = [
        f"{service} v{version} by task {' '.join(str(each.slot) for each in tasks)}"
        for (service, version), tasks in groupby(board.answering(), lambda each: (each.service, each.version))
    ]
    return f"  [{seconds:3.0f} s] {board.sent} requests, {board.failed} failed; answered: {', '.join(groups)}"


def _counts(board: Board) -> RenderableType:
    if not board.sent:
        status = f": {board.waiting}" if board.waiting else ""
        return Text(f"  asking for wordpress.example.org{status}, there is no such service yet", style="yellow")
    failed = (f"{board.failed} failed", "bold green" if not board.failed else "bold red")
    now = f", {board.rate():.0f}/s, slowest in the last second {board.slowest():.0f} ms"
    return Text.assemble("  ", (f"{board.sent:,} requests", "bold"), ", ", failed, (now, "dim"))


_COLORS = ("green", "magenta", "blue", "yellow")


def _bars(answering: Sequence[Answering]) -> Table:
    """One bar per task that answers, in two columns, so that a dozen fits a small terminal."""
    table = Table.grid(padding=(0, 3, 0, 0))
    most = max((each.rate for each in answering), default=1.0)
    half = (len(answering) + 1) // 2
    for i in range(half):
        table.add_row(*(_bar(each, most) for each in answering[i::half]))
    return table


def _bar(task: Answering, most: float) -> Text:
    color = _COLORS[(int(task.version) - 1 if task.version.isdecimal() else 0) % len(_COLORS)]
    length = max(1, round(BAR * task.rate / most))
    name = f"{task.service}.{task.slot}"
    return Text.assemble(
        f"{name:<12} ",
        (f"v{task.version} ", color),
        (f"{'█' * length:<{BAR}}", color),
        (f" {task.rate:3.0f}/s", "dim"),
    )
