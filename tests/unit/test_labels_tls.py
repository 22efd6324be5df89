"""Labels about TLS and passwords beside each other and beside the rest: what they add up to, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.labels.parse import Parsed, RouteSpec, parse_labels
from l7.labels.spec import NO_TLS, RedirectSpec, TlsSpec
from l7.labels.table import PREFIX
from l7.model import Balance, ClientCertificate, Protocol, ProxyHeader, Rules, ServerSettings

REQUIRED, OPTIONAL = ClientCertificate.REQUIRED, ClientCertificate.OPTIONAL
BACKEND = {"ssl_backend": "true"}
CERT, PASS = {"ssl_cert": "c"}, {"ssl_passthrough": "true"}
CA = {"ssl_backend_ca": "ca"}
TASK_NAME = "ssl_backend_name"


def parse(given: dict[str, str], hosts: str | None = "a.x") -> Parsed:
    labels = {"port": "80", **({} if hosts is None else {"hosts": hosts}), **given}
    return parse_labels({PREFIX + name: text for name, text in labels.items()}, (), "web", "id-web")


def spec_of(parsed: Parsed) -> RouteSpec:
    assert parsed.spec is not None, parsed.problems
    return replace(parsed.spec, written=())


def told(parsed: Parsed) -> dict[str, bool]:
    """Short name of each label with a problem, and whether it is fatal; each is told once."""
    assert all(problem.message and problem.remedy for problem in parsed.problems)
    assert len({problem.label for problem in parsed.problems}) == len(parsed.problems)
    return {problem.label.removeprefix(PREFIX): problem.fatal for problem in parsed.problems}


# ---------------------------------------------------------------- towards clients


@pytest.mark.parametrize(
    ("given", "hosts", "tls", "problems"),
    [
        (CERT, "a.x", TlsSpec("c"), set()),
        ({**CERT, "ssl_key": "k"}, "a.x *.b.x", TlsSpec("c", "k"), set()),
        ({"ssl_key": "k"}, "a.x", NO_TLS, {"ssl_key"}),
        ({"acme": "true"}, "a.x", TlsSpec(acme=True), set()),
        ({"acme": "false"}, "*.x", NO_TLS, set()),
        ({"acme": "true"}, "a.x *.b.x", TlsSpec(acme=True), {"acme"}),
        ({"acme": "true"}, "*.b.x", NO_TLS, {"acme"}),
        ({"acme": "true", **CERT}, "a.x", TlsSpec("c"), {"acme"}),
        ({"acme": "true", "ssl_key": "k"}, "a.x", TlsSpec(acme=True), {"ssl_key"}),
        ({"default_backend": "true", **CERT, "ssl_key": "k"}, None, NO_TLS, {"ssl_cert"}),
        ({"default_backend": "true", "acme": "true"}, None, NO_TLS, {"acme"}),
        ({"tcp_port": "5432", **CERT, "basic_auth": "u"}, None, NO_TLS, {"ssl_cert", "basic_auth"}),
        ({"redirects": "http://b.x,http://c.x", "acme": "1"}, None, NO_TLS, {"acme"}),
    ],
)
def test_certificates(given: dict[str, str], hosts: str | None, tls: TlsSpec, problems: set[str]) -> None:
    parsed = parse(given, hosts)
    assert told(parsed) == dict.fromkeys(problems, False)
    assert spec_of(parsed).tls == tls


@pytest.mark.parametrize(
    ("given", "client", "ca"),
    [
        ({**CERT, "ssl_client_ca": "ca"}, REQUIRED, "ca"),
        ({**CERT, "ssl_client_ca": "ca", "ssl_client_verify": "required"}, REQUIRED, "ca"),
        ({"acme": "true", "ssl_client_ca": "ca", "ssl_client_verify": "optional"}, OPTIONAL, "ca"),
    ],
)
def test_certificates_of_clients(given: dict[str, str], client: ClientCertificate, ca: str) -> None:
    parsed = parse(given)
    assert parsed.problems == ()
    spec = spec_of(parsed)
    assert (spec.tls.client, spec.tls.client_ca, spec.rules.client_certificate) == (client, ca, client)


@pytest.mark.parametrize(
    ("given", "hosts", "name"),
    [
        ({"ssl_client_ca": "ca"}, "a.x", "ssl_client_ca"),
        ({"ssl_client_ca": "ca", "ssl_client_verify": "optional"}, "a.x", "ssl_client_ca"),
        ({"ssl_client_ca": "ca", "ssl_client_verify": "required"}, "a.x", "ssl_client_ca"),
        ({**CERT, "ssl_client_verify": "required"}, "a.x", "ssl_client_verify"),
    ],
)
def test_clients_that_cannot_be_verified_are_not_let_in_instead(
    given: dict[str, str], hosts: str, name: str
) -> None:
    parsed = parse(given, hosts)
    assert (parsed.spec, told(parsed)) == (None, {name: True})


def test_no_certificate_for_any_host_is_none_to_show_one_by() -> None:
    parsed = parse({"acme": "true", "ssl_client_ca": "ca"}, "*.a.x")
    assert (parsed.spec, told(parsed)) == (None, {"acme": False, "ssl_client_ca": True})
    parsed = parse({"default_backend": "true", **CERT, "ssl_client_ca": "ca"}, None)
    assert (parsed.spec, told(parsed)) == (None, {"ssl_cert": False, "ssl_client_ca": True})


def test_optional_without_a_ca_has_no_effect() -> None:
    parsed = parse({**CERT, "ssl_client_verify": "optional"})
    assert told(parsed) == {"ssl_client_verify": False}
    assert spec_of(parsed).tls == TlsSpec("c")


@pytest.mark.acceptance(64)
@pytest.mark.parametrize(
    ("given", "redirected"),
    [
        ({"ssl_only": "true"}, True),
        ({"https_redirect": "true"}, True),
        ({"ssl_only": "true", "https_redirect": "true"}, True),
        ({"ssl_only": "true", "https_redirect": "false"}, True),
        ({"ssl_only": "false"}, False),
    ],
)
def test_ssl_only_is_https_redirect(given: dict[str, str], redirected: bool) -> None:
    parsed = parse(given)
    assert parsed.problems == ()
    assert spec_of(parsed).rules.https_redirect is redirected


@pytest.mark.parametrize("name", ["ssl_only", "https_redirect"])
def test_a_redirect_back_from_https_goes_in_circles(name: str) -> None:
    parsed = parse({"redirects": "https://a.x,http://a.x", name: "true"})
    assert told(parsed) == {"redirects": False}
    assert spec_of(parsed).redirects == ()


# ---------------------------------------------------------------- passwords


@pytest.mark.parametrize(
    ("given", "hosts", "realm"),
    [
        ({}, "b.x, a.x", "a.x"),
        ({}, "*.x, b.x", "b.x"),
        ({}, "*.x", "web"),
        ({"default_backend": "true"}, None, "web"),
        ({"basic_auth_realm": " Staff only "}, "a.x", "Staff only"),
    ],
)
def test_passwords_and_what_browsers_show(given: dict[str, str], hosts: str | None, realm: str) -> None:
    parsed = parse({"basic_auth": "users", **given}, hosts)
    assert parsed.problems == ()
    assert (spec_of(parsed).tls.basic_auth, spec_of(parsed).rules.basic_auth_realm) == ("users", realm)


def test_a_realm_without_passwords_has_no_effect() -> None:
    parsed = parse({"basic_auth_realm": "Staff"})
    assert told(parsed) == {"basic_auth_realm": False}
    assert not spec_of(parsed).rules


# ---------------------------------------------------------------- towards tasks


@pytest.mark.acceptance(65)
@pytest.mark.parametrize(
    ("given", "name", "tls"),
    [
        (BACKEND, "a.x", NO_TLS),
        ({"protocol": "https"}, "a.x", NO_TLS),
        ({**BACKEND, "protocol": "https"}, "a.x", NO_TLS),
        ({**BACKEND, TASK_NAME: "Task.Internal"}, "task.internal", NO_TLS),
        ({**BACKEND, "ssl_backend_tls_verify": "none"}, "a.x", NO_TLS),
        ({**BACKEND, **CA}, "a.x", TlsSpec(backend_ca="ca")),
        ({"protocol": "https", **CA, "ssl_backend_tls_verify": "required"}, "a.x", TlsSpec(backend_ca="ca")),
        ({**BACKEND, "ssl_backend_cert": "c"}, "a.x", TlsSpec(backend_certificate="c")),
        (
            {**BACKEND, "ssl_backend_cert": "c", "ssl_backend_key": "k"},
            "a.x",
            TlsSpec(backend_certificate="c", backend_key="k"),
        ),
    ],
)
def test_tls_to_the_tasks(given: dict[str, str], name: str, tls: TlsSpec) -> None:
    parsed = parse(given, "*.x a.x b.x")
    assert parsed.problems == ()
    assert spec_of(parsed).server == ServerSettings(protocol=Protocol.HTTPS, tls_name=name)
    assert spec_of(parsed).tls == tls


@pytest.mark.parametrize(
    ("given", "tls", "problems"),
    [
        ({**BACKEND, **CA, "ssl_backend_tls_verify": "none"}, NO_TLS, {"ssl_backend_ca"}),
        ({**BACKEND, "ssl_backend_key": "k"}, NO_TLS, {"ssl_backend_key"}),
        ({**BACKEND, "protocol": "h2c"}, NO_TLS, {"protocol"}),
        ({**BACKEND, "protocol": "grpc"}, NO_TLS, {"protocol"}),
        ({**BACKEND, "protocol": "http"}, NO_TLS, {"protocol"}),
    ],
)
def test_over_tls_what_has_no_effect_is_told(given: dict[str, str], tls: TlsSpec, problems: set[str]) -> None:
    parsed = parse(given)
    assert told(parsed) == dict.fromkeys(problems, False)
    assert (spec_of(parsed).server.protocol, spec_of(parsed).tls) == (Protocol.HTTPS, tls)


@pytest.mark.parametrize("clear", [{}, {"ssl_backend": "false"}, {"protocol": "h2c"}])
def test_in_the_clear_labels_about_tls_to_the_tasks_are_told(clear: dict[str, str]) -> None:
    about = {**CA, TASK_NAME: "b", "ssl_backend_cert": "c", "ssl_backend_key": "k"}
    parsed = parse({**clear, **about, "ssl_backend_tls_verify": "required"})
    assert told(parsed) == dict.fromkeys([*about, "ssl_backend_tls_verify"], False)
    assert (spec_of(parsed).tls, spec_of(parsed).server.tls_name) == (NO_TLS, "")
    assert parse({**clear, "ssl_backend_tls_verify": "none"}).problems == ()


@pytest.mark.parametrize(
    ("given", "hosts", "name"),
    [
        ({**BACKEND, "ssl_backend_tls_verify": "required"}, "a.x", "ssl_backend_tls_verify"),
        ({**BACKEND, **CA}, "*.x", "ssl_backend_ca"),
        ({**BACKEND, **CA, "default_backend": "true"}, None, "ssl_backend_ca"),
    ],
)
def test_tasks_that_cannot_be_verified_are_not_spoken_to(
    given: dict[str, str], hosts: str | None, name: str
) -> None:
    parsed = parse(given, hosts)
    assert (parsed.spec, told(parsed)) == (None, {name: True})
    assert parse({**given, **CA, TASK_NAME: "task"}, hosts).problems == ()


@pytest.mark.parametrize("given", [{}, {"tcp_port": "5432"}, PASS])
def test_the_proxy_protocol_goes_with_everything(given: dict[str, str]) -> None:
    parsed = parse({**given, "proxy_protocol": "v1"}, None if "tcp_port" in given else "a.x")
    assert parsed.problems == ()
    assert spec_of(parsed).server == ServerSettings(proxy_header=ProxyHeader.V1)


# ---------------------------------------------------------------- passed through


def test_passed_through() -> None:
    works = {
        "network": "n", "service_cluster": "east", "weight": "5", "https_redirect": "true", "ssl_only": "true",
        "redirects": "http://old.x,https://a.x", "tcp_port": "5432", "balance": "source", "max_fails": "3",
        "proxy_protocol": "true", "health_check_interval": "5s", "websocket_endpoints": "/ws", "port": "443",
    }  # fmt: skip
    parsed = parse({**works, **PASS})
    assert parsed.problems == ()
    assert spec_of(parsed) == RouteSpec(
        ("a.x",),
        443,
        network="n",
        cluster="east",
        redirects=(RedirectSpec("http", "old.x", "/", "https://a.x"),),
        weight=5,
        tcp_port=5432,
        balance=Balance.HASH,
        server=ServerSettings(check_interval=5000, max_fails=3, fail_timeout=10_000, proxy_header=ProxyHeader.V2),
        rules=Rules(https_redirect=True),
        tls=TlsSpec(passthrough=True),
    )


NO_EFFECT = {
    "ssl_cert": "c", "ssl_key": "k", "acme": "true", "ssl_client_ca": "ca", "ssl_client_verify": "required",
    "ssl_backend": "true", "ssl_backend_ca": "ca", "ssl_backend_tls_verify": "required",
    "context_root": "/a", "context_root_rewrite": "true", "sticky_session_cookie": "S", "basic_auth": "u",
    "basic_auth_realm": "r", "header_request_X": "1", "header_response_X": "", "hsts": "60",
    "allow": "10.0.0.0/8", "rate_limit": "1/s", "compression": "true", "cors_origins": "*", "cors_methods": "GET",
    "timeout_server": "5s", "retry_on": "safe", "health_check_path": "/h", "health_check_status": "200",
    "canary_header": "X", "canary_cookie": "b", "default_backend": "true", "protocol": "h2c", "balance": "uri",
    "queue_timeout": "5s",
}  # fmt: skip


@pytest.mark.parametrize("names", [*([name] for name in NO_EFFECT), list(NO_EFFECT)])
def test_whatever_is_about_requests_is_told_and_passthrough_holds(names: list[str]) -> None:
    parsed = parse({**PASS, **{name: NO_EFFECT[name] for name in names}})
    assert told(parsed) == dict.fromkeys(names, False)
    assert spec_of(parsed) == spec_of(parse(PASS)) == RouteSpec(("a.x",), 80, tls=TlsSpec(passthrough=True))


def test_what_is_off_is_not_told() -> None:
    off = {"compression": "false", "context_root": "/", "default_backend": "false", "ssl_backend": "no"}
    assert parse({**PASS, **off, "acme": "false", "max_body_size": "0"}).problems == ()


@pytest.mark.parametrize(
    ("pair", "kept"),
    [
        ("http://a.x,https://a.x", RedirectSpec("http", "a.x", "/", "https://a.x")),
        ("a.x,https://a.x", RedirectSpec("http", "a.x", "/", "https://a.x")),
        ("https://a.x,http://b.x", None),
        ("http://a.x,http://a.x", None),
        ("https://b.x,https://a.x", RedirectSpec("https", "b.x", "/", "https://a.x")),
    ],
)
@pytest.mark.acceptance(54)
def test_redirects_beside_passthrough_are_of_plain_http(pair: str, kept: RedirectSpec | None) -> None:
    parsed = parse({**PASS, "redirects": pair})
    assert told(parsed) == ({} if kept else {"redirects": False})
    assert spec_of(parsed).redirects == ((kept,) if kept else ())


def test_nobody_reaches_a_weight_of_zero() -> None:
    assert told(parse({**PASS, "weight": "0"})) == {"weight": False}
    assert told(parse({**PASS, "weight": "0", "canary_cookie": "b"})) == {"weight": False, "canary_cookie": False}


def test_without_hosts_nothing_is_passed_through_and_nothing_sent_in_the_clear() -> None:
    parsed = parse({**PASS, "default_backend": "true"}, None)
    assert parsed.spec is None
    assert told(parsed)["ssl_passthrough"] is True
    for given in ({"tcp_port": "5432"}, {"redirects": "http://old.x,https://a.x"}):
        parsed = parse({**PASS, **given}, None)
        assert told(parsed) == {"ssl_passthrough": False}
        assert spec_of(parsed).tls == NO_TLS


def test_passthrough_works_with_a_virtual_address() -> None:
    parsed = parse({**PASS, "backend_mode": "vip"})
    assert parsed.problems == ()
    assert spec_of(parsed).vip
    parsed = parse({**PASS, "backend_mode": "vip", "ip_hash": "true"})
    assert told(parsed) == {"ip_hash": False}
    assert spec_of(parsed).balance is Balance.ROUND_ROBIN
