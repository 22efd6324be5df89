"""The operator's keys for the TLS listener: what Interlock's NGINX and HAProxy took, as HAProxy takes it. Pure."""

from __future__ import annotations

import re

from haproxy.settings import VERSIONS
from haproxy.values import Bad, shown

LONGEST_LIST = 2000
"""Characters of a list of ciphers."""

DH_BITS = (1024, 8192)


def protocols(value: object) -> tuple[str, ...] | Bad:
    """`"TLSv1.2 TLSv1.3"`, or a list; without a gap, as HAProxy has a lowest and a highest."""
    remedy = 'write "TLSv1.2 TLSv1.3"'
    words = _words(value)
    if words is None:
        return Bad("is no text", remedy)
    names = {_SPELLINGS.get(word.lower(), word) for word in words}
    if unknown := sorted(names - set(VERSIONS)):
        return Bad(f"has {unknown[0][:20]!r}, which is no version that HAProxy speaks", remedy)
    found = tuple(version for version in VERSIONS if version in names)
    if not found:
        return Bad("is empty", remedy)
    first, last = VERSIONS.index(found[0]), VERSIONS.index(found[-1])
    if found != VERSIONS[first : last + 1]:
        return Bad("leaves out a version between two others", f"name all from {found[0]} to {found[-1]}")
    return found


_SPELLINGS = {version.lower(): version for version in VERSIONS} | {"tlsv1": "TLSv1.0"}


def ciphers(value: object) -> str | Bad:
    """OpenSSL's list, as `HIGH:!aNULL:!MD5`."""
    return _list(value, _CIPHER, "write OpenSSL's names, as HIGH:!aNULL:!MD5")


def ciphersuites(value: object) -> str | Bad:
    """OpenSSL's list for TLS 1.3."""
    return _list(value, _SUITE, "write OpenSSL's names, as TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")


def _list(value: object, pattern: re.Pattern[str], remedy: str) -> str | Bad:
    text = ":".join(_words(value) or ("?",)) if value not in ("", []) else ""
    if len(text) > LONGEST_LIST or not all(pattern.fullmatch(name) for name in text.split(":") if text):
        return Bad("is no list of ciphers", remedy)
    return text


_CIPHER = re.compile(r"[!+-]?[A-Za-z0-9_.-]+(\+[A-Za-z0-9_.-]+)*|@(STRENGTH|SECLEVEL=[0-5])")
_SUITE = re.compile(r"TLS_[A-Z0-9_]+")


def options(value: object) -> tuple[str, ...] | Bad:
    """Words of a `bind` line that are about TLS and leave alone what l7 says there itself."""
    given = _words(value)
    if given is None:
        return Bad("is no text", 'write words, as "prefer-client-ciphers"')
    words, found = iter(given), list[str]()
    for word in words:
        if word in _PLAIN:
            found.append(word)
        elif word in _WITH_LIST and _NAMES.fullmatch(names := next(words, "")):
            found += [word, names]
        elif word not in _IMPLIED:
            known = ", ".join(sorted((*_PLAIN, *_WITH_LIST)))
            return Bad(f"has {shown(word)!r}, which can't be said there", f"write some of {known}")
    return tuple(found)


_IMPLIED = frozenset(("no-sslv3", "no-tls-tickets"))
_PLAIN = frozenset(("prefer-client-ciphers", "no-ca-names"))
_WITH_LIST = frozenset(("curves", "ecdhe"))
_NAMES = re.compile(r"[A-Za-z0-9_:-]{1,200}")


def dh_bits(value: object) -> int | Bad:
    low, high = DH_BITS
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        return Bad("is no number of bits", f"write a number from {low} to {high}, or leave it out")
    return value


def verify(value: object) -> Bad:
    """A key of Interlock's for all services at once."""
    del value
    message = "has no effect: whether clients need a certificate, each service says for its hosts"
    return Bad(message, "remove it, and label services with ssl_client_ca")


def certificate(value: object) -> Bad | None:
    """The name of a secret: core finds it, and its content comes as that of a host does."""
    return None if isinstance(value, str) else Bad("is no name", "write the name of a secret")


def _words(value: object) -> list[str] | None:
    """Between blanks and commas; None: it is no text."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        return None
    words = [word for text in texts if isinstance(text, str) for word in text.replace(",", " ").split()]
    return words if all(isinstance(text, str) for text in texts) else None
