"""TLS of the tasks' own: passed on by SNI, or spoken by the proxies; acceptance items 54, 62, 63, 65 and 81, on a
real Swarm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.certificates import TestAuthority
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation
from tests.e2e.tls_app import CLIENTS_CA, TlsApp
from tests.e2e.tls_client import TlsClient

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def tls(l7: Installation, tmp_path: Path) -> TlsClient:
    return TlsClient(l7, tmp_path)


@pytest.fixture
def apps(l7: Installation, authority: TestAuthority) -> Iterator[TlsApp]:
    apps = TlsApp(l7, authority.certificate)
    yield apps
    apps.close()


@pytest.fixture
def trusted(tls: TlsClient, authority: TestAuthority) -> str:
    return tls.trust(authority)


@pytest.mark.acceptance(62)
@pytest.mark.acceptance(63)
def test_tls_is_passed_on_as_it_is(
    l7: Installation, create: Create, apps: TlsApp, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    """Beside a host that the proxies terminate, on the same port; the application sees nothing of ours."""
    own, ours = authority.issue("pass62.local"), authority.issue("term62.local")
    create("term62", "term62.local", labels=tls.pair("term62", ours))
    apps.create("pass62", own.combined, "pass62.local", {"ssl_passthrough": "true"})
    l7.running("pass62", 1)
    tls.shows("pass62.local", own.fingerprint)
    tls.shows("term62.local", ours.fingerprint)
    for answer in tls.served("https://pass62.local/", trusted):
        assert answer.headers["x-sni"] == "pass62.local"
        names = answer.headers["x-seen"].split(",")
        assert [name for name in names if name.startswith("x-")] == []
        assert "x-request-id" not in answer.headers
        assert {answer.instance} == l7.task_ids("pass62")
    l7.refused("pass62.local")
    l7.solved("pass62")


@pytest.mark.acceptance(63)
def test_the_client_is_told_by_the_proxy_protocol(
    l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    labels = {"ssl_passthrough": "true", "proxy_protocol": "v2"}
    apps.create("told63", authority.issue("told63.local").combined, "told63.local", labels, bind="accept-proxy")
    l7.running("told63", 1)
    for answer in tls.served("https://told63.local/", trusted):
        assert answer.headers["x-source"].startswith("10.213.0.")


@pytest.mark.acceptance(54)
def test_redirects_of_a_passthrough_service(
    l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    """In the clear, where nothing else of it answers: from an old name, and from http to https."""
    own = authority.issue("pass54.local")
    redirects = "http://oldpass54.local,https://pass54.local"
    labels = {"ssl_passthrough": "true", "ssl_only": "true", "redirects": redirects}
    apps.create("pass54", own.combined, "pass54.local", labels)
    l7.running("pass54", 1)
    tls.shows("pass54.local", own.fingerprint)
    for host, status in (("oldpass54.local", 302), ("pass54.local", 308)):
        for answer in l7.answered(host, "/a?b=c", status):
            assert answer.headers["location"] == "https://pass54.local/a?b=c"
    assert {each.instance for each in tls.served("https://pass54.local/", trusted)} == l7.task_ids("pass54")
    l7.solved("pass54")


@pytest.mark.acceptance(81)
def test_the_traffic_follows_the_tasks_of_a_passthrough_host(
    l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority
) -> None:
    host = "canarypass81.local"
    issued = authority.issue(host)
    apps.create("oldpass81", issued.combined, host, {"ssl_passthrough": "true"}, 4)
    apps.create("newpass81", issued.combined, host, {"ssl_passthrough": "true"}, 1)
    l7.running("oldpass81", 4)
    l7.running("newpass81", 1)
    everyone = l7.task_ids("oldpass81") | l7.task_ids("newpass81")
    l7.until("all to answer", lambda: all(set(found) == everyone for found in tls.instances(host, 20)))
    new = l7.task_ids("newpass81")
    for counted in tls.instances(host, 500):
        assert abs(sum(counted[each] for each in new) / 500 - 0.2) <= 0.04


@pytest.mark.acceptance(65)
def test_tls_to_the_tasks(l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority) -> None:
    """Unverified; then verified by the right CA, by another one, and by a name that is none of its own."""
    host = "back65.local"
    apps.create("back65", authority.issue("task65.internal").combined, host, {"ssl_backend": "true"})
    l7.running("back65", 1)
    assert {each.instance for each in l7.answered(host)} == l7.task_ids("back65")
    tls.secret("good65", authority.certificate)
    tls.secret("bad65", TestAuthority("another CA").certificate)
    verified = {"ssl_backend_tls_verify": "required", "ssl_backend_ca": "good65"}
    l7.label("back65", **verified, ssl_backend_name="task65.internal")
    l7.until("it to be verified", lambda: {a.headers.get("x-sni") for a in l7.ask(host)} == {"task65.internal"})
    l7.solved("back65")
    wrong_name = {"ssl_backend_ca": "good65", "ssl_backend_name": "wrong65.internal"}
    for change in ({"ssl_backend_ca": "bad65"}, wrong_name):
        l7.label("back65", **change)
        problem = l7.problem("back65")
        assert problem["remedy"]
    assert {each.status for each in l7.ask(WITNESS)} == {200}
    l7.label("back65", ssl_backend_name="task65.internal")
    l7.solved("back65")
    assert {each.status for each in l7.answered(host)} == {200}


@pytest.mark.acceptance(65)
def test_a_bad_authority_from_the_start_is_refused(
    l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority
) -> None:
    """No earlier generation stands in: the proxy itself answers."""
    tls.secret("bad65b", TestAuthority("another CA").certificate)
    labels = {
        "ssl_backend": "true", "ssl_backend_tls_verify": "required", "ssl_backend_ca": "bad65b",
        "ssl_backend_name": "task65b.internal",
    }  # fmt: skip
    apps.create("bad65", authority.issue("task65b.internal").combined, "bad65.local", labels)
    l7.running("bad65", 1)
    assert l7.problem("bad65")["remedy"]
    assert {each.status for each in l7.ask("bad65.local")} <= {502, 503}
    assert {each.status for each in l7.ask(WITNESS)} == {200}


@pytest.mark.acceptance(65)
def test_a_certificate_of_our_own_for_the_tasks(
    l7: Installation, apps: TlsApp, tls: TlsClient, authority: TestAuthority
) -> None:
    pair = authority.issue(common_name="l7 front door")
    names = tls.pair("mutual65", pair)
    labels = {
        "ssl_backend": "true", "ssl_backend_cert": names["ssl_cert"], "ssl_backend_key": names["ssl_key"],
    }  # fmt: skip
    bind = f"verify required ca-file {CLIENTS_CA}"
    apps.create("mutual65", authority.issue("task65.internal").combined, "mutual65.local", labels, bind=bind)
    l7.running("mutual65", 1)
    for answer in l7.answered("mutual65.local"):
        assert answer.headers["x-client"] == "l7 front door"
    l7.solved("mutual65")
