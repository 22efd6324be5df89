"""What HAProxy says in its interactive mode, cut into replies. No IO."""

from __future__ import annotations

import re

from l7.kit.errors import ProtocolError

PROMPT = b"\n> "
"""Ends each reply. No reply has it inside: lines of a dump begin with a name, an address or a number."""

_PAYLOAD_ECHO = re.compile(r"(?:\+ )+")


class PromptScanner:
    """Finds the end of `replies` replies in a stream of bytes, and lets the bytes through.

    What `feed` returns, joined, is the replies with a prompt between each two of them; the last prompt is
    left out. At most two bytes are held back, so a dump of any size can be passed on as it comes.
    """

    def __init__(self, replies: int) -> None:
        self._missing = replies
        self._tail = b""

    @property
    def done(self) -> bool:
        return self._missing == 0

    def feed(self, data: bytes) -> bytes:
        """Raises ProtocolError for bytes after the last prompt: replies and commands no longer pair up."""
        data = self._tail + data
        after = 0
        while self._missing and (at := data.find(PROMPT, after)) >= 0:
            after = at + len(PROMPT)
            self._missing -= 1
        if self._missing:
            held = _prompt_begun(data[after:])
            self._tail = data[len(data) - held :]
            return data[: len(data) - held]
        if data[after:]:
            raise ProtocolError(f"{data[after:][:80]!r} came after the last reply")
        self._tail = b""
        return data[: -len(PROMPT)]


def _prompt_begun(data: bytes) -> int:
    """Length of the longest end of `data` that could be the beginning of a prompt."""
    return next((n for n in (2, 1) if data.endswith(PROMPT[:n])), 0)


class Splitter:
    """Cuts a body, as `PromptScanner` lets it through, into the text of each reply; takes any chunks."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> list[str]:
        """The replies that are complete now. Raises ProtocolError for bytes that are no UTF-8."""
        self._buffer += data
        replies: list[str] = []
        begin = 0
        while (end := self._buffer.find(PROMPT, max(begin, self._seen))) >= 0:
            replies.append(_text(self._buffer[begin:end]))
            begin = end + len(PROMPT)
        del self._buffer[:begin]
        self._seen = max(0, len(self._buffer) - len(PROMPT) + 1)
        return replies

    def finish(self) -> str:
        """The last reply, which the end of the body ends."""
        last, self._buffer, self._seen = _text(self._buffer), bytearray(), 0
        return last


def split(body: bytes) -> list[str]:
    """The replies of a whole body."""
    splitter = Splitter()
    return [*splitter.feed(body), splitter.finish()]


def _text(data: bytes | bytearray) -> str:
    """Without the `+ ` that HAProxy before 3.2 writes for each line of a payload."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a reply is not UTF-8: {bytes(data[:80])!r}") from error
    echo = _PAYLOAD_ECHO.match(text)
    return text[echo.end() :] if echo else text
