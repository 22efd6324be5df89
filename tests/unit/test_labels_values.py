"""Each label by itself: what its value becomes, and what it refuses. Row by row of the table."""

from __future__ import annotations

import pytest

from l7.labels.grammar import Bad
from l7.labels.http_values import FRAMING, MAX_VALUE, HeaderEdit, parse_editable_header
from l7.labels.quantities import parse_duration, show_duration
from l7.labels.spec import RedirectSpec
from l7.labels.table import PREFIX, SUPPORTED, TABLE
from l7.model import (
    Balance,
    ClientCertificate,
    HashKey,
    HashSource,
    HeaderAction,
    Protocol,
    ProxyHeader,
    RateLimit,
    RetryOn,
)

CONTROLS = ("\x00", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028")
HASH = Balance.HASH
NEW, OLD = "https://new.example", "old.example"


def red(location: str, host: str = OLD, path: str = "/", scheme: str = "") -> RedirectSpec:
    return RedirectSpec(scheme, host, path, location)


GOOD: dict[str, list[tuple[str, object]]] = {
    "hosts": [("a.b C.D:80", ("a.b", "c.d")), ("*.x", ("*.x",))],
    "port": [("1", 1), ("65535", 65535), (" 8080 ", 8080), ("00080", 80)],
    "network": [("shop_front", "shop_front"), (" a.b-c ", "a.b-c")],
    "service_cluster": [("east", "east"), ("", ""), ("  ", "")],
    "context_root": [("app//x/", "/app/x"), ("/", "/")],
    "context_root_rewrite": [("Yes", True), ("off", False)],
    "redirects": [
        (f"http://{OLD},{NEW}", (red(NEW, scheme="http"),)),
        (f"https://{OLD},{NEW}", (red(NEW, scheme="https"),)),
        (f"{OLD},{NEW}", (red(NEW),)),
        (f"{OLD}/,{NEW}/", (red(NEW),)),
        ("HTTP://OLD.Example:80/a/,HTTPS://NEW.Example:443/B/", (red(NEW + "/B", path="/a", scheme="http"),)),
        (f"{OLD},https://new.example:8443/x", (red("https://new.example:8443/x"),)),
        (f"{OLD},http://new.example:443", (red("http://new.example:443"),)),
        (f"{OLD},http://new.example:0080", (red("http://new.example"),)),
        (f"*.{OLD},{NEW}", (red(NEW, host=f"*.{OLD}"),)),
        (f" b.x , {NEW} ; a.x,{NEW} ;", (red(NEW, host="a.x"), red(NEW, host="b.x"))),
        (f"http://{OLD},{NEW};https://{OLD},{NEW}", (red(NEW),)),
        (f"{OLD},{NEW};{OLD},{NEW}/", (red(NEW),)),
        (f"{OLD}/a%7eb,{NEW}/%7E", (red(NEW + "/~", path="/a~b"),)),
    ],
    "default_backend": [("true", True), ("0", False)],
    "tcp_port": [("5432", 5432)],
    "backend_mode": [("task", False), ("VIP", True), (" vip ", True)],
    "weight": [("0", 0), ("100", 100), ("1000", 1000)],
    "canary_header": [
        ("X-Canary", ("x-canary", "")),
        ("X-Canary=Green", ("x-canary", "Green")),
        (" x-a=a=b== ", ("x-a", "a=b==")),
        ("x-a=50%,~!*", ("x-a", "50%,~!*")),
    ],
    "canary_cookie": [("beta", ("beta", "")), ("Beta=Yes", ("Beta", "Yes")), ("connect.sid=1", ("connect.sid",
        "1"))],
    "websocket_endpoints": [("/ws", ("/ws",)), ("/b, a /b/", ("/a", "/b")), ("/", ("/",))],
    "balance": [
        ("roundrobin", (Balance.ROUND_ROBIN, None)),
        ("LeastConn", (Balance.LEAST_CONNECTIONS, None)),
        ("random", (Balance.RANDOM, None)),
        ("first", (Balance.FIRST, None)),
        ("source", (HASH, HashKey(HashSource.ADDRESS))),
        ("uri", (HASH, HashKey(HashSource.URI))),
        ("header:X-User", (HASH, HashKey(HashSource.HEADER, "x-user"))),
        (" cookie:JSESSIONID ", (HASH, HashKey(HashSource.COOKIE, "JSESSIONID"))),
    ],
    "sticky_session_cookie": [("JSESSIONID", "JSESSIONID"), ("connect.sid", "connect.sid"), ("__Host-s",
        "__Host-s")],
    "ip_hash": [("1", True), ("no", False)],
    "health_check_path": [
        ("/", "/"),
        ("/health", "/health"),
        ("/h?full=1&x=%20", "/h?full=1&x=%20"),
        ("//a/../b", "//a/../b"),
        ("/" + "a" * 511, "/" + "a" * 511),
    ],
    "health_check_status": [
        ("200", (200,)),
        ("204,200 , 204", (200, 204)),
        ("200 404", (200, 404)),
        ("200-202,599", (200, 201, 202, 599)),
        ("200-399", ()),
        ("300-399,200-299", ()),
    ],
    "health_check_host": [("App.Example.", "app.example"), ("app:8080", "app:8080"), ("10.0.0.1", "10.0.0.1")],
    "health_check_port": [("9000", 9000)],
    "health_check_interval": [("5", 5000), ("100ms", 100), ("1h", 3_600_000)],
    "health_check_rise": [("1", 1), ("100", 100)],
    "health_check_fall": [("3", 3)],
    "slow_start": [("0", 0), ("30s", 30_000)],
    "max_connections": [("0", 0), ("100", 100)],
    "max_fails": [("0", 0), ("3", 3)],
    "fail_timeout": [("15s", 15_000), ("15", 15_000), ("0", 0), ("0s", 0)],
    "protocol": [
        ("http", (Protocol.HTTP, False)),
        ("h2c", (Protocol.H2C, False)),
        ("HTTPS", (Protocol.HTTPS, False)),
        ("grpc", (Protocol.H2C, True)),
    ],
    "retry_on": [("none", RetryOn.CONNECT), ("safe", RetryOn.SAFE), ("All", RetryOn.ALL)],
    "drain_timeout": [("5m", 300_000), ("100ms", 100)],
    "timeout_server": [("10ms", 10), ("1h30m", 5_400_000), ("90", 90_000), ("1.5s", 1500), ("24h", 86_400_000)],
    "timeout_tunnel": [("168h", 604_800_000)],
    "timeout_connect": [("500ms", 500)],
    "queue_timeout": [("1m", 60_000)],
    "https_redirect": [("true", True)],
    "hsts": [
        ("31536000", "max-age=31536000"),
        ("0", "max-age=0"),
        ("max-age=60", "max-age=60"),
        ('MAX-AGE = "060" ; includesubdomains', "max-age=60; includeSubDomains"),
        ("preload;includeSubDomains;max-age=31536000;", "max-age=31536000; includeSubDomains; preload"),
    ],
    "allow": [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.0.0.1", ("10.0.0.1/32",)),
        ("2001:DB8::/32 10.0.0.0/8", ("10.0.0.0/8", "2001:db8::/32")),
        ("::1", ("::1/128",)),
        ("10.1.0.0/16,10.0.0.0/8,10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.0.0.0/9, 10.128.0.0/9", ("10.0.0.0/8",)),
        ("::ffff:10.0.0.0/104", ("10.0.0.0/8",)),
        ("0.0.0.0/0", ("0.0.0.0/0",)),
        ("::/0", ("::/0",)),
    ],
    "rate_limit": [
        ("10/s", RateLimit(10, 1000)),
        ("50/10s", RateLimit(50, 10_000)),
        ("100/m", RateLimit(100, 60_000)),
        (" 1000000/h ", RateLimit(1_000_000, 3_600_000)),
    ],
    "max_body_size": [("0", 0), ("512", 512), ("512k", 524_288), ("10M", 10_485_760), ("1024g", 1 << 40)],
    "compression": [("on", True)],
    "cors_origins": [
        ("*", ("*",)),
        ("https://App.Example", ("https://app.example",)),
        ("https://b:443, http://a:8080 http://a:80", ("http://a", "http://a:8080", "https://b")),
    ],
    "cors_methods": [("get, DELETE", ("DELETE", "GET"))],
    "cors_headers": [("Content-Type, authorization", ("authorization", "content-type"))],
    "cors_credentials": [("true", True)],
    "cors_max_age": [("10m", 600), ("1", 1), ("24h", 86_400)],
    "header_request_*": [
        ("shop", HeaderEdit(HeaderAction.SET, "shop")),
        (" a b\tc ", HeaderEdit(HeaderAction.SET, "a b\tc")),
        ("+ a", HeaderEdit(HeaderAction.ADD, "a")),
        ("++a", HeaderEdit(HeaderAction.ADD, "+a")),
        ("", HeaderEdit(HeaderAction.REMOVE)),
        ("\t ", HeaderEdit(HeaderAction.REMOVE)),
        ("max-age=1; x=\"y\" | 'z' \\ # %[src] ${HOME} ~",
            HeaderEdit(HeaderAction.SET, "max-age=1; x=\"y\" | 'z' \\ # %[src] ${HOME} ~")),
        ("a" * MAX_VALUE, HeaderEdit(HeaderAction.SET, "a" * MAX_VALUE)),
    ],
    "header_response_*": [("DENY", HeaderEdit(HeaderAction.SET, "DENY"))],
    "ssl_cert": [("site", "site"), (" shop_site.cert-2 ", "shop_site.cert-2"), ("a" * 64, "a" * 64), ("1", "1")],
    "ssl_key": [("shop_site.key", "shop_site.key")],
    "acme": [("true", True), ("off", False)],
    "ssl_only": [("Yes", True), ("0", False)],
    "ssl_passthrough": [("1", True), ("false", False)],
    "ssl_client_ca": [("Staff.CA", "Staff.CA")],
    "ssl_client_verify": [
        ("required", ClientCertificate.REQUIRED),
        (" Optional ", ClientCertificate.OPTIONAL),
    ],
    "ssl_backend": [("on", True), ("no", False)],
    "ssl_backend_tls_verify": [("none", False), ("REQUIRED", True)],
    "ssl_backend_ca": [("internal", "internal")],
    "ssl_backend_name": [("Shop.Internal.", "shop.internal"), (" a_b ", "a_b"), ("10.0.0.1", "10.0.0.1")],
    "ssl_backend_cert": [("proxy.cert", "proxy.cert")],
    "ssl_backend_key": [("proxy.key", "proxy.key")],
    "proxy_protocol": [
        ("v1", ProxyHeader.V1),
        ("V2", ProxyHeader.V2),
        ("true", ProxyHeader.V2),
        ("false", ProxyHeader.NONE),
    ],
    "basic_auth": [("users", "users")],
    "basic_auth_realm": [
        ("Staff only", "Staff only"),
        (" a|b; #{c} %[d] $e ~!", "a|b; #{c} %[d] $e ~!"),
        ("a" * 128, "a" * 128),
    ],
}  # fmt: skip

NUMBERS = ["", "-1", "+1", "1.0", "1_0", "abc", "٣", "0x10", "1 0", "99999999999"]
DURATIONS = [
    "",
    "1d",
    "1 h",
    "-1s",
    "1.s",
    ".5s",
    "1.5",
    "s",
    "1s2",
    "0.0001ms",
    "1µs",
    "٣s",
    "99999999999s",
    "1h1",
    "1S",
]
WORDS = ["", "x", "ﬁrst", "\u212a"]
LISTS = ["", " ", ",", "a;b", "a|b"]
NAMES = ["", "a b", "a;b", "a=b", "a|b", "a:b", "a,b", "é", "a" * 129]
SECRETS = ["", "a b", "a/b", "../a", "/run/secrets/a", "a|b", "a:b", "_a", ".", "a" * 65, "é", "\u212a"]

BAD: dict[str, list[str]] = {
    "hosts": [*LISTS, "http://a", "a b/c", "é"],
    "port": [*NUMBERS, "0", "65536"],
    "network": [*NAMES, "_a", "a/b"],
    "service_cluster": ["a b", "-", "é"],
    "context_root": ["", "/a/../b", "/a b", "/a|b"],
    "context_root_rewrite": ["", "maybe"],
    "redirects": [
        "", ";", OLD, f"{OLD},", f",{NEW}", f"{OLD},new.example", f"{OLD},ftp://new.example", f"{OLD},{NEW}?a=b",
        f"{OLD},{NEW}#x", f"{OLD},{NEW}/a b", f"{OLD}?x,{NEW}", f"{OLD},https://u:p@new.example",
            f"{OLD},{NEW},x",
        f"{OLD},{NEW}:65536", f"{OLD},{NEW}:0",
        f"{OLD},https://*.example", f"{OLD},{NEW};{OLD},https://other.example", f"*,{NEW}", f"{OLD},https://",
        f"http://{OLD},{NEW};https://{OLD},https://other.example", f"{OLD},{NEW}/../x", f"{OLD},{NEW}|x",
        f"{OLD},https://[::1]", f"{OLD},//new.example", f"{OLD},javascript:alert(1)", f"http:/{OLD},{NEW}",
        ";".join(f"h{number}.x,{NEW}" for number in range(65)),
    ],
    "default_backend": ["", "2"],
    "tcp_port": [*NUMBERS, "0", "65536"],
    "backend_mode": [*WORDS, "dnsrr"],
    "weight": [*NUMBERS, "1001"],
    "canary_header": [*NAMES[:3], "=x", "X=", "X=a b", "X=a|b", "X=a;b", "X='a'", 'X="a"', "X=a\\", "X=#",
        "X=é", "X=" + "a" * 129],
    "canary_cookie": [*NAMES[:3], "=x", "b=", "b=a b", "b=a|b", "b=é"],
    "websocket_endpoints": ["", ",", "/a/../b", "/a|b", ",".join(f"/{number}" for number in range(65))],
    "balance": [*WORDS, "header", "header:", "cookie:", "header:a b", "cookie:a=b", "header:é", "source:x",
        "uri:", "hash", "header:a|b"],
    "sticky_session_cookie": NAMES,
    "ip_hash": ["", "source"],
    "health_check_path": ["", "health", "/a b", "/a;b", "/a|b", "/a#b", "/é", "/%zz", "/%4", "/a'",
        '/a"', "/a\\", "/$x", "/" + "a" * 512],
    "health_check_status": ["", "2xx", "100", "199", "600", "399-300", "200-", "-200", "200;204", "٢٠٠", "2000"],
    "health_check_host": ["", "*.a", "a b", "http://a", "a/b", "a;b", "é"],
    "health_check_port": [*NUMBERS, "0", "65536"],
    "health_check_interval": [*DURATIONS, "0", "99ms", "61m"],
    "health_check_rise": [*NUMBERS, "0", "101"],
    "health_check_fall": [*NUMBERS, "0", "101"],
    "slow_start": [*DURATIONS, "61m"],
    "max_connections": [*NUMBERS, "1000001"],
    "max_fails": [*NUMBERS, "1001"],
    "fail_timeout": [*DURATIONS, "1ms", "99ms", "25h"],
    "protocol": [*WORDS, "tcp", "h2"],
    "retry_on": [*WORDS, "always", "3"],
    "drain_timeout": [*DURATIONS, "0", "25h"],
    "timeout_server": [*DURATIONS, "0", "9ms", "25h"],
    "timeout_tunnel": [*DURATIONS, "0", "169h"],
    "timeout_connect": [*DURATIONS, "0", "61m"],
    "queue_timeout": [*DURATIONS, "0", "61m"],
    "https_redirect": ["", "308"],
    "hsts": [
        "", "max-age", "max-age=", "includeSubDomains", "max-age=1; max-age=2", "max-age=1; foo", "max-age=-1",
            "1y",
        "max-age=31536000; preload", "max-age=60; includeSubDomains; preload", "315360001", "max-age=1|x",
        "max-age=1; inclu\u0219eSubDomains", "max-age=1, includeSubDomains",
    ],
    "allow": [
        *LISTS, "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0", "256.0.0.1", "010.0.0.1",
            "::/129", "fe80::1%eth0",
        "example.org", "10.0.0.0/8/8", "10.0.0.0/-1", "*", "all", "٣.0.0.1",
            " ".join(f"10.{n // 250}.{n % 250}.0" for n in range(257)),
    ],
    "rate_limit": ["", "10", "/s", "0/s", "10/2s", "10/1s", "10/d", "10 / s", "-1/s", "1.5/s", "1000001/s",
        "10/S", "٣/s"],
    "max_body_size": ["", "m", "-1", "1.5m", "10mb", "10 m", "1025g", "٣m", "1\u212a"],
    "compression": ["", "gzip"],
    "cors_origins": [*LISTS, "*,https://a", "a.example", "ftp://a", "https://a/path", "https://*.a",
        "https://", "null", "https://u@a"],
    "cors_methods": [*LISTS, "G-T", "ge\u0442", "M" * 21],
    "cors_headers": [*LISTS, "x:y", "é", "-x"],
    "cors_credentials": ["", "include"],
    "cors_max_age": [*DURATIONS, "0", "500ms", "1500ms", "25h"],
    "header_request_*": ["é", "a\u0100", "+", "+ ", "a" * (MAX_VALUE + 1),
        *(f"a{control}b" for control in CONTROLS)],
    "header_response_*": ["é", "+", *(f"{control}" for control in CONTROLS)],
    "ssl_cert": [*SECRETS, "shop_", "-a", "a."],
    "ssl_key": SECRETS,
    "acme": ["", "letsencrypt"],
    "ssl_only": ["", "308"],
    "ssl_passthrough": ["", "tcp"],
    "ssl_client_ca": SECRETS,
    "ssl_client_verify": [*WORDS, "none", "true"],
    "ssl_backend": ["", "https"],
    "ssl_backend_tls_verify": [*WORDS, "optional", "true"],
    "ssl_backend_ca": SECRETS,
    "ssl_backend_name": ["", "*.a", "a b", "https://a", "a/b", "a;b", "é", "a,b"],
    "ssl_backend_cert": SECRETS,
    "ssl_backend_key": SECRETS,
    "proxy_protocol": [*WORDS, "v3", "1", "yes"],
    "basic_auth": [*SECRETS, "user:password"],
    "basic_auth_realm": ["", " ", 'a"b', "a'b", "a\\b", "é", "a\tb", "a" * 129],
}  # fmt: skip


def parse(name: str, text: str) -> object:
    return TABLE[PREFIX + name].parse(text)


def test_every_label_is_in_both_tables() -> None:
    names = {label.name for label in SUPPORTED}
    assert set(GOOD) == names
    assert set(BAD) == names


@pytest.mark.parametrize(("name", "text", "value"), [(name, *row) for name, rows in GOOD.items() for row in rows])
def test_values(name: str, text: str, value: object) -> None:
    found = parse(name, text)
    assert found == value
    assert type(found) is type(value), "1 is not True"


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_values_outside_the_grammar_are_refused(name: str, text: str) -> None:
    found = parse(name, text)
    assert isinstance(found, Bad)
    assert found.message
    assert found.remedy


@pytest.mark.parametrize("control", [*CONTROLS, "\t"])
@pytest.mark.parametrize("label", SUPPORTED, ids=lambda label: label.name)
def test_no_control_character_passes(label: object, control: str) -> None:
    name, example = label.name, label.example  # type: ignore[attr-defined]
    if control == "\t" and name.startswith("header_"):
        return
    for text in (f"{example}{control}", f"{control}{example}", f"{example[:1]}{control}{example[1:]}"):
        assert isinstance(parse(name, text), Bad)


@pytest.mark.parametrize("name", ["X-Team", "x", "X_Team", "1", "X-Forwarded-Proto", "Server", "A" * 128])
def test_headers_that_a_service_may_change(name: str) -> None:
    assert parse_editable_header(name) == name


@pytest.mark.parametrize(
    "name",
    [*FRAMING, "Transfer-Encoding", "content_length", "HOST", "x-l7-be", "X_L7_FT", "", "-x", "a b", "a:b",
        "é", "A" * 129,
     "a\n", "x|y", "*"],
)  # fmt: skip
def test_headers_that_it_may_not(name: str) -> None:
    assert isinstance(parse_editable_header(name), Bad)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("2h45m", 9_900_000),
        ("1m1m", 120_000),
        ("0.5h", 1_800_000),
        ("0.001s", 1),
        ("1.000500s", None),
        ("0.1s0.9s", 1000),
        ("1ms1ms1ms1ms1ms1ms1ms1ms1ms", None),
    ],
)
def test_durations_are_exact(text: str, milliseconds: int | None) -> None:
    found = parse_duration(text)
    assert isinstance(found, Bad) if milliseconds is None else found == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0"), (1, "1ms"), (90_000, "90s"), (3_600_000, "1h"), (60_000, "1m")]
)
def test_durations_in_messages(milliseconds: int, text: str) -> None:
    assert show_duration(milliseconds) == text
    assert parse_duration(text) == milliseconds
