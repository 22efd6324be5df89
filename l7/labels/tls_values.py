"""Grammar of what is about TLS and passwords: names of secrets, modes of verification, realms. Pure."""

from __future__ import annotations

import re

from l7.labels.grammar import Bad, parse_host
from l7.model import ClientCertificate, ProxyHeader

MAX_REALM = 128

# Docker's own rule for names of secrets and configs (swarmkit, manager/controlapi: isValidConfigOrSecretName).
_SECRET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_REALM = re.compile(rf"[ !#-&(-\[\]-~]{{1,{MAX_REALM}}}")

VERIFY_CLIENT = {"required": ClientCertificate.REQUIRED, "optional": ClientCertificate.OPTIONAL}
VERIFY_TASK = {"none": False, "required": True}
PROXY_HEADERS = {
    "v1": ProxyHeader.V1,
    "v2": ProxyHeader.V2,
    "true": ProxyHeader.V2,
    "false": ProxyHeader.NONE,
}


def parse_secret(text: str) -> str | Bad:
    """Name of a secret or config."""
    name = text.strip(" ")
    if _SECRET.fullmatch(name):
        return name
    remedy = "1 to 64 letters, digits and _.-, the first and the last a letter or digit, such as shop_site.cert"
    return Bad("is not the name of a secret", remedy)


def parse_tls_name(text: str) -> str | Bad:
    """One host without wildcard and port, as a certificate may be for; lower case."""
    host = parse_host(text.strip(" "))
    if isinstance(host, str) and host.startswith("*"):
        return Bad("is a wildcard", "write one name, such as app.example.org")
    return host


def parse_realm(text: str) -> str | Bad:
    """What browsers show when they ask for a password."""
    realm = text.strip(" ")
    if _REALM.fullmatch(realm):
        return realm
    remedy = f"write 1 to {MAX_REALM} characters of printable ASCII, no quotes and no backslash"
    return Bad("can't stand in a header", remedy)
