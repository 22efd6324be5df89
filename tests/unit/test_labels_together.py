"""Labels beside each other: what they add up to, what can't be had together, and what is said about it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from l7.labels.parse import Parsed, RouteSpec, parse_labels
from l7.labels.spec import RedirectSpec, TlsSpec
from l7.labels.table import MAY_BE_EMPTY, PREFIX, SUPPORTED
from l7.model import (
    Balance,
    ClientCertificate,
    Cors,
    HashKey,
    HashSource,
    HeaderAction,
    HeaderChange,
    HealthCheck,
    Protocol,
    ProxyHeader,
    PublishedPort,
    RateLimit,
    RetryOn,
    Rules,
    ServerSettings,
)

BY_COOKIE, BY_ADDRESS = HashKey(HashSource.COOKIE, "S"), HashKey(HashSource.ADDRESS)


def parse(given: dict[str, str], *, hosts: str | None = "a.x", port: str | None = "80") -> Parsed:
    usual = {"hosts": hosts, "port": port}
    labels = {name: text for name, text in usual.items() if text is not None} | given
    return parse_labels({PREFIX + name: text for name, text in labels.items()}, (), "web", "id-web")


def spec_of(given: dict[str, str], **usual: str | None) -> RouteSpec:
    spec = parse(given, **usual).spec
    assert spec is not None
    return spec


def told(parsed: Parsed) -> dict[str, bool]:
    """Short name of each label with a problem, and whether it is fatal."""
    assert all(problem.message and problem.remedy and problem.service == "web" for problem in parsed.problems)
    return {problem.label.removeprefix(PREFIX): problem.fatal for problem in parsed.problems}


EVERYTHING = {label.name.replace("*", "X-Team"): label.example for label in SUPPORTED}
SILENT = {"redirects": "http://b.x,https://a.x", "weight": "10", "default_backend": "true", "hosts": "a.x, b.x"}
SILENT |= {"ssl_passthrough": "false", "acme": "false"}


def test_all_labels_together() -> None:
    """Each on its own field; those that exclude each other are reported, and nothing else is."""
    parsed = parse({**EVERYTHING, **SILENT, "backend_mode": "task"})
    assert told(parsed) == {"balance": False, "ip_hash": False, "protocol": False}
    assert parsed.spec is not None
    assert replace(parsed.spec, written=()) == RouteSpec(
        hosts=("a.x", "b.x"),
        port=8080,
        path="/app",
        strip_path=True,
        network="shop_frontend",
        cluster="east",
        default_backend=True,
        redirects=(RedirectSpec("http", "b.x", "/", "https://a.x"),),
        weight=10,
        canary_header=("x-canary", "green"),
        canary_cookie=("beta", "yes"),
        tcp_port=5432,
        balance=Balance.HASH,
        retry_on=RetryOn.SAFE,
        check=HealthCheck("/health", "app.example.org", (200, 204, *range(300, 400))),
        server=ServerSettings(
            Protocol.HTTPS,
            9000,
            5000,
            2,
            3,
            30_000,
            100,
            max_fails=3,
            fail_timeout=15_000,
            drain_timeout=300_000,
            tls_name="shop.internal",
            proxy_header=ProxyHeader.V2,
        ),
        rules=Rules(
            https_redirect=True,
            hsts="max-age=31536000; includeSubDomains",
            allow=("10.0.0.0/8", "2001:db8::/32"),
            rate_limit=RateLimit(100, 60_000),
            max_body=10 << 20,
            compression=True,
            cors=Cors(
                ("https://app.example.org",),
                ("DELETE", "GET", "POST"),
                ("authorization", "content-type"),
                credentials=True,
                max_age=600,
            ),
            request_headers=(HeaderChange(HeaderAction.SET, "X-Team", "shop"),),
            response_headers=(HeaderChange(HeaderAction.SET, "X-Team", "DENY"),),
            hash_key=HashKey(HashSource.COOKIE, "JSESSIONID"),
            timeout_server=120_000,
            timeout_tunnel=14_400_000,
            timeout_connect=500,
            queue_timeout=10_000,
            basic_auth_realm="Staff only",
            client_certificate=ClientCertificate.OPTIONAL,
        ),
        tls=TlsSpec(
            certificate="shop_site.cert",
            key="shop_site.key",
            client=ClientCertificate.OPTIONAL,
            client_ca="shop_staff.ca",
            backend_ca="shop_internal.ca",
            backend_certificate="shop_proxy.cert",
            backend_key="shop_proxy.key",
            basic_auth="shop_users",
        ),
    )
    written = {PREFIX + name: text for name, text in {**EVERYTHING, **SILENT, "backend_mode": "task"}.items()}
    assert dict(parsed.spec.written) == written
    assert list(parsed.spec.written) == sorted(parsed.spec.written)


def test_every_field_can_be_set() -> None:
    """No field of a specification, of rules or of server settings is out of reach of the labels."""
    spec = spec_of({**EVERYTHING, **SILENT})
    secrets = {"tls_ca", "tls_certificate"}  # by name, in `tls`
    for value, left_out in (
        (spec, {"stack"}),
        (spec.rules, {"name", "hash_key", "basic_auth"}),
        (spec.server, secrets),
        (spec.tls, {"acme", "passthrough"}),
    ):
        unset = {each.name for each in fields(value) if not getattr(value, each.name)} - left_out
        assert unset <= {"balance"}, unset


def test_defaults() -> None:
    assert replace(spec_of({}), written=()) == RouteSpec(("a.x",), 80)


# ---------------------------------------------------------------- what publishes a service


@pytest.mark.parametrize(
    ("name", "text"),
    [("default_backend", "true"), ("redirects", "http://b.x,http://a.x"), ("tcp_port", "5432")],
)
def test_what_publishes_a_service_without_hosts(name: str, text: str) -> None:
    parsed = parse({name: text}, hosts=None)
    assert parsed.spec is not None
    assert parsed.spec.hosts == ()
    assert parsed.problems == ()
    without_port = parse({name: text}, hosts=None, port=None)
    assert without_port.spec is None
    assert told(without_port) == {"port": True}
    published = (PublishedPort(8000, 80),)
    labels = {PREFIX + name: text}
    spec = parse_labels(labels, published).spec
    assert spec is not None
    assert spec.port == 8000


def test_default_backend_false_publishes_nothing() -> None:
    parsed = parse({"default_backend": "false"}, hosts=None)
    assert (parsed.spec, told(parsed)) == (None, {"hosts": False})


@pytest.mark.parametrize("name", ["default_backend", "redirects", "tcp_port", "hosts"])
def test_a_bad_value_of_what_publishes_is_not_taken_for_its_removal(name: str) -> None:
    parsed = parse({name: "?"}, hosts=None)
    assert (parsed.spec, told(parsed)) == (None, {name: True})


# ---------------------------------------------------------------- balance


@pytest.mark.parametrize(
    ("given", "balance", "key"),
    [
        ({"sticky_session_cookie": "S"}, Balance.HASH, BY_COOKIE),
        ({"balance": "cookie:S"}, Balance.HASH, BY_COOKIE),
        ({"ip_hash": "true"}, Balance.HASH, BY_ADDRESS),
        ({"balance": "source"}, Balance.HASH, BY_ADDRESS),
        ({"ip_hash": "false", "balance": "leastconn"}, Balance.LEAST_CONNECTIONS, None),
        ({"sticky_session_cookie": "S", "balance": "cookie:S"}, Balance.HASH, BY_COOKIE),
        ({"balance": "random"}, Balance.RANDOM, None),
        ({"backend_mode": "vip", "balance": "roundrobin"}, Balance.ROUND_ROBIN, None),
    ],
)
def test_balance(given: dict[str, str], balance: Balance, key: HashKey | None) -> None:
    parsed = parse(given)
    assert parsed.problems == ()
    assert parsed.spec is not None
    assert (parsed.spec.balance, parsed.spec.rules.hash_key) == (balance, key)


@pytest.mark.acceptance(73)
@pytest.mark.parametrize(
    ("given", "key", "losers"),
    [
        ({"sticky_session_cookie": "S", "ip_hash": "true"}, BY_COOKIE, {"ip_hash"}),
        ({"sticky_session_cookie": "S", "balance": "leastconn"}, BY_COOKIE, {"balance"}),
        ({"ip_hash": "true", "balance": "uri"}, BY_ADDRESS, {"balance"}),
        ({"sticky_session_cookie": "S", "ip_hash": "1", "balance": "first"}, BY_COOKIE, {"ip_hash", "balance"}),
        ({"backend_mode": "vip", "sticky_session_cookie": "S"}, None, {"sticky_session_cookie"}),
        ({"backend_mode": "vip", "ip_hash": "true"}, None, {"ip_hash"}),
        ({"backend_mode": "vip", "balance": "header:X"}, None, {"balance"}),
        ({"backend_mode": "vip", "balance": "leastconn"}, None, {"balance"}),
        (
            {"backend_mode": "vip", "sticky_session_cookie": "S", "ip_hash": "true"},
            None,
            {"sticky_session_cookie", "ip_hash"},
        ),
    ],
)
def test_of_two_ways_to_balance_one_holds_and_the_other_is_told(
    given: dict[str, str], key: HashKey | None, losers: set[str]
) -> None:
    parsed = parse(given)
    assert told(parsed) == dict.fromkeys(losers, False)
    assert parsed.spec is not None
    assert parsed.spec.rules.hash_key == key
    assert parsed.spec.balance is (Balance.HASH if key else Balance.ROUND_ROBIN)


# ---------------------------------------------------------------- servers and checks


@pytest.mark.parametrize(
    ("given", "fails", "timeout", "problems"),
    [
        ({"max_fails": "3", "fail_timeout": "15s"}, 3, 15_000, {}),
        ({"max_fails": "3"}, 3, 10_000, {}),
        ({"max_fails": "0"}, 0, 0, {}),
        ({"max_fails": "0", "fail_timeout": "15s"}, 0, 0, {"fail_timeout": False}),
        ({"max_fails": "3", "fail_timeout": "0"}, 0, 0, {}),
        ({"fail_timeout": "15s"}, 0, 0, {"fail_timeout": False}),
        ({}, 0, 0, {}),
    ],
)
def test_passive_health(given: dict[str, str], fails: int, timeout: int, problems: dict[str, bool]) -> None:
    parsed = parse(given)
    assert told(parsed) == problems
    assert parsed.spec is not None
    assert (parsed.spec.server.max_fails, parsed.spec.server.fail_timeout) == (fails, timeout)


def test_checks_are_by_tcp_without_a_path() -> None:
    parsed = parse({"health_check_interval": "5s", "health_check_port": "81", "health_check_rise": "2"})
    assert parsed.problems == ()
    assert parsed.spec is not None
    assert parsed.spec.check is None
    assert parsed.spec.server.check_port == 81


NO_EFFECT = [
    ({"health_check_status": "200"}, {"health_check_status"}),
    ({"health_check_host": "a"}, {"health_check_host"}),
    ({"queue_timeout": "1s"}, {"queue_timeout"}),
    ({"queue_timeout": "1s", "max_connections": "0"}, {"queue_timeout"}),
    ({"cors_methods": "GET", "cors_max_age": "1m"}, {"cors_methods", "cors_max_age"}),
    ({"cors_headers": "X", "cors_credentials": "true"}, {"cors_headers", "cors_credentials"}),
    ({"cors_origins": "*", "cors_credentials": "true"}, {"cors_credentials"}),
    ({"context_root_rewrite": "true"}, {"context_root_rewrite"}),
    ({"weight": "0"}, {"weight"}),
]


@pytest.mark.parametrize(("given", "names"), NO_EFFECT)
def test_what_has_no_effect_is_told_and_does_no_harm(given: dict[str, str], names: set[str]) -> None:
    parsed = parse(given)
    assert told(parsed) == dict.fromkeys(names, False)
    assert parsed.spec is not None


FULL_EFFECT = [
    {"health_check_path": "/h", "health_check_status": "204", "health_check_host": "a"},
    {"queue_timeout": "1s", "max_connections": "5"},
    {"cors_origins": "https://b", "cors_methods": "GET", "cors_headers": "X", "cors_credentials": "true"},
    {"context_root": "/", "context_root_rewrite": "true"},
    {"weight": "0", "canary_header": "X"},
    {"weight": "0", "canary_cookie": "x=1"},
    {"websocket_endpoints": "/ws"},
]


@pytest.mark.parametrize("given", FULL_EFFECT)
def test_and_with_what_it_needs_there_is_nothing_to_tell(given: dict[str, str]) -> None:
    assert parse(given).problems == ()


def test_any_origin_never_gets_credentials() -> None:
    assert spec_of({"cors_origins": "*", "cors_credentials": "true"}).rules.cors == Cors(("*",))


def test_websocket_endpoints_change_nothing() -> None:
    assert replace(spec_of({"websocket_endpoints": "/ws,/"}), written=()) == replace(spec_of({}), written=())


@pytest.mark.parametrize(
    ("given", "timeout"),
    [
        ({"protocol": "grpc"}, 3_600_000),
        ({"protocol": "grpc", "timeout_server": "5s"}, 5000),
        ({"protocol": "h2c"}, 0),
    ],
)
def test_grpc_is_h2c_with_patience(given: dict[str, str], timeout: int) -> None:
    spec = spec_of(given)
    assert (spec.server.protocol, spec.rules.timeout_server) == (Protocol.H2C, timeout)


# ---------------------------------------------------------------- headers


def test_headers_are_sorted_whatever_their_case() -> None:
    given = {"header_request_b": "+2", "header_request_A": "", "header_request_C": "3"}
    assert spec_of(given).rules.request_headers == (
        HeaderChange(HeaderAction.REMOVE, "A"),
        HeaderChange(HeaderAction.ADD, "b", "2"),
        HeaderChange(HeaderAction.SET, "C", "3"),
    )


def test_of_two_spellings_of_a_header_one_holds() -> None:
    parsed = parse({"header_request_X-A": "1", "header_request_x-a": "2", "header_response_x-a": "3"})
    assert told(parsed) == {"header_request_x-a": False}
    assert parsed.spec is not None
    assert parsed.spec.rules.request_headers == (HeaderChange(HeaderAction.SET, "X-A", "1"),)


@pytest.mark.parametrize(
    "name", ["header_request_Host", "header_request_", "header_response_a b", "header_request_x:y"]
)
def test_a_header_that_no_service_may_change_is_refused(name: str) -> None:
    parsed = parse({name: "x"})
    assert (parsed.spec, told(parsed)) == (None, {name: True})


@pytest.mark.parametrize("name", ["X-Request-Id", "x-proxy-id", "x-upstream-addr", "x-upstream-response-time"])
def test_what_the_proxies_say_on_every_answer_is_not_a_services_to_change(name: str) -> None:
    parsed = parse({f"header_response_{name}": "x", f"header_request_{name}": "y", "header_response_X": "z"})
    assert told(parsed) == {f"header_response_{name}": False}
    assert parsed.spec is not None
    assert parsed.spec.rules.response_headers == (HeaderChange(HeaderAction.SET, "X", "z"),)
    assert parsed.spec.rules.request_headers == (HeaderChange(HeaderAction.SET, name, "y"),)


@pytest.mark.parametrize(
    ("header", "label", "text"),
    [
        ("Strict-Transport-Security", "hsts", "60"),
        ("access-control-allow-origin", "cors_origins", "*"),
        ("Access-Control-Allow-Credentials", "cors_origins", "https://a.x"),
    ],
)
def test_a_header_that_another_label_sets_is_told(header: str, label: str, text: str) -> None:
    alone = f"header_response_{header}"
    assert told(parse({alone: "x"})) == {}
    parsed = parse({alone: "x", label: text})
    assert told(parsed) == {alone: False}
    assert parsed.spec is not None
    assert parsed.spec.rules.response_headers == ()


def test_headers_together_are_bounded() -> None:
    fits = {"header_request_A": "a" * 2047, "header_response_B": "b" * 2047}
    assert parse(fits).problems == ()
    parsed = parse({**fits, "header_response_C": ""})
    assert (parsed.spec, told(parsed)) == (None, {"header_response_C": True})


# ---------------------------------------------------------------- redirects


def test_a_pair_that_goes_in_circles_is_left_out_and_the_others_hold() -> None:
    parsed = parse({"redirects": "b.x,http://c.x;c.x,http://b.x;http://d.x,http://a.x"})
    assert told(parsed) == {"redirects": False}
    assert parsed.spec is not None
    assert parsed.spec.redirects == (
        RedirectSpec("", "b.x", "/", "http://c.x"),
        RedirectSpec("http", "d.x", "/", "http://a.x"),
    )


@pytest.mark.acceptance(53)
@pytest.mark.parametrize(
    ("pair", "given", "ok"),
    [
        ("http://a.x,https://a.x", {}, True),
        ("http://a.x,https://a.x", {"https_redirect": "true"}, True),
        ("a.x,https://a.x", {}, False),
        ("https://a.x,http://a.x", {}, True),
        ("https://a.x,http://a.x", {"https_redirect": "true"}, False),
        ("http://a.x,http://a.x", {}, False),
        ("http://a.x,http://a.x/app", {"context_root": "/app"}, True),
        ("http://a.x,http://a.x/app", {"context_root": "/other"}, True),
        ("http://a.x,http://a.x/app;a.x/app,http://a.x", {}, False),
        ("http://a.x:81,http://a.x:82", {}, False),
        ("*.x,https://www.x", {}, True),
    ],
)
def test_redirects_to_oneself(pair: str, given: dict[str, str], ok: bool) -> None:
    parsed = parse({"redirects": pair, **given})
    assert told(parsed) == ({} if ok else {"redirects": False})
    assert parsed.spec is not None
    assert len(parsed.spec.redirects) == pair.count(";") + ok


@pytest.mark.acceptance(54)
def test_the_source_of_a_redirect_need_not_be_a_host() -> None:
    assert spec_of({"redirects": "http://old.x,http://a.x"}).redirects == (
        RedirectSpec("http", "old.x", "/", "http://a.x"),
    )


# ---------------------------------------------------------------- TCP alone


def test_labels_about_http_are_told_on_a_service_that_has_only_a_tcp_port() -> None:
    for_http = {"context_root": "/a", "sticky_session_cookie": "S", "health_check_path": "/h", "rate_limit": "1/s"}
    for_both = {
        "tcp_port": "5432",
        "max_connections": "5",
        "health_check_interval": "1s",
        "weight": "5",
        "network": "n",
    }
    parsed = parse({**for_http, **for_both, "header_request_X": "1"}, hosts=None)
    assert told(parsed) == dict.fromkeys((*for_http, "header_request_X"), False)
    assert parsed.spec is not None
    assert (parsed.spec.balance, parsed.spec.rules.hash_key) == (Balance.ROUND_ROBIN, None)
    assert told(parse({**for_http, **for_both})) == {}


@pytest.mark.parametrize(
    "given",
    [
        {"tcp_port": "5432", "backend_mode": "vip"},
        {"redirects": "http://old.x,http://new.x"},
        {"redirects": "http://old.x,http://new.x", "tcp_port": "5432", "default_backend": "false"},
    ],
)
def test_labels_about_http_are_told_wherever_no_task_is_reached_by_it(given: dict[str, str]) -> None:
    for_http = {"allow": "10.0.0.0/8", "canary_cookie": "beta", "context_root": "/a", "hsts": "60"}
    parsed = parse({**given, **for_http}, hosts=None)
    assert told(parsed) == dict.fromkeys(for_http, False)
    assert all("nothing but " + " and ".join(sorted(given.keys() & {"redirects", "tcp_port"})) in problem.message
               for problem in parsed.problems)  # fmt: skip
    assert told(parse({**given, **for_http, "default_backend": "true"}, hosts=None)) == {"context_root": False}


def test_a_label_is_told_once() -> None:
    parsed = parse({"tcp_port": "5432", "backend_mode": "vip", "sticky_session_cookie": "S"}, hosts=None)
    assert [problem.label for problem in parsed.problems] == [PREFIX + "sticky_session_cookie"]


@pytest.mark.parametrize(
    ("given", "balance", "problems"),
    [
        ({"balance": "source"}, Balance.HASH, {}),
        ({"ip_hash": "true"}, Balance.HASH, {}),
        ({"balance": "leastconn"}, Balance.LEAST_CONNECTIONS, {}),
        ({"balance": "uri"}, Balance.ROUND_ROBIN, {"balance": False}),
        ({"balance": "first"}, Balance.ROUND_ROBIN, {"balance": False}),
        ({"backend_mode": "vip", "ip_hash": "true"}, Balance.ROUND_ROBIN, {"ip_hash": False}),
    ],
)
def test_balance_of_raw_tcp(given: dict[str, str], balance: Balance, problems: dict[str, bool]) -> None:
    parsed = parse({"tcp_port": "5432", **given}, hosts=None)
    assert told(parsed) == problems
    assert parsed.spec is not None
    assert parsed.spec.balance is balance


def test_a_path_means_nothing_to_a_default_backend() -> None:
    assert told(parse({"default_backend": "true", "context_root": "/a"}, hosts=None)) == {"context_root": False}


# ---------------------------------------------------------------- bad values


@pytest.mark.parametrize("text", ["~ ^/ws", "/ws/*", "\x00"])
def test_a_bad_value_of_a_label_without_effect_is_told_and_no_more(text: str) -> None:
    parsed = parse({"websocket_endpoints": text})
    assert told(parsed) == {"websocket_endpoints": False}
    assert parsed.spec == spec_of({})


@pytest.mark.parametrize("label", [each for each in SUPPORTED if not each.idle], ids=lambda label: label.name)
def test_a_bad_value_of_any_other_label_quarantines_the_service(label: object) -> None:
    name = label.name.replace("*", "X-Team")  # type: ignore[attr-defined]
    parsed = parse({**EVERYTHING, **SILENT, name: "\x00"})
    assert parsed.spec is None
    assert told(parsed)[name] is True
    assert [other for other, fatal in told(parsed).items() if fatal] == [name]


def test_nothing_said_for_want_of_a_label_that_is_there_but_bad() -> None:
    parsed = parse({"cors_origins": "?", "cors_methods": "GET", "max_fails": "x", "fail_timeout": "5s"})
    assert told(parsed) == {"cors_origins": True, "max_fails": True}
    assert told(parse({"max_connections": "x", "queue_timeout": "1s"})) == {"max_connections": True}
    assert told(parse({"health_check_path": "x", "health_check_host": "a"})) == {"health_check_path": True}


# ---------------------------------------------------------------- empty values


@pytest.mark.parametrize("name", sorted(key.removeprefix(PREFIX) for key in MAY_BE_EMPTY - {PREFIX + "port"}))
def test_an_empty_label_of_interlocks_is_as_none_at_all(name: str) -> None:
    assert parse({name: " "}).problems == ()
    assert parse({name: ""}).spec == spec_of({})


def test_an_empty_port_is_the_only_published_one() -> None:
    parsed = parse_labels({PREFIX + "hosts": "a.example", PREFIX + "port": ""}, [PublishedPort(8080, 80)])
    assert (parsed.spec and parsed.spec.port, parsed.problems) == (8080, ())


@pytest.mark.parametrize("name", ["hosts", "allow", "rate_limit", "tcp_port"])
def test_an_empty_label_that_protects_or_publishes_is_an_error(name: str) -> None:
    assert told(parse({name: ""})) == {name: True}
