"""Labels of Interlock 1 and of UCP 2's HTTP routing mesh: what they become, and what is said about the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.labels import legacy
from l7.labels.parse import Parsed, RouteSpec, parse_labels
from l7.labels.spec import RedirectSpec, TlsSpec
from l7.labels.table import PREFIX
from l7.model import Balance, HashKey, HashSource, HealthCheck, Protocol, PublishedPort, Rules, ServerSettings

MESH = "com.docker.ucp.mesh.http"


def one(**short: str) -> dict[str, str]:
    """Labels of Interlock 1; `__` is a dot."""
    return {"interlock." + name.replace("__", "."): text for name, text in short.items()}


def new(**short: str) -> dict[str, str]:
    return {PREFIX + name: text for name, text in short.items()}


def parse(labels: dict[str, str], *ports: PublishedPort) -> Parsed:
    return parse_labels(labels, ports, "web", "id-web", legacy=True)


def bare(parsed: Parsed) -> RouteSpec:
    assert parsed.spec is not None
    return replace(parsed.spec, written=())


def told(parsed: Parsed) -> dict[str, bool]:
    assert all(problem.message and problem.remedy and problem.service == "web" for problem in parsed.problems)
    return {problem.label: problem.fatal for problem in parsed.problems}


@pytest.mark.parametrize(
    "labels",
    [one(hostname="a", port="80"), {MESH: "external_route=http://a.x,internal_port=80"}, one(hostname="?")],
)
def test_without_the_switch_they_are_none_of_ours(labels: dict[str, str]) -> None:
    assert parse_labels(labels) == Parsed()
    assert parse_labels({**labels, **new(hosts="b", port="1")}) == parse_labels(new(hosts="b", port="1"))


@pytest.mark.parametrize(
    "labels",
    [{}, {"com.example": "x"}, one(ext__name="haproxy"), one(app="x", hostname="a", port="80"), {"interlock": "x"}],
)
def test_a_service_without_them_is_none_of_ours_either(labels: dict[str, str]) -> None:
    assert parse(labels) == Parsed()


# ---------------------------------------------------------------- Interlock 1


def test_interlock_1_together() -> None:
    labels = one(
        hostname="shop", domain="example.org", alias_domain__0="www.example.org", alias_domain="example.org",
        network="front", port="8080", context_root="/app", context_root_rewrite="", websocket_endpoint__1="/ws",
        balance_algorithm="leastconn", health_check="GET /health", health_check_interval="2500",
    )  # fmt: skip
    parsed = parse(labels)
    assert parsed.problems == ()
    assert bare(parsed) == RouteSpec(
        ("example.org", "shop.example.org", "www.example.org"),
        8080,
        "/app",
        strip_path=True,
        network="front",
        balance=Balance.LEAST_CONNECTIONS,
        check=HealthCheck("/health"),
        server=ServerSettings(check_interval=2500),
    )
    assert parsed.spec is not None
    assert (PREFIX + "port", "8080") in parsed.spec.written


@pytest.mark.parametrize(
    ("labels", "hosts"),
    [
        (one(hostname="a"), ("a.local",)),
        (one(hostname="a", domain="b.c"), ("a.b.c",)),
        (one(hostname="", domain="b.c"), ("b.c",)),
        (one(hostname="a", domain=""), ("a",)),
        (one(hostname="a", domain="b", alias_domain__10="c.d", alias_domain__9="*.e"), ("*.e", "a.b", "c.d")),
    ],
)
def test_hosts_of_interlock_1(labels: dict[str, str], hosts: tuple[str, ...]) -> None:
    assert bare(parse({**labels, **one(port="80")})).hosts == hosts


@pytest.mark.parametrize("value", ["", "true", "false", "0", "anything"])
def test_flags_are_true_by_being_there(value: str) -> None:
    flags = one(ip_hash=value, ssl_only=value, ssl_backend=value, context_root_rewrite=value)
    spec = bare(parse({**one(hostname="a", port="80", context_root="/x"), **flags}))
    assert spec.strip_path
    assert spec.rules == Rules(https_redirect=True, hash_key=HashKey(HashSource.ADDRESS))
    assert spec.server.protocol is Protocol.HTTPS


@pytest.mark.parametrize(
    ("text", "balance", "key"),
    [
        ("roundrobin", Balance.ROUND_ROBIN, None),
        ("static-rr", Balance.ROUND_ROBIN, None),
        ("random(3)", Balance.RANDOM, None),
        ("uri depth 3", Balance.HASH, HashKey(HashSource.URI)),
        ("source", Balance.HASH, HashKey(HashSource.ADDRESS)),
        ("hdr(X-User)", Balance.HASH, HashKey(HashSource.HEADER, "x-user")),
    ],
)
def test_balance_of_interlock_1(text: str, balance: Balance, key: HashKey | None) -> None:
    parsed = parse(one(hostname="a", port="80", balance_algorithm=text))
    assert parsed.problems == ()
    assert (bare(parsed).balance, bare(parsed).rules.hash_key) == (balance, key)


@pytest.mark.parametrize(
    ("text", "path", "problems"),
    [
        ("/h", "/h", 0),
        ("httpchk /h?x=1", "/h?x=1", 0),
        ("option httpchk GET /h HTTP/1.1", "/h", 0),
        ("HEAD /h HTTP/1.0", "/h", 1),
        ("smtpchk", None, 1),
        ("", None, 1),
    ],
)
def test_checks_of_interlock_1(text: str, path: str | None, problems: int) -> None:
    parsed = parse(one(hostname="a", port="80", health_check=text))
    assert bare(parsed).check == (path and HealthCheck(path))
    assert told(parsed) == dict.fromkeys(["interlock.health_check"][:problems], False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ssl", ""),
        ("ssl_cert", "sites/a.pem"),
        ("ssl_cert", ""),
        ("ssl_cert_key", "sites/a.key"),
        ("ssl_cert_key", "a.key"),
        ("backend_option", "forceclose"),
        ("backend_option__0", "forceclose"),
        ("ssl_backend_tls_verify", "required"),
        ("balance_algorithm", "rdp-cookie"),
        ("health_check_interval", "5s"),
        ("health_check_interval", ""),
        ("nothing_we_know", "x"),
    ],
)
def test_what_cannot_be_translated_is_told_under_its_old_name(name: str, text: str) -> None:
    parsed = parse(one(hostname="a", port="80", **{name: text}))
    assert told(parsed) == {f"interlock.{name.replace('__', '.')}": False}
    assert [problem.value for problem in parsed.problems] == [text]
    assert bare(parsed) == RouteSpec(("a.local",), 80)


def test_no_verification_is_what_there_is_anyway() -> None:
    assert parse(one(hostname="a", port="80", ssl_backend_tls_verify="none")).problems == ()
    assert parse(one(hostname="a", port="80", ssl_backend="", ssl_backend_tls_verify="none")).problems == ()


def test_verification_asks_for_a_ca() -> None:
    labels = one(hostname="a", port="80", ssl_backend="", ssl_backend_tls_verify="required")
    parsed = parse(labels)
    assert (parsed.spec, told(parsed)) == (None, {"interlock.ssl_backend_tls_verify": True})
    parsed = parse({**labels, **new(ssl_backend_ca="internal")})
    assert parsed.problems == ()
    assert bare(parsed).tls == TlsSpec(backend_ca="internal")
    assert bare(parsed).server == ServerSettings(protocol=Protocol.HTTPS, tls_name="a.local")


def test_files_become_secrets_of_the_same_name() -> None:
    parsed = parse(one(hostname="a", port="80", ssl="", ssl_cert="a.pem", ssl_cert_key="a.key"))
    assert parsed.problems == ()
    assert bare(parsed).tls == TlsSpec("a.pem", "a.key")


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (one(hostname="a;b", port="80"), "interlock.hostname"),
        (one(hostname="a", port="abc"), "interlock.port"),
        (one(hostname="a", port="80", context_root="/../x"), "interlock.context_root"),
        (one(hostname="a", port="80", health_check_interval="50"), "interlock.health_check_interval"),
        ({MESH + ".1": "external_route=http://a;b,internal_port=80"}, MESH + ".1"),
        ({MESH + "-x": "external_route=http://a.x,internal_port=80,redirect=nowhere"}, MESH + "-x"),
    ],
)
def test_a_bad_value_is_told_under_its_old_name(labels: dict[str, str], name: str) -> None:
    parsed = parse(labels)
    assert (parsed.spec, told(parsed)) == (None, {name: True})


def test_without_hostname_nothing_is_published() -> None:
    parsed = parse(one(port="80", alias_domain="a.x"))
    assert parsed.spec is None
    assert told(parsed) == {"interlock.hostname": False, PREFIX + "hosts": False}


# ---------------------------------------------------------------- the HTTP routing mesh


def test_the_mesh_together() -> None:
    labels = {
        MESH + ".1": "external_route=http://a.x,internal_port=8080,sticky_sessions=SID",
        MESH + ".2": "external_route=http://old.x,internal_port=8080,redirect=http://a.x",
    }
    parsed = parse(labels)
    assert parsed.problems == ()
    assert bare(parsed) == RouteSpec(
        ("a.x", "old.x"),
        8080,
        redirects=(RedirectSpec("http", "old.x", "/", "http://a.x"),),
        balance=Balance.HASH,
        rules=Rules(hash_key=HashKey(HashSource.COOKIE, "SID")),
    )


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("external_route=http://a.x", 8000),
        ("external_route=http://a.x/", 8000),
        (" internal_port = 90 , external_route = http://a.x:80 ", 90),
        ("8080=http://a.x", 8080),
    ],
)
def test_spellings_of_the_mesh(text: str, port: int) -> None:
    parsed = parse({MESH: text}, PublishedPort(8000, 80))
    assert parsed.problems == ()
    assert bare(parsed) == RouteSpec(("a.x",), port)


@pytest.mark.parametrize(
    "text",
    [
        "external_route=sni://s.x,internal_port=443",
        "external_route=sni://,internal_port=443",
        "external_route=tcp://s.x",
        "internal_port=80",
        "",
        "x",
        "external_route=a.x",
    ],
)
def test_what_the_mesh_says_beyond_us_is_told_and_the_rest_holds(text: str) -> None:
    parsed = parse({MESH: text, MESH + ".2": "external_route=http://a.x,internal_port=80"})
    assert told(parsed) == {MESH: False}
    assert bare(parsed) == RouteSpec(("a.x",), 80)


def test_sni_is_tls_passed_through() -> None:
    first, second = "external_route=sni://s.x,internal_port=443", "internal_port=443,external_route=sni://t.x"
    parsed = parse({MESH: first, MESH + ".2": second + ",redirect=https://s.x"})
    assert parsed.problems == ()
    assert bare(parsed) == RouteSpec(
        ("s.x", "t.x"),
        443,
        redirects=(RedirectSpec("http", "t.x", "/", "https://s.x"),),
        tls=TlsSpec(passthrough=True),
    )
    parsed = parse({MESH: first + ",sticky_sessions=S"})
    assert told(parsed) == {MESH: False}
    assert bare(parsed) == RouteSpec(("s.x",), 443, tls=TlsSpec(passthrough=True))


def test_sni_beside_other_hosts_does_not_pass_their_tls_through() -> None:
    parsed = parse({**one(hostname="a", port="443"), MESH: "external_route=sni://s.x,internal_port=443"})
    assert bare(parsed) == RouteSpec(("a.local",), 443)
    assert told(parsed) == {MESH: False}


def test_a_service_has_one_port_and_one_cookie() -> None:
    labels = {
        MESH + ".1": "external_route=http://a.x,internal_port=80,sticky_sessions=A",
        MESH + ".2": "external_route=http://b.x,internal_port=81",
        MESH + ".3": "external_route=http://c.x,internal_port=80,sticky_sessions=B",
        MESH + ".4": "external_route=http://d.x,internal_port=80,what=ever",
    }
    parsed = parse(labels)
    assert told(parsed) == {MESH + ".2": False, MESH + ".3": False, MESH + ".4": False}
    spec = bare(parsed)
    assert (spec.hosts, spec.port) == (("a.x", "c.x", "d.x"), 80)
    assert spec.rules.hash_key == HashKey(HashSource.COOKIE, "A")


# ---------------------------------------------------------------- side by side


def test_labels_of_today_win() -> None:
    labels = {**one(hostname="a", port="80", context_root="/x"), **new(hosts="b.x", port="80")}
    parsed = parse(labels)
    assert bare(parsed) == RouteSpec(("b.x",), 80, "/x")
    [problem] = parsed.problems
    assert (problem.label, problem.fatal) == ("interlock.hostname", False)
    assert PREFIX + "hosts" in problem.message


def test_a_bad_label_of_today_is_told_under_its_own_name() -> None:
    parsed = parse({**one(hostname="a", port="80"), **new(port="abc")})
    assert parsed.spec is None
    assert told(parsed) == {PREFIX + "port": True, "interlock.port": False}


def test_interlock_1_comes_before_the_mesh() -> None:
    parsed = parse({**one(hostname="a", port="80"), MESH: "external_route=http://b.x,internal_port=80"})
    assert bare(parsed).hosts == ("a.local",)
    assert told(parsed) == {MESH: False}


def test_the_page_has_every_old_label() -> None:
    page = " ".join(old for old, _ in legacy.DESCRIPTIONS)
    known = (*legacy._SAME, *legacy._FLAGS, *legacy._SPECIAL, *legacy._READ, "hostname", "domain", "alias_domain")
    assert [name for name in known if name not in page and name != "domain"] == []
