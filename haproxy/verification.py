"""Whether a task proves who it is, as HAProxy decides it, and why not, in words. Pure; `probe` has the handshake.

Words are the same on every proxy: nothing of a single connection, address or moment is in them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haproxy.checks import PREFIX, Check

SHOWN = 5
"""Names of a certificate that a message says."""


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Why no TLS is spoken with a task. `label`: the one to look at."""

    label: str
    message: str
    remedy: str


_CA, _NAME, _CERTIFICATE = f"{PREFIX}ssl_backend_ca", f"{PREFIX}ssl_backend_name", f"{PREFIX}ssl_backend_cert"

_UNKNOWN = {2, 7, 18, 19, 20, 21, 27}
"""Results of OpenSSL's verification (`X509_STORE_CTX_get_error`): the chain ends at nobody who is trusted."""
_DATES = {9, 10}

_ALERTS = ("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED",
           "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "ALERT_UNKNOWN_CA", "ACCESS_DENIED")  # fmt: skip
"""What a task says of the certificate that it was shown, or not shown (RFC 8446, section 6.2)."""


def refused(check: Check, error: ssl.SSLError) -> Refusal | None:
    """What a handshake that failed says about certificates or names; None: nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(check, error)
    reason = error.reason or ""
    if any(alert in reason for alert in _ALERTS):
        said = reason.partition("ALERT_")[2].replace("_", " ").lower()
        message = f"its tasks demand a client certificate: {said}; {_shown(check)}"
        return Refusal(_CERTIFICATE, message, "name one in ssl_backend_cert that the tasks' CA has signed")
    if "UNRECOGNIZED_NAME" in reason:
        return Refusal(_NAME, f"its tasks know of no {check.name or 'such name'}: unrecognized name", _RENAME)
    return None


def hung_up(check: Check) -> Refusal:
    """The task ended the connection after the handshake, without a word."""
    message = f"its tasks end connections right after the handshake; {_shown(check)}"
    return Refusal(_CERTIFICATE, message, "see whether they demand a client certificate, and of which CA")


def _shown(check: Check) -> str:
    return "they are shown the certificate of ssl_backend_cert" if check.certificate else "they are shown none"


_RENAME = "name in ssl_backend_name what the tasks' certificate is for"


def _unverified(check: Check, error: ssl.SSLCertVerificationError) -> Refusal:
    why = error.verify_message
    if error.verify_code in _UNKNOWN:
        known = check.ca.name if check.ca else "ssl_backend_ca"
        message = f"the certificate of its tasks is signed by no CA in {known}: {why}"
        return Refusal(_CA, message, "name a secret or config with the CA that signed it in ssl_backend_ca")
    remedy = "give the tasks one that is valid now" if error.verify_code in _DATES else "give the tasks another one"
    return Refusal(_CA, f"the certificate of its tasks is refused: {why}", remedy)


def misnamed(check: Check, certificate: Mapping[str, Any]) -> Refusal | None:
    """Whether a certificate that was verified is for somebody else. `certificate`: as `getpeercert` gives it."""
    names = tuple(dict.fromkeys(_names(certificate)))
    if any(covers(name, check.name) for name in names):
        return None
    shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "") if names else "no name"
    return Refusal(_NAME, f"the certificate of its tasks is not for {check.name} but for {shown}", _RENAME)


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    """DNS names, and common names even where there are others."""
    alternatives: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    yield from (value for kind, value in alternatives if kind == "DNS")
    yield from (value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName")


def covers(pattern: str, name: str) -> bool:
    """As HAProxy compares (its `ssl_sock_srv_hostcheck`, after RFC 6125, section 6.4.3): one `*` in the leftmost
    label stands for any part of it."""
    pattern, name = pattern.lower(), name.lower()
    if pattern == name:
        return True
    (left, dot, parent), (label, _, rest) = pattern.partition("."), name.partition(".")
    if not dot or left.count("*") != 1 or parent != rest or len(label) < len(left) - 1:
        return False
    begin, end = left.split("*")
    return label.startswith(begin) and label.endswith(end)
