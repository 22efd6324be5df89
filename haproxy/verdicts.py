"""What HAProxy has refused of the operator's settings, what holds instead, and what is said about it. Pure.

Raw lines are what it mostly refuses. They are refused as a whole, and those of before stay; all else that the
operator changed counts. What is refused without them is refused altogether.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from haproxy.config import Complaint
from haproxy.settings import Settings
from l7.v1 import sync_pb2 as pb

Lines = tuple[tuple[str, ...], tuple[str, ...]]
"""Of `global` and `defaults`."""


def lines_of(settings: Settings) -> Lines:
    return settings.global_options, settings.default_options


def with_lines_of(settings: Settings, other: Settings) -> Settings:
    """`settings` with the raw lines of `other`."""
    return replace(settings, global_options=other.global_options, default_options=other.default_options)


class Verdicts:
    """Of the settings that are wished at this time."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._lines: Lines | None = None
        self._reason = ""
        self._reason_of_lines = ""

    def forget(self, wished: Settings) -> None:
        """Other settings are wished: what was refused may be tried again with them."""
        if self._lines != lines_of(wished):
            self._lines, self._settings = None, None
        if self._settings is not None and with_lines_of(wished, self._settings) != self._settings:
            self._settings = None

    def allowed(self, wished: Settings, running: Settings) -> Settings:
        """What of the wish HAProxy may take."""
        if self._lines == lines_of(wished):
            wished = with_lines_of(wished, running)
        return running if wished == self._settings else wished

    def refuse(self, tried: Settings, running: Settings, reason: str) -> None:
        """HAProxy has said no, and `running` is what stays."""
        if lines_of(tried) != lines_of(running):
            self._lines, self._reason_of_lines = lines_of(tried), reason
        else:
            self._settings, self._reason = tried, reason

    def told(self) -> list[pb.Problem]:
        """What the operator is told."""
        found = []
        if self._lines is not None:
            message = "Config: HAProxy refuses GlobalOptions and DefaultOptions, those of before stay"
            remedy = "change the lines: `l7 config check --haproxy PATH` lets an HAProxy check them"
            found.append(pb.Problem(message=f"{message}: {self._reason_of_lines}", remedy=remedy))
        if self._settings is not None:
            message = "Config: HAProxy refuses it, the one before stays"
            found.append(pb.Problem(message=f"{message}: {self._reason}", remedy="change the extension's Config"))
        return found


def complaints_told(complaints: Iterable[Complaint]) -> list[pb.Problem]:
    """A problem for each, but one for all keys that were for another proxy: they are many, and no mistake."""
    idle = [each for each in complaints if each.idle]
    found = [
        pb.Problem(message=f"Config: {each.key} {each.message}", remedy=each.remedy)
        for each in complaints
        if not each.idle
    ]
    if idle:
        message = f"Config: {', '.join(each.key for each in idle)} {'has' if len(idle) == 1 else 'have'} no effect"
        found.append(pb.Problem(message=message, remedy="; ".join(f"{each.key}: {each.remedy}" for each in idle)))
    return found
