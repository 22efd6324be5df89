"""TLS terminated at the proxies: acceptance items 53, 55 to 61, 64, 67, 68, 81 and 93, on a real Swarm, with curl
and openssl as clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from testbed.certificates import Issued, TestAuthority
from tests.e2e.answers import Answer
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, nothing_failed
from tests.e2e.tls_client import TlsClient

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

EXTENSION = "l7_extension"


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def tls(l7: Installation, tmp_path: Path) -> Iterator[TlsClient]:
    """A client; HAProxy's own tasks are the same before and after."""
    before = [l7.task_ids(name) for name in l7.services]
    yield TlsClient(l7, tmp_path)
    assert [l7.task_ids(name) for name in l7.services] == before, "a proxy's task was replaced"


@pytest.fixture
def trusted(tls: TlsClient, authority: TestAuthority) -> str:
    return tls.trust(authority)


def seen(answer: Answer) -> dict[str, str]:
    """The headers of the request that the application saw."""
    return {name.lower(): value for name, value in orjson.loads(answer.body)["headers"]}


def attached(l7: Installation) -> set[str]:
    """Names of the secrets that the extension service has."""
    client: Any = l7.swarm.docker(l7.manager)
    spec = client.inspect_service(EXTENSION)["Spec"]["TaskTemplate"]["ContainerSpec"]
    return {each["SecretName"] for each in spec.get("Secrets", [])}


@pytest.mark.acceptance(55)
@pytest.mark.acceptance(67)
def test_a_certificate_and_its_key(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    """TLS within T, verified by curl against the authority; the application gets clear text, and is told."""
    issued = authority.issue("shop55.local")
    create("shop55", "shop55.local", labels=tls.pair("shop55", issued))
    tasks = l7.published("shop55", "shop55.local")
    answers = tls.served("https://shop55.local/echo", trusted)
    for answer in answers:
        told = seen(answer)
        assert answer.instance in tasks
        assert told["x-forwarded-proto"] == "https"
        assert told["x-forwarded-port"] == "443"
        assert told["x-forwarded-for"] == told["x-real-ip"]
        assert told["x-real-ip"].startswith("10.213.0.")
        assert told["x-forwarded-host"].partition(":")[0] == "shop55.local"
    tls.shows("shop55.local", issued.fingerprint)
    for shown in tls.handshake("shop55.local", "-alpn", "h2,http/1.1"):
        assert (shown.protocol, shown.alpn) == ("TLSv1.3", "h2")
    assert {each.status for each in l7.ask("shop55.local")} == {200}
    l7.solved("shop55")


@pytest.mark.acceptance(56)
@pytest.mark.acceptance(57)
def test_each_host_has_its_own_and_some_share_one(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    one, two = authority.issue("one56.local"), authority.issue("two56.local")
    many = authority.issue("*.many57.local", "alias57.local")
    create("one56", "one56.local", labels=tls.pair("one56", one))
    create("two56", "two56.local", labels=tls.pair("two56", two))
    shared = tls.pair("many57", many)
    create("a57", "a.many57.local", labels=shared)
    create("b57", "*.many57.local, alias57.local", labels=shared)
    for host, issued, name in (
        ("one56.local", one, "one56"), ("two56.local", two, "two56"), ("a.many57.local", many, "a57"),
        ("other.many57.local", many, "b57"), ("alias57.local", many, "b57"),
    ):  # fmt: skip
        tls.shows(host, issued.fingerprint)
        assert {each.instance for each in tls.served(f"https://{host}/", trusted)} == l7.task_ids(name)
    assert {each.status for each in tls.curl("https://one56.local/", trusted, headers={"Host": "two56.local"})} == {
        200
    }, "another host on the same connection is routed by its name, as browsers that share connections expect"


@pytest.mark.acceptance(58)
def test_unknown_names_and_none_are_refused(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority
) -> None:
    issued = authority.issue("known58.local")
    create("known58", "known58.local", labels=tls.pair("known58", issued))
    tls.shows("known58.local", issued.fingerprint)
    for host in ("unknown58.local", "", "sub.known58.local"):
        for shown in tls.handshake(host):
            assert shown.fingerprint == ""
            assert shown.error
    for name in l7.services:
        l7.until("the refusal in the log", lambda name=name: "unknown58.local" in l7.log_of(name))


@pytest.mark.acceptance(59)
def test_what_is_wrong_with_a_secret_costs_its_own_host_only(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    good = authority.issue("good59.local")
    create("good59", "good59.local", labels=tls.pair("good59", good))
    create("absent59", "absent59.local", labels={"ssl_cert": "absent59.cert", "ssl_key": "absent59.key"})
    crossed = Issued(authority.issue("crossed59.local").certificate, authority.issue("crossed59.local").key)
    create("crossed59", "crossed59.local", labels=tls.pair("crossed59", crossed))
    other = authority.issue("somewhere-else.local")
    create("other59", "other59.local", labels=tls.pair("other59", other))
    tls.secret("garbage59", b"no certificate at all")
    create("garbage59", "garbage59.local", labels={"ssl_cert": "garbage59"})
    tls.shows("good59.local", good.fingerprint)
    told = {"absent59": "absent59", "crossed59": "key", "other59": "other59.local", "garbage59": "certificate"}
    for name, word in told.items():
        problem = told_of(l7, name, word)
        assert problem["label"] in ("com.docker.lb.ssl_cert", "com.docker.lb.ssl_key")
        assert problem["remedy"]
        assert not problem["fatal"]
        assert {each.status for each in l7.answered(f"{name}.local")} == {200}
        tls.shows(f"{name}.local", "")
    tls.secret("absent59.cert", (late := authority.issue("absent59.local")).certificate)
    tls.secret("absent59.key", late.key)
    tls.shows("absent59.local", late.fingerprint)
    l7.solved("absent59")
    tls.shows("good59.local", good.fingerprint)


def told_of(l7: Installation, service: str, word: str) -> dict[str, Any]:
    """Waits for a problem of the service that says so. Until its secrets have arrived, it has another one."""

    def find() -> dict[str, Any] | None:
        problem = l7.problem(service)
        return problem if word in f"{problem['message']} {problem['value']}" else None

    return l7.until(f"{service} to be told of {word}", find)


@pytest.mark.acceptance(60)
def test_secrets_are_attached_while_they_are_needed_and_only_to_the_extension(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority
) -> None:
    issued = authority.issue("held60.local")
    create("held60", "held60.local", labels=tls.pair("held60", issued))
    tls.shows("held60.local", issued.fingerprint)
    assert attached(l7) >= {"held60.cert", "held60.key"}
    client: Any = l7.swarm.docker(l7.manager)
    for name in (*l7.services, "l7_core"):
        spec = client.inspect_service(name)["Spec"]["TaskTemplate"]["ContainerSpec"]
        assert {each["SecretName"] for each in spec.get("Secrets", [])}.isdisjoint({"held60.cert", "held60.key"})
    l7.label("held60", ssl_cert=None, ssl_key=None)
    tls.shows("held60.local", "")
    l7.until("the secrets to be detached", lambda: attached(l7).isdisjoint({"held60.cert", "held60.key"}))
    l7.until("them to be removable", lambda: l7.cli("secret", "rm", "held60.cert", "held60.key") != "")


@pytest.mark.acceptance(61)
@pytest.mark.acceptance(93)
def test_rotation(l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str) -> None:
    """New handshakes get the new certificate, a long answer ends well, the old key is gone, and nobody's request
    fails."""
    old, new = authority.issue("turn61.local"), authority.issue("turn61.local")
    create("turn61", "turn61.local", labels=tls.pair("turn61", old))
    tls.shows("turn61.local", old.fingerprint)
    with l7.load(WITNESS) as reports, tls.beside("https://turn61.local/slow?ms=20000", trusted) as long:
        began = time.monotonic()
        l7.label("turn61", **tls.pair("turn61new", new))
        tls.shows("turn61.local", new.fingerprint)
        took = time.monotonic() - began
        gone = {old.key.split(b"\n")[1], old.certificate.split(b"\n")[1]}
        proxies = range(len(l7.services))
        l7.until("the old key to be gone", lambda: not any(kept(l7, proxy, gone) for proxy in proxies))
    assert took < 20
    assert nothing_failed(reports)
    assert [each.status for each in long] == [200] * len(l7.services)
    l7.until("the old secrets to be detached", lambda: attached(l7).isdisjoint({"turn61.cert", "turn61.key"}))


def kept(l7: Installation, proxy: int, words: set[bytes]) -> bool:
    """Whether any file of a proxy's own has one of these in it."""
    files = [each for each in l7.file(proxy, "").rglob("*") if each.is_file()]
    assert files
    return any(word in each.read_bytes() for each in files for word in words)


@pytest.mark.acceptance(68)
def test_certificate_and_key_in_one_secret_or_in_two(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority
) -> None:
    issued, another = authority.issue("both68.local"), authority.issue("both68.local")
    tls.secret("both68.pem", issued.combined)
    create("both68", "both68.local", labels={"ssl_cert": "both68.pem"})
    tls.shows("both68.local", issued.fingerprint)
    l7.label("both68", **tls.pair("both68", another))
    tls.shows("both68.local", another.fingerprint)
    l7.solved("both68")


@pytest.mark.acceptance(64)
def test_only_tls(l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str) -> None:
    """A redirect with path and query on the clear-text port, HSTS over TLS only."""
    issued = authority.issue("only64.local")
    labels = tls.pair("only64", issued) | {"ssl_only": "true", "hsts": "max-age=600"}
    create("only64", "only64.local", labels=labels)
    l7.running("only64", 1)
    for answer in tls.served("https://only64.local/x", trusted):
        assert answer.headers["strict-transport-security"].startswith("max-age=600")
    for answer in l7.ask("only64.local", "/a%20b?q=1"):
        assert (answer.status, answer.headers["location"]) == (308, "https://only64.local/a%20b?q=1")
        assert "strict-transport-security" not in answer.headers


@pytest.mark.acceptance(53)
def test_a_redirect_to_https_of_the_same_host_ends_there(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    issued = authority.issue("secure53.local")
    redirects = {"redirects": "http://secure53.local,https://secure53.local"}
    create("tls53", "secure53.local", labels=tls.pair("tls53", issued) | redirects)
    l7.running("tls53", 1)
    assert {each.instance for each in tls.served("https://secure53.local/x", trusted)} == l7.task_ids("tls53")
    for answer in l7.ask("secure53.local", "/x"):
        assert (answer.status, answer.headers["location"]) == (302, "https://secure53.local/x")
    l7.solved("tls53")


@pytest.mark.acceptance(81)
def test_the_traffic_follows_the_tasks_over_tls(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    host = "canarytls81.local"
    pair = tls.pair("canarytls81", authority.issue(host))
    create("oldtls81", host, 4, labels=pair)
    create("newtls81", host, 1, labels=pair)
    l7.published("oldtls81", host, 4)
    l7.published("newtls81", host, 1)
    l7.reach(host, l7.task_ids("oldtls81") | l7.task_ids("newtls81"))
    tls.served(f"https://{host}/", trusted)
    new = l7.task_ids("newtls81")
    for counted in tls.instances(host, 500):
        assert abs(sum(counted[each] for each in new) / 500 - 0.2) <= 0.04
