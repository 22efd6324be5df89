"""What of the wanted TLS can be had: what is missing or bad leaves what there was, and is told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from haproxy import tls
from haproxy.expiry import DAY
from haproxy.material import Lack, Material
from haproxy.mirror import Mirror
from haproxy.model import Backend, ClientCertificate, KeyPair, Protocol, Secret, ServerSettings, TlsHost
from haproxy.settings import Settings
from haproxy.tls import ANY, Entry
from haproxy.uses import Part
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority

SETTINGS = Settings(run_dir="/run/l7")
STORE = "/run/l7/tls/certificates/x.test.pem"
NOW = time.time()
AUTHORITY = TestAuthority()


def secret(name: str) -> Secret:
    return Secret(f"id{name}", name)


@dataclass
class Bench:
    contents: dict[str, bytes] = field(default_factory=dict)
    mirror: Mirror = field(default_factory=Mirror)
    material: Material = field(init=False)

    def __post_init__(self) -> None:
        self.material = Material(SETTINGS, 15_000, lambda id: self.contents.get(id), key=b"k" * 32)

    def put(self, name: str, content: bytes) -> None:
        self.contents[f"id{name}"] = content

    def host(self, certificate: str, key: str = "", host: str = "x.test", ca: str = "") -> set[str]:
        verify = ClientCertificate.REQUIRED if ca else ClientCertificate.NONE
        pair = KeyPair(secret(certificate), secret(key) if key else None)
        self.mirror.tls_hosts[host] = TlsHost(host, "s", pair, verify, secret(ca) if ca else None)
        return self.look(host)

    def look(self, host: str = "x.test", now: float = NOW) -> set[str]:
        return self.material.look([(Part.HOST, host)], self.mirror, now)

    @property
    def problems(self) -> list[tuple[str, str]]:
        return [(each.label.removeprefix("com.docker.lb."), each.message) for each in self.material.problems]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def good(bench: Bench, name: str = "c", end: float = 90) -> bytes:
    issued = AUTHORITY.issue("x.test", begin=-30, end=end)
    bench.put(name, issued.combined)
    return issued.certificate


def test_a_host_has_what_its_labels_name(bench: Bench) -> None:
    certificate = good(bench)
    assert bench.host("c") == {STORE}
    assert bench.material.entries == {"x.test": Entry(STORE, "x.test")}
    assert bench.material.pem[STORE].startswith(certificate)
    assert bench.look() == set()
    del bench.mirror.tls_hosts["x.test"]
    assert bench.look() == {STORE}
    assert (bench.material.pem, bench.material.entries, bench.material.certificates) == ({}, {}, {})


def test_certificate_and_key_may_be_two_secrets_and_both_have_to_arrive(bench: Bench) -> None:
    issued = AUTHORITY.issue("x.test")
    bench.put("c", issued.certificate)
    assert bench.host("c", "k") == set()
    assert list(bench.material.lacks) == [Lack(secret("k"), "s", "com.docker.lb.ssl_key")]
    bench.put("k", issued.key)
    assert bench.look() == {STORE}
    assert list(bench.material.lacks) == []


@pytest.mark.parametrize(
    ("content", "label", "words"),
    [
        (b"nothing", "ssl_cert", "no certificate"),
        (AUTHORITY.issue("y.test").combined, "ssl_cert", "not for x.test"),
        (AUTHORITY.issue("x.test").certificate + AUTHORITY.issue("x.test").key, "ssl_key", "does not match"),
        (AUTHORITY.issue("x.test", begin=-9, end=-1).combined, "ssl_cert", "the one before stays"),
        (None, "", ""),
    ],
    ids=["garbage", "another host", "another key", "expired", "missing"],
)
def test_what_is_bad_leaves_what_there_was(bench: Bench, content: bytes | None, label: str, words: str) -> None:
    certificate = good(bench)
    bench.host("c")
    if content is not None:
        bench.put("bad", content)
    assert bench.host("bad") == set()
    assert bench.material.pem[STORE].startswith(certificate)
    assert [found for found, _ in bench.problems] == ([label] if label else [])
    assert all(words in message and "the one before stays" in message for _, message in bench.problems)


def test_without_anything_before_the_host_has_none(bench: Bench) -> None:
    bench.put("bad", b"nothing")
    assert bench.host("bad") == set()
    assert (bench.material.entries, bench.material.pem) == ({}, {})
    assert [message.endswith(": none is served") for _, message in bench.problems] == [True]


def test_what_haproxy_had_when_we_came_is_what_was_before(bench: Bench) -> None:
    issued = AUTHORITY.issue("x.test")
    entry = Entry(STORE, "x.test", ClientCertificate.OPTIONAL, "/ca.pem")
    bench.material.before = tls.Stores({STORE: issued.combined}, {"/ca.pem": b"ca"}, {}, (entry,))
    bench.host("missing", ca="missing too")
    assert bench.material.entries == {"x.test": entry}
    assert bench.material.pem == {STORE: issued.combined, "/ca.pem": b"ca"}


def test_an_expired_certificate_is_better_than_none_and_than_another_expired_one(bench: Bench) -> None:
    good(bench, "old", end=-2)
    assert bench.host("old") == {STORE}
    assert "expired on" in bench.problems[0][1]
    newer = good(bench, "newer", end=-1)
    assert bench.host("newer") == {STORE}
    assert bench.material.pem[STORE].startswith(newer)


def test_the_end_is_told_at_its_stages(bench: Bench) -> None:
    good(bench, end=40)
    bench.host("c")
    user = (Part.HOST, "x.test")
    assert (bench.problems, bench.material.due(NOW)) == ([], [])
    for days, words in ((11, "less than 30 days"), (34, "less than 7 days"), (39.5, "1 day,"), (41, "expired on")):
        now = NOW + days * DAY
        assert bench.material.due(now) == [user]
        assert bench.look(now=now) == set()
        assert [words in message for _, message in bench.problems] == [True]
        assert bench.material.due(now) == []


def test_without_the_ca_nobody_is_asked_for_a_certificate_who_was_not_before(bench: Bench) -> None:
    good(bench)
    bench.host("c", ca="ca")
    assert bench.material.entries == {}
    bench.host("c")
    bench.host("c", ca="ca")
    assert bench.material.entries == {"x.test": Entry(STORE, "x.test")}
    bench.put("ca", AUTHORITY.certificate)
    store = "/run/l7/tls/authorities/idca.pem"
    assert bench.look() == {STORE, store}
    asking = Entry(STORE, "x.test", ClientCertificate.REQUIRED, store)
    assert bench.material.entries == {"x.test": asking}
    bench.put("bad", b"no CA")
    assert bench.host("c", ca="bad") == set()
    assert bench.material.entries == {"x.test": asking}
    assert store in bench.material.pem


def test_problems_of_the_default_certificate_are_the_operators(bench: Bench) -> None:
    bench.put("bad", b"nothing")
    bench.host("bad", host=ANY)
    assert [(label, "Config: DefaultCertificate" in message) for label, message in bench.problems] == [("", True)]


def test_a_ca_goes_when_the_last_who_needs_it_does(bench: Bench) -> None:
    good(bench)
    bench.put("ca", AUTHORITY.certificate)
    bench.host("c", ca="ca")
    settings = ServerSettings(protocol=Protocol.HTTPS, tls_ca=secret("ca"), tls_name="s")
    bench.mirror.backends["b"] = Backend("b", ("s",), settings=(settings,))
    store = "/run/l7/tls/authorities/idca.pem"
    assert bench.material.look([(Part.BACKEND, "b")], bench.mirror, NOW) == set()
    del bench.mirror.tls_hosts["x.test"]
    assert bench.look() == {STORE}
    del bench.mirror.backends["b"]
    assert bench.material.look([(Part.BACKEND, "b")], bench.mirror, NOW) == {store}


def test_our_own_certificate_towards_tasks_need_not_name_a_host(bench: Bench) -> None:
    bench.put("own", AUTHORITY.issue(common_name="proxy").combined)
    settings = ServerSettings(protocol=Protocol.HTTPS, tls_certificate=KeyPair(secret("own")))
    bench.mirror.backends["b"] = Backend("b", ("s",), settings=(settings,))
    changed = bench.material.look([(Part.BACKEND, "b")], bench.mirror, NOW)
    assert changed == {"/run/l7/tls/identities/idown.pem"}
    assert bench.material.stores.identities.keys() == changed


def test_passwords_are_those_of_the_lines_that_can_be_used(bench: Bench) -> None:
    bench.mirror.rules["r"] = pb.Rules(name="r", basic_auth=pb.Secret(id="idu", name="u"))
    bench.material.look([(Part.RULES, "r")], bench.mirror, NOW)
    assert bench.material.credentials.lines == {}
    bench.put("u", b"me:pass\nyou:$2y$10$abcdefghijklmnop\n")
    bench.material.look([(Part.RULES, "r")], bench.mirror, NOW)
    assert bench.material.credentials.lines == {"idu": (("me", "pass"),)}
    assert [label for label, _ in bench.problems] == ["basic_auth"]
    bench.material.retain(())
    assert bench.material.credentials.lines == {}


def test_nothing_secret_is_in_a_representation(bench: Bench) -> None:
    good(bench)
    bench.put("u", b"me:pass-word\n")
    bench.mirror.rules["r"] = pb.Rules(name="r", basic_auth=pb.Secret(id="idu", name="u"))
    bench.host("c")
    bench.material.look([(Part.RULES, "r")], bench.mirror, NOW)
    text = repr((bench.material, bench.material.stores, bench.material.credentials, bench.problems))
    assert "PRIVATE" not in text
    assert "pass-word" not in text
    assert "kkkk" not in text
