"""Passwords as rows of auth.map: who may come in, without what they say in clear. Pure.

HAProxy computes the HMAC-SHA256 of what a client sends (base64 of `user:password`, RFC 7617) and looks it up. The
key is random, the proxy's own, and does not leave it, so that nobody can try passwords on rows which he has seen.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from haproxy.settings import AUTH_KEY

KEY_BYTES = 32

Line = tuple[str, str]
"""User and password."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`lines`: id of a secret -> users and passwords; an id that is missing lets nobody in. `key`: of the HMAC."""

    key: bytes = field(default=b"", repr=False)
    lines: Mapping[str, tuple[Line, ...]] = field(default_factory=dict, repr=False)


NO_CREDENTIALS = Credentials()


def key_rows(credentials: Credentials) -> dict[str, str]:
    """The row of the key itself, none where there is none: then nobody gets in."""
    return {AUTH_KEY: b64encode(credentials.key).decode()} if credentials.key else {}


def auth_rows(name: str, secret: str, credentials: Credentials) -> dict[str, str]:
    """`<name>|<HMAC>` -> user. A user who can't be a header's value gets no row."""
    if not credentials.key:
        return {}
    rows = (
        (f"{name}|{digest(credentials.key, user, password)}", user)
        for user, password in credentials.lines.get(secret, ())
        if USER.fullmatch(user)
    )
    return dict(sorted(rows))


def digest(key: bytes, user: str, password: str) -> str:
    """Upper-case hexadecimal, as HAProxy's `hex` writes it."""
    sent = b64encode(f"{user}:{password}".encode())
    return hmac.digest(key, sent, "sha256").hex().upper()


USER = re.compile(r"[!-9;-~](?:[ -9;-~]*[!-9;-~])?")
"""What a header can say: no colon, which ends it, and no blank at either end."""
