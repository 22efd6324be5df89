"""The operator's Config: what it sets, and what is said about the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haproxy.config import KEYS, Complaint, configured
from haproxy.pages import LONGEST_PAGE
from haproxy.settings import Settings

BEFORE = Settings()


def said(**table: object) -> tuple[Settings, tuple[Complaint, ...]]:
    return configured(BEFORE, json.dumps(table).encode())


@pytest.mark.parametrize(
    ("key", "value", "field", "wanted"),
    [
        ("HideInfoHeaders", True, "hide_info_headers", True),
        ("hideinfoheaders", True, "hide_info_headers", True),
        ("AllowPolicyReload", False, "allow_policy_reload", False),
        ("TrustedProxies", ["fd00::/8", "192.0.2.1"], "trusted_proxies", ("192.0.2.1/32", "fd00::/8")),
        ("TrustedProxies", "10.0.0.0/8", "trusted_proxies", ("10.0.0.0/8",)),
        ("TrustedProxies", [], "trusted_proxies", ()),
        ("TCPPorts", "20000-20002", "tcp_ports", (20000, 20001, 20002)),
        ("TCPPorts", "20001, 5432", "tcp_ports", (5432, 20001)),
        ("TCPPorts", [5432, "20000-20001", 20001], "tcp_ports", (5432, 20000, 20001)),
        ("TCPPorts", 5432, "tcp_ports", (5432,)),
        ("ErrorPages", {"503": "<h1>sorry</h1>", "404": "é"}, "error_pages", ((404, "é"), (503, "<h1>sorry</h1>"))),
        ("ConnectTimeout", 5, "connect_timeout", 5000),
        ("ClientTimeout", 0.25, "client_timeout", 250),
        ("ServerTimeout", 600, "server_timeout", 600_000),
        ("MaxConnections", 1024, "max_connections", 1024),
        ("SSLProtocols", "TLSv1.2", "ssl_protocols", ("TLSv1.2",)),
        ("SSLProtocols", "TLSv1.3 tlsv1.2", "ssl_protocols", ("TLSv1.2", "TLSv1.3")),
        ("SSLProtocols", ["TLSv1", "TLSv1.1"], "ssl_protocols", ("TLSv1.0", "TLSv1.1")),
        ("SSLCiphers", "HIGH:!aNULL:!MD5", "ssl_ciphers", "HIGH:!aNULL:!MD5"),
        ("SSLCiphers", "kECDHE+AES, @SECLEVEL=1", "ssl_ciphers", "kECDHE+AES:@SECLEVEL=1"),
        ("SSLCiphers", "", "ssl_ciphers", ""),
        ("SSLCipherSuites", "TLS_AES_128_GCM_SHA256", "ssl_ciphersuites", "TLS_AES_128_GCM_SHA256"),
        ("SSLOpts", "", "ssl_options", ()),
        ("SSLOpts", "no-sslv3 prefer-client-ciphers", "ssl_options", ("prefer-client-ciphers",)),
        ("SSLOpts", "curves X25519:P-256", "ssl_options", ("curves", "X25519:P-256")),
        ("SSLDefaultDHParam", 2048, "dh_param", 2048),
        ("DefaultCertificate", "site", "default_certificate", False),
        ("DefaultCertificateKey", "site.key", "default_certificate", False),
    ],
)  # fmt: skip
def test_each_key_sets_its_field(key: str, value: object, field: str, wanted: object) -> None:
    settings, complaints = said(**{key: value})
    assert (getattr(settings, field), complaints) == (wanted, ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HideInfoHeaders", "true"),
        ("HideInfoHeaders", 1),
        ("TrustedProxies", ["10.0.0.1/8"]),
        ("TrustedProxies", ["10.0.0.0/8", "example.org"]),
        ("TrustedProxies", [10]),
        ("TrustedProxies", {"a": 1}),
        ("TrustedProxies", [f"10.{n // 256}.{n % 256}.0/24" for n in range(1001)]),
        ("TCPPorts", "20019-20000"),
        ("TCPPorts", "0"),
        ("TCPPorts", "1-65535"),
        ("TCPPorts", ["http"]),
        ("TCPPorts", "٣"),
        ("TCPPorts", None),
        ("ErrorPages", {"200": "x"}),
        ("ErrorPages", {"503": 1}),
        ("ErrorPages", {"503": "x" * (LONGEST_PAGE + 1)}),
        ("ErrorPages", ["x"]),
        ("ConnectTimeout", 0),
        ("ConnectTimeout", True),
        ("ConnectTimeout", "5s"),
        ("ConnectTimeout", 1e300),
        ("ConnectTimeout", 600),
        ("MaxConnections", 0),
        ("SSLProtocols", "SSLv3 TLSv1"),
        ("SSLProtocols", "TLSv1.1 TLSv1.3"),
        ("SSLProtocols", ""),
        ("SSLProtocols", 1.2),
        ("SSLCiphers", "HIGH#x"),
        ("SSLCiphers", "@SECLEVEL=9"),
        ("SSLCiphers", "HIGH;x"),
        ("SSLCiphers", ["HIGH", 1]),
        ("SSLCiphers", "A:" * 2000),
        ("SSLCipherSuites", "HIGH"),
        ("SSLOpts", "crt /etc/passwd"),
        ("SSLOpts", "curves"),
        ("SSLOpts", 1),
        ("SSLDefaultDHParam", 512),
        ("SSLDefaultDHParam", True),
        ("SSLVerify", "required"),
        ("DefaultCertificate", 1),
        ("MaxConnections", 1.5),
        ("MaxConnections", True),
        ("PidPath", "/x"),
        ("TrustedProxy", ["10.0.0.0/8"]),
    ],
)
def test_a_bad_value_leaves_what_was_and_is_complained_of(key: str, value: object) -> None:
    settings, complaints = said(**{key: value, "ServerTimeout": 7})
    assert settings.server_timeout == 7000
    assert [complaint.key for complaint in complaints] == [key]
    assert all(complaint.message and complaint.remedy for complaint in complaints)
    assert configured(settings, b"") == (settings, ())


def test_a_key_that_is_nearly_right_is_guessed() -> None:
    assert said(TrustedProxy=[])[1][0].remedy == "did you mean TrustedProxies?"


def test_what_has_no_effect_beside_the_rest_is_said() -> None:
    settings, complaints = said(ProxyProtocol=True, TCPPorts="80-81")
    assert (settings.proxy_protocol, settings.tcp_ports) == (True, (80, 81))
    assert [complaint.key for complaint in complaints] == ["ProxyProtocol", "TCPPorts"]


@pytest.mark.parametrize("config", [b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_what_is_no_table_changes_nothing(config: bytes) -> None:
    settings, (complaint,) = configured(BEFORE, config)
    assert (settings, complaint.key) == (BEFORE, "Config")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
keys = st.sampled_from(KEYS) | st.text()


@given(st.dictionaries(keys, values))
def test_any_table_gives_settings(table: dict[str, object]) -> None:
    settings, _ = said(**table)
    assert settings.connect_timeout > 0
    assert all(1 <= port <= 65535 for port in settings.tcp_ports)
