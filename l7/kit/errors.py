"""The tree of errors. Foreign exceptions are mapped to these once, in the shell that met them.

    L7Error
    ├── ConfigError     the operator's settings are wrong; exits before anything starts
    ├── Unavailable     a peer is down or slow; retried with backoff, the last good state stays
    ├── Rejected        the peer understood and said no; observe and plan once more, then refuse
    ├── Incompatible    the peer is too old, or lacks what we need of it
    └── ProtocolError   the peer's answer cannot be read, or we sent what can't be right: a bug

A user's bad label is no exception: it is a `Problem`, a value.
"""

from __future__ import annotations


class L7Error(Exception):
    """Root of all errors that l7 raises on purpose."""


class ConfigError(L7Error):
    """A setting is wrong. `path` says which one, `reason` what to do about it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Unavailable(L7Error):
    """A peer could not be reached, or did not answer in time."""


class Rejected(L7Error):
    """A peer refused. `command` is what it was asked, `reply` what it said."""

    def __init__(self, command: str, reply: str) -> None:
        super().__init__(f"{command}: {reply}")
        self.command = command
        self.reply = reply


class Incompatible(L7Error):
    """A peer's version, or what it was set up with, does not do."""


class ProtocolError(L7Error):
    """An answer that cannot be read, or a request that makes no sense."""


class BrokenChain(ProtocolError):
    """An INCREMENTAL that does not start from the revision held (proto/l7/v1/sync.proto)."""
