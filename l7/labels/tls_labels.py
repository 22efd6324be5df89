"""Rows of the table: TLS towards clients and tasks, and passwords. Pure."""

from __future__ import annotations

from l7.labels import kinds
from l7.labels.label import Label
from l7.labels.tls_values import (
    MAX_REALM,
    PROXY_HEADERS,
    VERIFY_CLIENT,
    VERIFY_TASK,
    parse_realm,
    parse_secret,
    parse_tls_name,
)

_NAME_PATTERN = "^ *[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])? *$"
_SECRET = kinds.text("name of a secret", parse_secret, _NAME_PATTERN)
_AUTHORITY = kinds.text("name of a secret or config", parse_secret, _NAME_PATTERN)
_HOST = kinds.text("host name", parse_tls_name, "^ *[^ ,;|*/]+ *$")
_MISSING = "One that is not there is a problem that keeps the labels from before in force."

SSL_CERT = Label(
    "ssl_cert",
    _SECRET,
    "none: no TLS here",
    "Certificate for TLS of all `hosts`: a secret with PEM, the server's own first, then those between it and its "
    "CA. It may hold the private key as well. Clear text goes on to the task, and plain HTTP stays open "
    "beside it, unless `ssl_only` is there too. To renew it, create a secret of another name and name that one: "
    "new connections get the new certificate, those under way go on. A certificate that is missing, unreadable "
    "or for other hosts turns off TLS of the hosts that it concerns, and nothing else, unless there is "
    "a previous one, which stays; an expired one is served only where none from before still lasts. Mend what is "
    "bad before proxies are restarted: one that starts anew knows no previous certificate, unless the new one's "
    "secret is not there at all.",
    "shop_site.cert",
    conflicts="one certificate per host: of several services that name one, that of the service created first; "
    "no effect without `hosts`, nor with `ssl_passthrough`",
)
SSL_KEY = Label(
    "ssl_key",
    _SECRET,
    "the key stands in `ssl_cert`",
    "Private key for `ssl_cert`, without passphrase: a secret with PEM.",
    "shop_site.key",
    conflicts="no effect without `ssl_cert`, nor with `ssl_passthrough`",
)
ACME = Label(
    "acme",
    kinds.BOOLEAN,
    "false",
    "l7 gets a certificate for each of `hosts` from the ACME server in the operator's settings, and renews it when "
    "a third of its life is left. The server has to reach the host by plain HTTP on port 80 of the proxies. "
    "`ssl_only` is no hindrance. None is ordered for a host about whose TLS an older service decides.",
    "true",
    conflicts="no effect beside `ssl_cert`, without `hosts`, with `ssl_passthrough`, nor for wildcard hosts, for "
    "which such certificates can't be had by HTTP",
)
SSL_ONLY = Label(
    "ssl_only",
    kinds.BOOLEAN,
    "false",
    "The same as `https_redirect`, by Interlock's name. One of the two is enough.",
    "true",
)
SSL_PASSTHROUGH = Label(
    "ssl_passthrough",
    kinds.BOOLEAN,
    "false",
    "TLS connections that ask for one of `hosts` (by SNI) are passed on to a task as they are: certificate and key "
    "are the application's. The proxies see no requests, so no label about them has an effect. Plain HTTP is not "
    "passed on: there, `redirects` and `https_redirect` (`ssl_only`) answer. "
    "`proxy_protocol` tells the task who the client is. Tasks are checked by TCP connections. Services "
    "that share a host share its connections, by `weight` as well.",
    "true",
    conflicts="only labels about hosts, tasks and connections, `redirects` and `https_redirect` work beside it; "
    "others are reported. On one host either all services pass TLS through or none does: the service created "
    "first decides. Needs `hosts`",
)
SSL_CLIENT_CA = Label(
    "ssl_client_ca",
    _AUTHORITY,
    "none: clients are not asked for a certificate",
    "Clients have to show a certificate of one of these CAs (PEM). The application "
    "sees who it was in `x-ssl-client-dn`, `x-ssl-client-cn`, `x-ssl-client-serial` and `x-ssl-client-sha256` "
    "(hexadecimal), which no client can set by itself. With `ssl_client_verify=required` plain HTTP is refused "
    "(403, or redirected by `ssl_only`), and so is a request on a connection to another host (421). " + _MISSING,
    "shop_staff.ca",
    conflicts="needs `ssl_cert` or `acme`: without, the service is not routed by these labels; no effect with "
    "`ssl_passthrough`. Where another service decides about TLS of a host (or of the wildcard above it, while the "
    "host has no certificate of its own) and asks for certificates of another CA, no request gets to this one",
)
SSL_CLIENT_VERIFY = Label(
    "ssl_client_verify",
    kinds.choice(VERIFY_CLIENT),
    "required, with `ssl_client_ca`",
    "`required`: no connection without a certificate of `ssl_client_ca`. `optional`: clients may go without one, "
    "and the application sees none of the headers; a certificate of another CA is refused all the same.",
    "optional",
    conflicts="`required` without `ssl_client_ca` can't be held, and the service is not routed by these labels; "
    "`optional` has no effect then",
)
SSL_BACKEND = Label(
    "ssl_backend",
    kinds.BOOLEAN,
    "false",
    "The proxies speak TLS to the tasks, HTTP/2 or HTTP/1.1 as the task likes. The same as `protocol=https`, by "
    "Interlock's name.",
    "true",
    conflicts="wins over another `protocol`, which is reported; no effect with `ssl_passthrough`",
)
SSL_BACKEND_TLS_VERIFY = Label(
    "ssl_backend_tls_verify",
    kinds.choice(VERIFY_TASK),
    "required with `ssl_backend_ca`, else none",
    "Whether a task has to prove by its certificate that it is one of `ssl_backend_ca` and is called "
    "`ssl_backend_name`. One that can't is not spoken to: 503, when there is no other.",
    "required",
    conflicts="`required` without `ssl_backend_ca`, or without a name to verify, can't be held: the service is not "
    "routed by these labels. No effect without `ssl_backend` or `protocol=https`",
)
SSL_BACKEND_CA = Label(
    "ssl_backend_ca",
    _AUTHORITY,
    "none: any certificate will do",
    "CAs (PEM) that the certificates of the tasks have to be of. " + _MISSING,
    "shop_internal.ca",
    conflicts="no effect without `ssl_backend` or `protocol=https`, nor with `ssl_backend_tls_verify=none`",
)
SSL_BACKEND_NAME = Label(
    "ssl_backend_name",
    _HOST,
    "the first of `hosts` by alphabet that is no wildcard",
    "Name that the proxies ask the tasks for (SNI), and that their certificates have to be for when they are "
    "verified.",
    "shop.internal",
    conflicts="no effect without `ssl_backend` or `protocol=https`",
)
SSL_BACKEND_CERT = Label(
    "ssl_backend_cert",
    _SECRET,
    "none",
    "Certificate by which the proxies prove to the tasks who they are: a secret with PEM, which may hold the "
    "private key as well. " + _MISSING,
    "shop_proxy.cert",
    conflicts="no effect without `ssl_backend` or `protocol=https`",
)
SSL_BACKEND_KEY = Label(
    "ssl_backend_key",
    _SECRET,
    "the key stands in `ssl_backend_cert`",
    "Private key for `ssl_backend_cert`: a secret with PEM. " + _MISSING,
    "shop_proxy.key",
    conflicts="no effect without `ssl_backend_cert`",
)
PROXY_PROTOCOL = Label(
    "proxy_protocol",
    kinds.choice(PROXY_HEADERS),
    "false",
    "Each connection to a task begins with a header of the PROXY protocol, version 1 (text) or 2 (binary; `true` "
    "is the same), that tells the client's address. The application has to expect it; in checks there is one, too.",
    "v2",
    tcp=True,
)
BASIC_AUTH = Label(
    "basic_auth",
    _SECRET,
    "none: nobody is asked for a password",
    "Users and passwords that are let in (HTTP Basic); others are answered 401. A secret with one "
    "`user:password` per line, the password in clear text: hashes, as `htpasswd` makes them, would "
    "take the proxy longer than all the rest, for each request, and are refused: the user of such a line is not "
    "let in, and where all lines are such, nobody is. The application sees the user in "
    "`x-forwarded-user`. Passwords come with each request, so have `ssl_only` as well. " + _MISSING,
    "shop_users",
    conflicts="no effect with `ssl_passthrough`",
)
BASIC_AUTH_REALM = Label(
    "basic_auth_realm",
    kinds.text(f"text, at most {MAX_REALM} characters", parse_realm, r"^[^\"'\\]+$"),
    "the first of `hosts` by alphabet that is no wildcard, else the service's name",
    "What browsers show when they ask for the password. Printable ASCII without quotes and backslashes.",
    "Staff only",
    conflicts="no effect without `basic_auth`",
)

ROWS: tuple[Label[object], ...] = (
    SSL_CERT,
    SSL_KEY,
    ACME,
    SSL_ONLY,
    SSL_PASSTHROUGH,
    SSL_CLIENT_CA,
    SSL_CLIENT_VERIFY,
    SSL_BACKEND,
    SSL_BACKEND_TLS_VERIFY,
    SSL_BACKEND_CA,
    SSL_BACKEND_NAME,
    SSL_BACKEND_CERT,
    SSL_BACKEND_KEY,
    PROXY_PROTOCOL,
    BASIC_AUTH,
    BASIC_AUTH_REALM,
)
