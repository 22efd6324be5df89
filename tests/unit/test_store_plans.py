"""Plans for TLS stores out of memory: what may not go yet, who waits, and what HAProxy is known to hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from haproxy import ops
from haproxy.credentials import NO_CREDENTIALS, Credentials
from haproxy.mirror import Mirror
from haproxy.model import CrtListRow, KeyPair, Route, Secret, StoredCertificate, TlsHost
from haproxy.observation import Observation
from haproxy.ops import Op
from haproxy.settings import SNI_MAP, Settings
from haproxy.store_plans import StorePlans
from haproxy.stores import digest
from haproxy.tls import NO_STORES, Entry, Stores, certificate_store
from haproxy.work import store_owner

SETTINGS = Settings(run_dir="/run/l7", tls_bind=(":443",))
STORE = "/run/l7/tls/certificates/x.test.pem"
ANY_STORE = "/run/l7/tls/certificates/_.pem"
CA = "/run/l7/tls/authorities/c.pem"
PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@dataclass
class Material:
    pem: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    credentials: Credentials = NO_CREDENTIALS
    there: Stores = NO_STORES
    late: set[str] = field(default_factory=set)

    def lacking(self, host: str) -> bool:
        return host in self.late

    def files(self) -> Stores:
        return self.there


@dataclass
class Bench:
    material: Material = field(default_factory=Material)
    mirror: Mirror = field(default_factory=Mirror)
    seen: Observation = field(default_factory=Observation)
    settings: Settings = SETTINGS
    lingering: bool = False
    plans: StorePlans = field(init=False)

    def __post_init__(self) -> None:
        self.plans = StorePlans(
            self.material, self.mirror, lambda: self.seen, lambda: self.settings, lambda: self.lingering
        )

    def want(self, host: str = "x.test", store: str = STORE) -> None:
        self.material.pem[store] = PEM
        self.material.entries[host] = Entry(store, host)

    def has(self, store: str = STORE, host: str = "x.test") -> None:
        self.seen.stores.certificates[store] = StoredCertificate("AA", 0)
        self.seen.stores.rows[store] = (CrtListRow(store, 1, "", (host,)),)

    def said(self, name: str) -> list[type[Op]]:
        plan = self.plans.plan(name)
        return [type(op) for op in (*plan.opening, *plan.closing)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_host_is_told_of_where_there_is_a_listener(bench: Bench) -> None:
    bench.want()
    assert bench.said(STORE)[0] is ops.NewCertificate
    bench.settings = replace(SETTINGS, tls_bind=())
    assert bench.said(STORE) == []
    bench.material.pem[CA] = PEM
    assert bench.said(CA)[0] is ops.NewAuthority


@pytest.mark.parametrize("host", ["*.x.test", "a" * 129 + ".test"])
def test_a_host_is_found_by_its_file_whatever_that_is_called(bench: Bench, host: str) -> None:
    store = certificate_store(SETTINGS, host)
    bench.want(host, store)
    bench.want()
    assert [op.host for op in bench.plans.plan(store).opening if isinstance(op, ops.AddCrtListEntry)] == [host]


def test_the_default_certificate_comes_and_goes_by_a_reload(bench: Bench) -> None:
    bench.want("*", ANY_STORE)
    assert bench.said(ANY_STORE) == []
    bench.settings = replace(SETTINGS, default_certificate=True)
    bench.seen.stores.certificates[ANY_STORE] = StoredCertificate("AA", 0)
    assert bench.said(ANY_STORE) == [ops.SetCertificate, ops.CommitCertificate, ops.AbortCertificate]
    del bench.material.pem[ANY_STORE], bench.material.entries["*"]
    assert bench.said(ANY_STORE) == []


def test_the_certificate_of_a_host_stays_until_its_connections_are_taken_elsewhere(bench: Bench) -> None:
    bench.has()
    bench.mirror.hosts["@x.test"] = {("@x.test", "/"): Route("@x.test", "/", "app.tls")}
    assert bench.said(STORE) == []
    assert bench.plans.released([ops.DeleteMapRow("/run/l7/routes.map", "x.test/")]) == set()
    row = ops.AddMapRow(SETTINGS.file(SNI_MAP), "x.test", "app.tls")
    assert bench.plans.released([row]) == {STORE}
    bench.seen.table(SNI_MAP)["@x.test"] = {"x.test": "app.tls"}
    assert bench.said(STORE) == [ops.DeleteCrtListEntry, ops.DeleteCertificate]


def test_a_ca_stays_until_no_server_can_name_it(bench: Bench) -> None:
    bench.seen.stores.authorities[CA] = 1
    bench.lingering = True
    assert bench.said(CA) == []
    assert bench.plans.released([ops.DeleteServer("b", "t")]) == {CA}
    bench.lingering = False
    assert bench.said(CA) == [ops.DeleteAuthority]


def test_servers_wait_for_stores_that_come(bench: Bench) -> None:
    bench.plans.await_stores("b", {CA})
    assert bench.plans.unblocked() == set()
    bench.seen.stores.authorities[CA] = 1
    assert bench.plans.unblocked() == {"b"}
    bench.plans.await_stores("b", ())
    assert bench.plans.unblocked() == set()


def test_what_was_sent_is_what_it_holds_once_it_is_committed(bench: Bench) -> None:
    bench.plans.done(ops.SetCertificate(STORE, PEM))
    assert bench.seen.stores.contents == {}
    bench.plans.done(ops.CommitCertificate(STORE))
    assert bench.seen.stores.contents == {STORE: digest(PEM)}
    bench.plans.done(ops.DeleteCertificate(STORE))
    assert bench.seen.stores.contents == {}


def test_an_haproxy_that_is_found_holds_what_the_files_say_as_far_as_it_has_it(bench: Bench) -> None:
    bench.material.there = Stores({STORE: PEM, ANY_STORE: PEM}, {CA: PEM})
    bench.seen.stores.certificates[STORE] = StoredCertificate("AA", 0)
    bench.seen.stores.authorities[CA] = 1
    bench.plans.adopt(bench.seen.stores)
    assert bench.seen.stores.contents == {STORE: digest(PEM), CA: digest(PEM)}


def test_only_stores_of_ours_are_looked_at(bench: Bench) -> None:
    bench.want()
    bench.seen.stores.certificates |= {"/etc/somebody.pem": StoredCertificate("AA", 0)}
    bench.seen.stores.authorities[CA] = 1
    assert bench.plans.all() == {STORE, CA}


def test_a_host_that_is_to_end_here_needs_its_store(bench: Bench) -> None:
    assert bench.plans.awaited("x.test") == ""
    bench.mirror.tls_hosts["x.test"] = TlsHost("x.test", "s", KeyPair(Secret("c", "c")))
    assert bench.plans.awaited("x.test") == store_owner(STORE)
    bench.has()
    assert (bench.plans.awaited("x.test"), bench.plans.terminated("x.test")) == ("", True)


def test_open_transactions_are_ended_once(bench: Bench) -> None:
    bench.seen.stores.transactions = (ops.AbortCertificate(STORE),)
    assert bench.plans.transactions() == (ops.AbortCertificate(STORE),)
    assert bench.plans.transactions() == ()


# ---------------------------------------------------------------- hosts that nobody stands in for

OWN = KeyPair(Secret("c1", "cert"))


def lacking(client_ca: Secret | None = None, host: str = "x.test") -> Bench:
    """The host is to have a certificate, which has not arrived."""
    bench = Bench()
    bench.mirror.tls_hosts[host] = TlsHost(host, "x", OWN, client_ca=client_ca)
    bench.material.late.add(host)
    return bench


def test_a_new_host_is_closed_until_its_certificate_is_shown() -> None:
    bench = lacking()
    assert bench.plans.closed("x.test", ())
    bench.seen.routes["x.test"] = {"x.test/": "x|"}
    bench.seen.table(SNI_MAP)["@x.test"] = {"x.test": "!"}
    assert bench.plans.closed("x.test", ())
    bench.want()
    assert bench.plans.closed("x.test", ())
    bench.has()
    assert not bench.plans.closed("x.test", ())


def test_a_host_that_is_served_goes_on_while_its_own_is_on_its_way() -> None:
    bench = lacking()
    bench.seen.routes["x.test"] = {"x.test/": "x|"}
    assert not bench.plans.closed("x.test", ())
    bench.material.late.clear()  # it has come, and is bad
    assert bench.plans.closed("x.test", ())
    bench.want()
    assert not bench.plans.closed("x.test", ())
    assert bench.plans.closed("x.test", {store_owner(STORE)})


def test_a_host_that_wants_certificates_of_clients_is_closed_at_once() -> None:
    bench = lacking(Secret("c", "ca"))
    bench.want()
    assert bench.plans.closed("x.test", ())
    bench.seen.routes["x.test"] = {"x.test/": "x|"}
    assert not bench.plans.closed("x.test", ())
    bench.material.entries.clear()
    assert bench.plans.closed("x.test", ())


def test_wildcards_and_hosts_without_tls_are_never_closed() -> None:
    assert not lacking(host="*.test").plans.closed("*.test", ())
    assert not lacking(host="*").plans.closed("*", ())
    assert not lacking().plans.closed("y.test", ())
    bench = lacking()
    bench.settings = replace(SETTINGS, tls_bind=())
    assert not bench.plans.closed("x.test", ())
