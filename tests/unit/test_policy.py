"""Names, ids and keywords of servers; which backend of HAProxy serves which of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haproxy import policy
from haproxy.capabilities import capabilities
from haproxy.model import (
    Backend,
    Balance,
    HealthCheck,
    KeyPair,
    Protocol,
    ProxyHeader,
    Secret,
    Server,
    ServerSettings,
)
from haproxy.settings import Settings

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SERVER = Server("task", 7, "10.0.0.1", 80)
CA = Secret("ca1", "ca")
PAIR = KeyPair(Secret("c1", "cert"), Secret("k1", "key"))
KEYWORDS = policy.server_keywords(Settings(), NEW, Backend("web"))


def test_a_server_on_2_6_gets_the_keywords_without_which_connections_are_never_reused() -> None:
    words = " ".join(policy.server_keywords(Settings(), OLD, Backend("web")))
    assert words == "check inter 2000ms fall 2 rise 1 pool-max-conn -1 pool-purge-delay 5s"


def words(tcp: bool = False, check: HealthCheck | None = None, **own: Any) -> str:
    backend = Backend("a:b", ("a", "b"), settings=(ServerSettings(), ServerSettings(**own)), tcp=tcp, check=check)
    return " ".join(policy.server_keywords(Settings(), NEW, backend, 1))


def test_each_service_of_a_backend_has_keywords_of_its_own() -> None:
    backend = Backend("a:b", ("a", "b"), settings=(ServerSettings(), ServerSettings(max_connections=3)))
    of_each = [policy.server_keywords(Settings(), NEW, backend, service) for service in (0, 1)]
    assert [" ".join(of_one) for of_one in of_each] == [words(), "check inter 2000ms fall 2 rise 1 maxconn 3"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "check inter 2000ms fall 2 rise 1"),
        ({"drain_timeout": 5}, "check inter 2000ms fall 2 rise 1"),
        ({"check_port": 81, "check_interval": 300, "check_fall": 4, "check_rise": 3},
         "check port 81 inter 300ms fall 4 rise 3"),
        ({"slow_start": 1500}, "check inter 2000ms fall 2 rise 1 slowstart 1500ms"),
        ({"max_connections": 2**31}, "check inter 2000ms fall 2 rise 1 maxconn 1000000"),
        ({"protocol": Protocol.H2C}, "check inter 2000ms fall 2 rise 1 proto h2"),
        ({"protocol": Protocol.H2C, "check": HealthCheck("/")},
         "check inter 2000ms fall 2 rise 1 proto h2 check-proto h2"),
        ({"protocol": Protocol.HTTPS},
         "check inter 2000ms fall 2 rise 1 ssl verify none alpn http/1.1 check-ssl"),
        ({"protocol": Protocol.HTTPS, "tls_name": "a.test"},
         "check inter 2000ms fall 2 rise 1 ssl verify none sni str(a.test) check-sni a.test"
         " alpn http/1.1 check-ssl"),
        ({"protocol": Protocol.HTTPS, "tls_name": "a.test", "tls_ca": CA, "tls_certificate": PAIR},
         "check inter 2000ms fall 2 rise 1 ssl verify required ca-file /run/l7/tls/authorities/ca1.pem"
         " sni str(a.test) check-sni a.test crt /run/l7/tls/identities/c1-k1.pem alpn http/1.1 check-ssl"),
        ({"protocol": Protocol.HTTPS, "tls_name": "a) -i, x", "tls_ca": CA},
         "check inter 2000ms fall 2 rise 1 ssl verify required ca-file /run/l7/tls/authorities/ca1.pem"
         " sni str(nobody.invalid) check-sni nobody.invalid alpn http/1.1 check-ssl"),
        ({"protocol": Protocol.HTTPS, "tls_ca": CA},
         "check inter 2000ms fall 2 rise 1 ssl verify required ca-file /run/l7/tls/authorities/ca1.pem"
         " sni str(nobody.invalid) check-sni nobody.invalid alpn http/1.1 check-ssl"),
        ({"tls_ca": CA, "tls_name": "a.test", "tls_certificate": PAIR}, "check inter 2000ms fall 2 rise 1"),
        ({"proxy_header": ProxyHeader.V1}, "check inter 2000ms fall 2 rise 1 send-proxy check-send-proxy"),
        ({"proxy_header": ProxyHeader.V2, "tcp": True},
         "check inter 2000ms fall 2 rise 1 send-proxy-v2 check-send-proxy"),
        ({"max_fails": 3},
         "check inter 2000ms fall 2 rise 6 observe layer7 error-limit 3 on-error mark-down"),
        ({"max_fails": 1, "fail_timeout": 15_000, "check_interval": 400},
         "check inter 400ms fall 2 rise 39 observe layer7 error-limit 1 on-error mark-down"),
        ({"max_fails": 1, "fail_timeout": 100, "check_rise": 7},
         "check inter 2000ms fall 2 rise 7 observe layer7 error-limit 1 on-error mark-down"),
        ({"max_fails": 1, "tcp": True, "protocol": Protocol.HTTPS},
         "check inter 2000ms fall 2 rise 6 observe layer4 error-limit 1 on-error mark-down"),
        ({"fail_timeout": 100}, "check inter 2000ms fall 2 rise 1"),
    ],
)  # fmt: skip
def test_what_a_setting_becomes(own: dict[str, Any], expected: str) -> None:
    assert words(**own) == expected


def test_before_3_3_http2_is_offered_to_a_task_that_speaks_tls() -> None:
    backend = Backend("web", settings=(ServerSettings(protocol=Protocol.HTTPS),))
    for able, offered in ((OLD, "h2,http/1.1"), (capabilities((3, 2, 26)), "h2,http/1.1"), (NEW, "http/1.1")):
        keywords = policy.server_keywords(Settings(), able, backend)
        assert keywords[keywords.index("alpn") + 1] == offered


def test_whatever_is_fixed_on_a_server_makes_a_generation() -> None:
    changed = [
        replace(SERVER, address="10.0.0.2"),
        replace(SERVER, port=81),
        replace(SERVER, id=8),
    ]
    names = {policy.server_name(server, KEYWORDS) for server in (SERVER, *changed)}
    names.add(policy.server_name(SERVER, (*KEYWORDS, "ssl")))
    assert len(names) == 5
    assert all(name.startswith("task.") and len(name) == len("task.") + 6 for name in names)


def test_what_can_be_changed_on_a_server_makes_none() -> None:
    same = {policy.server_name(server, KEYWORDS) for server in (SERVER, replace(SERVER, weight=1, stop_in=5))}
    assert len(same) == 1


def test_a_second_generation_gets_another_id_of_the_same_place_on_the_ring() -> None:
    first = policy.runtime_id(SERVER, "task.a", {policy.HOLD_ID})
    second = policy.runtime_id(SERVER, "task.b", {policy.HOLD_ID, first})
    assert (first, second) == (7, 7 + 2**20)


def test_the_placeholder_has_an_id_that_no_server_can_get() -> None:
    assert policy.HOLD_ID % 2**20 == 0
    assert policy.hold_server("web").id == policy.HOLD_ID


def test_backends_made_at_run_time_keep_their_names() -> None:
    backends = {name: Backend(name) for name in ("b", "a:b")}
    assert policy.place(Settings(), NEW, backends) == {"a:b": "a:b", "b": "b"}


def test_the_set_of_policies() -> None:
    assert [len(policy.POLICIES), len({p.kind for p in policy.POLICIES})] == [33, 33]
    assert policy.POLICIES[0].name == policy.HTTP == "l7.p-http"


@pytest.mark.parametrize("balance", Balance)
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("check", [None, HealthCheck("/")])
def test_every_backend_has_a_policy_that_exists(balance: Balance, tcp: bool, check: HealthCheck | None) -> None:
    assert policy.policy_of(Backend("web", balance=balance, tcp=tcp, check=check)) in policy.POLICIES


def test_a_spare_tells_its_policy() -> None:
    spares = policy.spares(Settings(spare_backends=2, spare_backends_other=1))
    assert len(spares) == 2 + 32
    assert {name: policy.policy_of_spare(name) for name in spares} == spares
    assert not any(map(policy.policy_of_spare, ("spare-http-1", "web", "spare-http-new-0001", "spare-other-0001")))


def test_a_backend_gets_a_spare_of_its_policy_and_leaves_one_of_another() -> None:
    settings = Settings(spare_backends=1, spare_backends_other=1)
    backends = {"a": Backend("a"), "b": Backend("b", balance=Balance.HASH), "c": Backend("c", balance=Balance.HASH)}
    placed = policy.place(settings, OLD, backends, {"b": "spare-http-0001"})
    assert placed == {"a": "spare-http-0001", "b": "spare-http-hash-0001"}
    assert policy.place(settings, OLD, backends, placed) == placed


def test_spares_are_kept_and_taken_in_order_until_there_are_none() -> None:
    backends = {name: Backend(name) for name in ("a", "b", "c", "d")}
    placed = policy.place(Settings(spare_backends=3), OLD, backends, {"c": "spare-http-0001", "gone": "x"})
    assert placed == {"a": "spare-http-0002", "b": "spare-http-0003", "c": "spare-http-0001"}
