"""The keys of the operator's table `Config` that are Interlock's for HAProxy, or l7's own. Pure."""

from __future__ import annotations

from haproxy import raw_lines, tls_config
from haproxy.config_values import connect_timeout, connections, pages, ports, prefixes, switch, timeout
from haproxy.nginx_values import unused
from haproxy.option import LIVE, NOTHING, Option, seconds

_TEXT = "string"
_LINES = "list of strings"
_SECONDS = "number, seconds"

OPTIONS: tuple[Option, ...] = (
    Option(
        "HideInfoHeaders", "hide_info_headers", switch, "true or false", "`false`",
        "Clients are not told which proxy and task answered.", "true",
    ),
    Option(
        "TrustedProxies", "trusted_proxies", prefixes, "list of prefixes", "none",
        "Proxies in front whose word about the client counts: `X-Forwarded-For` (the last address that is not "
        "itself trusted, over at most 5 of them), `-Proto`, `-Port`, `X-Request-Id`. From anybody else these are "
        "replaced.",
        '["10.0.0.0/8"]',
    ),
    Option(
        "ProxyProtocol", "proxy_protocol", switch, "true or false", "`false`",
        "Trusted proxies begin each connection with a header of the PROXY protocol.", "true",
    ),
    Option(
        "AllowPolicyReload", "allow_policy_reload", switch, "true or false", "`true`",
        "Whether the first use of a port for raw TCP that was not declared may cost a reload; else the service "
        "has a problem instead.", "false", LIVE,
    ),
    Option(
        "TCPPorts", "tcp_ports", ports, "ports and ranges", "none",
        "Ports opened for raw TCP, so that a service takes one live; another one costs a reload when it is first "
        "used. Clients reach those that the proxy service publishes.", '"20000-20019"',
    ),
    Option(
        "ErrorPages", "error_pages", pages, "table", "none",
        "HTML in place of the proxy's own answers, at most 12,000 bytes each; what HAProxy answers before it has "
        "understood a request is not replaced.", '{ 503 = "<h1>Back soon</h1>" }',
    ),
    Option(
        "ConnectTimeout", "connect_timeout", connect_timeout, _SECONDS, "`0.25`",
        "How long a connection to a task may take; also the pace at which a request that is held tries again. At "
        "most 5: a longer one, as Interlock's default for NGINX, is left out and reported.", "1", show=seconds,
    ),
    Option(
        "ClientTimeout", "client_timeout", timeout, _SECONDS, "`60`",
        "Silence of a client. Counts before SendTimeout.", "30", show=seconds,
    ),
    Option(
        "ServerTimeout", "server_timeout", timeout, _SECONDS, "`60`",
        "How long a task may take to answer, else clients get 504. Counts before ReadTimeout.", "600", show=seconds,
    ),
    Option(
        "MaxConnections", "max_connections", connections, "number", "`20000`",
        "Connections of clients at once, as `--max-connections`.", "50000",
    ),
    Option(
        "SSLProtocols", "ssl_protocols", tls_config.protocols, _TEXT, '`"TLSv1.2 TLSv1.3"`',
        "Versions of TLS that clients may use.", '"TLSv1.3"',
    ),
    Option(
        "SSLCiphers", "ssl_ciphers", tls_config.ciphers, _TEXT,
        "those with forward secrecy and authenticated encryption",
        "Ciphers up to TLS 1.2, OpenSSL's list.", '"HIGH:!aNULL:!MD5"',
    ),
    Option(
        "SSLCipherSuites", "ssl_ciphersuites", tls_config.ciphersuites, _TEXT, "all three of TLS 1.3",
        "The same for TLS 1.3.", '"TLS_AES_256_GCM_SHA384"',
    ),
    Option(
        "SSLOpts", "ssl_options", tls_config.options, _TEXT, "none",
        "Of HAProxy's words for a TLS listener: `curves`, `ecdhe`, `no-ca-names`, `prefer-client-ciphers`.",
        '"prefer-client-ciphers curves X25519:P-256"',
    ),
    Option(
        "SSLDefaultDHParam", "dh_param", tls_config.dh_bits, "number", "HAProxy's own",
        "Bits, where `SSLCiphers` has ciphers that need it.", "2048",
    ),
    Option(
        "SSLVerify", "", tls_config.verify, _TEXT, "none",
        "No effect: services name the CA of their clients, with the label `ssl_client_ca`.", '"required"',
        NOTHING, True,
    ),
    Option(
        "DefaultCertificate", "", tls_config.certificate, _TEXT, "none: such clients are refused",
        "Secret with the certificate for clients that name no host, or an unknown one.", '"site.crt"',
    ),
    Option(
        "DefaultCertificateKey", "", tls_config.certificate, _TEXT, "in the same secret",
        "Secret with its key.", '"site.key"',
    ),
    Option(
        "GlobalOptions", "global_options", raw_lines.global_lines, _LINES, "none",
        "More lines for HAProxy's section `global`. HAProxy checks them, together with DefaultOptions, before they "
        "are used; where it refuses one, none of the two is used, and those of before stay.",
        '["tune.h2.max-concurrent-streams 50"]',
    ),
    Option(
        "DefaultOptions", "default_options", raw_lines.default_lines, _LINES, "none",
        "More lines for HAProxy's sections `defaults`, those for HTTP; see GlobalOptions.",
        '["timeout http-request 5s"]',
    ),
    Option(
        "AdminUser", "", unused("use `l7 status`, and /metrics of the sidecar's own port (--admin)"), _TEXT, "none",
        "No effect: HAProxy's statistics page is not shown, least of all to clients. `l7 status` and the sidecar's "
        "`/metrics` say more.", '""', NOTHING, True,
    ),
    Option(
        "AdminPass", "", unused("use `l7 status`, and /metrics of the sidecar's own port (--admin)"), _TEXT, "none",
        "No effect, see AdminUser.", '""', NOTHING, True,
    ),
    Option(
        "PidPath", "", unused("remove it: the sidecar looks after the process"), _TEXT, "none",
        "No effect: the sidecar looks after the process.", '""', NOTHING, True,
    ),
)  # fmt: skip
