"""Values of labels near what is right: nothing raises, nothing forbidden passes, and what passes is in its one
spelling: written out and read again it is the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7.labels.addresses import parse_allow
from l7.labels.grammar import Bad
from l7.labels.parse import parse_labels
from l7.labels.quantities import parse_duration, parse_statuses
from l7.labels.spec import RedirectSpec, RouteSpec, TlsSpec
from l7.labels.table import PREFIX, SUPPORTED, TABLE
from l7.model import Balance, ClientCertificate, HashKey, HeaderAction, HealthCheck, Protocol, Rules
from tests.unit.test_labels_values import BAD, GOOD

SPECIAL = tuple(";|{}#'\"\\ \t\r\n\0\x1b\x7f%$`<>^/:.,*-_@=?&~+()[]!")
FOREIGN = ("\u212a", "\u0130", "é", "\ud800", "\u0661", "\u2028", "\u00a0", "\uff0e", "\u0131")
strange = st.one_of(st.sampled_from((*SPECIAL, *FOREIGN)), st.text(max_size=3))

PLAIN = "[A-Za-z0-9._~:@+/=!*%,-]*"
ALLOWED = {
    # What may appear in a value once it is read; written apart from the parser's expressions, as a reader of
    # a map's row would want it. Only header values may have more than this, and HSTS, whose form is fixed.
    "hsts": r"max-age=[0-9]+(; includeSubDomains)?(; preload)?",
    "header_request_*": r"[\t\x20-\x7e]*",
    "header_response_*": r"[\t\x20-\x7e]*",
    "health_check_path": r"/[A-Za-z0-9._~!+,=:@/?&*()%-]*",
    "basic_auth_realm": r"[ !#-&(-\[\]-~]+",
    "redirects": r"(http|https)?|[a-z0-9_.*-]+|/[^\s;|\"'#?\\]*|https?://[^\s;|\"'#?\\]+",
}


def strings(value: Any) -> list[str]:
    """All texts in a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for each in value for text in strings(each)]
    slots = getattr(value, "__slots__", ())
    return [text for name in slots for text in strings(getattr(value, name))]


def near(texts: list[str]) -> st.SearchStrategy[str]:
    """Texts that are right or nearly: with something in between, or a part of another."""
    one = st.sampled_from(texts)
    cut = st.integers(0, 20)
    return st.one_of(
        one,
        st.builds(lambda text, at, odd: text[:at] + odd + text[at:], one, cut, strange),
        st.builds(lambda text, at, odd: text[:at] + odd + text[at + 1 :], one, cut, strange),
        st.builds(lambda first, at, second: first[:at] + second[at:], one, cut, one),
        st.lists(one, max_size=3).map(",".join),
        st.text(max_size=20),
    )


def _names(value: tuple[str, ...]) -> str:
    return ", ".join(value)


def _named(value: tuple[str, str]) -> str:
    return f"{value[0]}={value[1]}" if value[1] else value[0]


def _redirects(value: tuple[RedirectSpec, ...]) -> str:
    return ";".join(
        f"{each.scheme + '://' if each.scheme else ''}{each.host}{each.path},{each.location}" for each in value
    )


def _edit(value: Any) -> str:
    return ("+" if value.action is HeaderAction.ADD else "") + value.value


def _balance(balance: Balance, key: HashKey | None) -> str:
    if key is not None and key.name:
        return f"{key.source.name.lower()}:{key.name}"
    return next(text for text, each in GOOD["balance"] if each == (balance, key))


PERIODS = {1000: "s", 10_000: "10s", 60_000: "m", 3_600_000: "h"}
WRITTEN: dict[str, Callable[[Any], str]] = {
    "hosts": _names,
    "redirects": _redirects,
    "backend_mode": lambda value: "vip" if value else "task",
    "canary_header": _named,
    "canary_cookie": _named,
    "websocket_endpoints": _names,
    "balance": lambda value: _balance(*value),
    "health_check_status": lambda value: ",".join(map(str, value)) or "200-399",
    "protocol": lambda value: next(text for text, each in GOOD["protocol"] if each == value),
    "retry_on": lambda value: next(text for text, each in GOOD["retry_on"] if each is value),
    "allow": _names,
    "rate_limit": lambda value: f"{value.requests}/{PERIODS[value.period]}",
    "cors_origins": _names,
    "cors_methods": _names,
    "cors_headers": _names,
    "cors_max_age": str,
    "header_request_*": _edit,
    "header_response_*": _edit,
    "ssl_client_verify": lambda value: value.name,
    "ssl_backend_tls_verify": lambda value: "required" if value else "none",
    "proxy_protocol": lambda value: value.name if value else "false",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GOOD))
@settings(max_examples=40)
@given(st.data())
def test_any_text_is_refused_or_read_into_its_one_spelling(name: str, data: st.DataObject) -> None:
    label = TABLE[PREFIX + name]
    value = label.parse(data.draw(near([*(row[0] for row in GOOD[name]), *BAD[name]])))
    if isinstance(value, Bad):
        assert value.message.isprintable()
        assert value.message.isascii()
        assert value.remedy.isprintable()
        return
    for text in strings(value):
        assert re.fullmatch(ALLOWED.get(name, PLAIN), text), (name, text)
    is_duration = "duration" in label.type and name != "cors_max_age"
    write = (lambda number: f"{number}ms") if is_duration else WRITTEN.get(name, str)
    assert label.parse(write(value)) == value


KEYS = {
    **{label.key: [row[0] for row in GOOD[label.name]] for label in SUPPORTED if "*" not in label.name},
    PREFIX + "header_request_X-A": ["a b"],
    PREFIX + "header_response_x\n": ["a"],
    "interlock.hostname": ["a", ""],
    "interlock.alias_domain.1": ["b.c"],
    "interlock.port": ["80"],
    "interlock.balance_algorithm": ["hdr(x)", "source"],
    "interlock.health_check": ["option httpchk HEAD /x HTTP/1.0"],
    "interlock.ssl": [""],
    "interlock.ssl_cert": ["", "site.pem", "site/a.pem"],
    "interlock.ssl_cert_key": ["site.key"],
    "interlock.ssl_only": [""],
    "interlock.ssl_backend": [""],
    "interlock.ssl_backend_tls_verify": ["none", "required"],
    "com.docker.ucp.mesh.http": ["external_route=http://a,internal_port=80", "80=sni://x"],
    "com.docker.ucp.mesh.http.2": ["external_route=http://b,redirect=http://a,sticky_sessions=x"],
}
services = st.fixed_dictionaries({}, optional={key: near(texts) for key, texts in KEYS.items()})


@given(services, st.booleans())
def test_a_whole_service_never_raises_and_stays_within_its_bounds(labels: dict[str, str], legacy: bool) -> None:
    parsed = parse_labels(labels, (), "web", "id", legacy=legacy)
    assert parsed.spec is None or not parsed.fatal
    for problem in parsed.problems:
        assert problem.message
        assert problem.remedy
        assert all(
            text.isascii() and text.isprintable() for text in (problem.label, problem.value, problem.message)
        )
    if parsed.spec is None:
        return
    spec, rules = parsed.spec, parsed.spec.rules
    assert spec.hosts or spec.default_backend or spec.tcp_port or PREFIX + "redirects" in labels
    assert 1 <= spec.port <= 65535
    assert not (spec.vip and rules.hash_key)
    assert (spec.server.max_fails > 0) == (spec.server.fail_timeout > 0)
    assert spec.check is None or isinstance(spec.check, HealthCheck)
    assert rules.name == ""
    _check_tls(spec)
    assert rules.cors is None or not (rules.cors.credentials and rules.cors.origins == ("*",))
    for change in (*rules.request_headers, *rules.response_headers):
        assert re.fullmatch("[A-Za-z0-9_-]+", change.name)
    for text in strings(
        (spec.hosts, spec.path, spec.redirects, spec.check, rules, spec.network or "", spec.cluster, spec.tls)
    ):
        assert re.fullmatch(r"[\t\x20-\x7e]*", text)
    again = parse_labels(dict(spec.written), (), "web", "id")
    assert again.spec == spec, "what a service wrote says all, whatever it was translated from"


SECRET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")


def _check_tls(spec: RouteSpec) -> None:
    """What holds of any service: nothing that was meant to protect is there by half."""
    tls, server, rules = spec.tls, spec.server, spec.rules
    for name in strings(tls):
        assert name == "" or SECRET.fullmatch(name)
    if tls.passthrough:
        assert tls == TlsSpec(passthrough=True)
        assert spec.hosts
        assert rules == Rules(https_redirect=rules.https_redirect)
        assert (server.protocol, spec.default_backend, spec.path) == (Protocol.HTTP, False, "/")
    assert tls.certificate or not tls.key
    assert tls.backend_certificate or not tls.backend_key
    assert not (tls.certificate and tls.acme)
    assert spec.hosts or not (tls.certificate or tls.acme)
    assert not tls.acme or any(host[0] != "*" for host in spec.hosts)
    assert (tls.client is ClientCertificate.NONE) == (not tls.client_ca)
    assert rules.client_certificate is tls.client
    assert not tls.client_ca or tls.certificate or tls.acme
    assert not (tls.backend_ca or tls.backend_certificate) or server.protocol is Protocol.HTTPS
    assert not tls.backend_ca or server.tls_name
    assert bool(tls.basic_auth) == bool(rules.basic_auth_realm)


# ---------------------------------------------------------------- oracles


def _network(version: Callable[[int], object], bits: int) -> st.SearchStrategy[IPv4Network | IPv6Network]:
    addresses = st.integers(0, 2**bits - 1).map(version)
    return st.builds(
        lambda address, size: ip_network((address, size), strict=False), addresses, st.integers(0, bits)
    )


networks = st.one_of(_network(IPv4Address, 32), _network(IPv6Address, 128))


@given(st.lists(networks, min_size=1, max_size=8), st.data())
def test_the_same_clients_are_let_in(given_networks: list[IPv4Network | IPv6Network], data: st.DataObject) -> None:
    found = parse_allow(", ".join(map(str, given_networks)))
    assert not isinstance(found, Bad)
    kept = [ip_network(each) for each in found]
    edges = [int(each[side]) + step for each in given_networks for side in (0, -1) for step in (-1, 0, 1)]
    number = data.draw(st.sampled_from(edges).filter(lambda each: 0 <= each < 2**128))
    for address in {ip_address(number), IPv6Address(number)}:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        if mapped is None:
            assert any(address in each for each in kept) == any(address in each for each in given_networks)
    assert len(set(kept)) == len(kept)


parts = st.tuples(st.integers(0, 999), st.integers(0, 999), st.sampled_from(["h", "m", "s", "ms"]))


@given(st.lists(parts, min_size=1, max_size=8))
def test_durations_add_up(parts: list[tuple[int, int, str]]) -> None:
    text = "".join(f"{whole}.{thousandths:03}{unit}" for whole, thousandths, unit in parts)
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    exact = sum((Fraction(whole) + Fraction(thousandths, 1000)) * units[unit] for whole, thousandths, unit in parts)
    found = parse_duration(text)
    assert isinstance(found, Bad) if exact.denominator > 1 else found == exact


@given(st.lists(st.tuples(st.integers(200, 599), st.integers(0, 60)), min_size=1, max_size=5))
def test_statuses_are_the_union_of_their_ranges(ranges: list[tuple[int, int]]) -> None:
    spans = [(first, min(first + more, 599)) for first, more in ranges]
    wanted = [code for code in range(200, 600) if any(first <= code <= last for first, last in spans)]
    found = parse_statuses(",".join(f"{first}-{last}" if last > first else str(first) for first, last in spans))
    assert found == (() if wanted == list(range(200, 400)) else tuple(wanted))
