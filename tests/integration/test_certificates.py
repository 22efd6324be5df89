"""Certificates, CAs and lines of the crt-list in a real HAProxy: any sequence of wants, and trouble on the way.

One HAProxy serves all sequences of the property test: each begins with what the one before has left.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from haproxy import ops
from haproxy.model import ClientCertificate, Secret
from haproxy.ops import Op
from haproxy.runtime import Reason, Runtime, codec
from haproxy.settings import CERTIFICATES_LIST, IDENTITIES
from haproxy.stores import SeenStores, by_store, digest, in_order, open_transactions, plan_store
from haproxy.tls import Entry, Stores, authority_store, certificate_store
from l7.kit.errors import ProtocolError
from testbed.certificates import Issued, TestAuthority
from tests.integration.live_tls import HANDSHAKE_REFUSED, LiveTls, Setup, client, identity, live_tls

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(300)]

HOSTS = ("a.test", "b.test", "*.w.test")
ASKED = {"a.test": "a.test", "b.test": "b.test", "*.w.test": "x.w.test"}
"""What a client asks for to get a host's certificate."""
VARIANTS = 3
NONE, REQUIRED, OPTIONAL = ClientCertificate.NONE, ClientCertificate.REQUIRED, ClientCertificate.OPTIONAL


@dataclass
class World:
    """HAProxy, what it was sent, and certificates to choose from."""

    live: LiveTls
    runtime: Runtime
    sent: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    authority: TestAuthority = field(default_factory=TestAuthority)
    clients: tuple[TestAuthority, ...] = field(default_factory=lambda: (TestAuthority("one"), TestAuthority("two")))

    def __post_init__(self) -> None:
        self.issued = {host: [self.authority.issue(host) for _ in range(VARIANTS)] for host in HOSTS}
        self.identities = [self.authority.issue(common_name=f"proxy {n}") for n in range(2)]
        self.client_files = [
            identity(self.live.directory, each, f"client{n}") for n, each in enumerate(self.clients)
        ]

    @property
    def crt_list(self) -> str:
        return self.live.proxy.settings.file(CERTIFICATES_LIST)

    def store(self, host: str) -> str:
        return certificate_store(self.live.proxy.settings, host)

    def ca(self, which: int) -> str:
        return authority_store(self.live.proxy.settings, Secret(f"ca{which}", ""))

    def read(self) -> SeenStores:
        certificates, authorities = self.runtime.certificates(), self.runtime.authorities()
        return SeenStores(
            dict(certificates.stores),
            dict(authorities.stores),
            by_store(self.runtime.crt_list(self.crt_list)),
            self.contents,
            open_transactions(certificates.transaction, authorities.transaction),
        )

    def apply(self, *batch: Op) -> list[Reason | None]:
        """Note what was sent, as the sidecar does; why it was refused, or None."""
        reasons: list[Reason | None] = []
        for result in self.runtime.apply(batch):
            op = result.op
            reasons.append(result.refusal.reason if result.refusal else None)
            if isinstance(op, ops.SetCertificate | ops.SetAuthority):
                self.sent[op.store] = digest(op.pem)
            elif isinstance(op, ops.CommitCertificate | ops.CommitAuthority) and result.ok:
                self.contents[op.store] = self.sent[op.store]
        return reasons

    def plan(self, wanted: Stores) -> list[Op]:
        """All there is to do, CAs first, and what goes in the opposite order."""
        seen, entries = self.read(), {entry.store: entry for entry in wanted.entries}
        pem = {**wanted.certificates, **wanted.authorities, **wanted.identities}
        names = in_order({*pem, *seen.names}, self.live.proxy.settings)
        plans = [
            plan_store(name, pem.get(name), entries.get(name), seen, self.live.proxy.settings) for name in names
        ]
        closing = [op for plan in reversed(plans) for op in plan.closing]
        return [*seen.transactions, *(op for plan in plans for op in plan.opening), *closing]

    def serving(self, host: str, which: int | None = None) -> str:
        """Fingerprint of what is shown to a client with the certificate of a CA, or none; "" when it is refused."""
        files = None if which is None else self.client_files[which]
        try:
            context = client(files, b"", ssl.TLSVersion.TLSv1_2)  # 1.3 lets a client in before it is asked
            with self.live.connected(ASKED[host], context) as connection:
                shown = connection.getpeercert(binary_form=True)
        except HANDSHAKE_REFUSED:
            return ""
        return next(
            each.fingerprint
            for each in self.issued[host]
            if ssl.PEM_cert_to_DER_cert(each.certificate.decode()) == shown
        )

    # ------------------------------------------------------------ one host, by hand

    def put(self, host: str, issued: Issued, options: str = "") -> None:
        name = self.store(host)
        assert self.apply(*change(name, issued.combined, new=True), self.line(host, options)) == [None] * 5

    def line(self, host: str, options: str = "") -> Op:
        return ops.AddCrtListEntry(self.crt_list, self.store(host), host, options)

    def put_ca(self, which: int) -> str:
        name, pem = self.ca(which), self.clients[which].certificate
        made: list[Op] = [
            ops.NewAuthority(name), ops.SetAuthority(name, pem), ops.CommitAuthority(name), ops.AbortAuthority(name)
        ]  # fmt: skip
        assert self.apply(*made) == [None] * 4
        return name


def change(name: str, pem: bytes, new: bool = False) -> list[Op]:
    first: list[Op] = [ops.NewCertificate(name)] if new else []
    return [*first, ops.SetCertificate(name, pem), ops.CommitCertificate(name), ops.AbortCertificate(name)]


@contextmanager
def world_of(binary: Path, directory: Path) -> Iterator[World]:
    with live_tls(binary, Setup(directory)) as live, Runtime(live.proxy.runtime_url) as runtime:
        yield World(live, runtime)


@pytest.fixture
def world(haproxy_binary: Path, tmp_path: Path) -> Iterator[World]:
    with world_of(haproxy_binary, tmp_path) as made:
        yield made


# ---------------------------------------------------------------- one command after the other


def test_the_life_of_a_certificate(world: World) -> None:
    first, second, _ = world.issued["a.test"]
    name = world.store("a.test")
    assert world.serving("a.test") == ""
    world.put("a.test", first)
    assert world.serving("a.test") == first.fingerprint
    world.apply(ops.SetCertificate(name, second.combined))
    assert world.serving("a.test") == first.fingerprint
    assert world.read().transactions == (ops.AbortCertificate(name),)
    assert world.apply(ops.CommitCertificate(name), ops.AbortCertificate(name)) == [None, None]
    assert world.serving("a.test") == second.fingerprint
    ((row,),) = world.read().rows.values()
    assert (row.store, row.options, row.hosts) == (name, "", ("a.test",))
    assert world.apply(ops.DeleteCertificate(name)) == [Reason.BUSY]
    assert (
        world.apply(ops.DeleteCrtListEntry(world.crt_list, name, row.line), ops.DeleteCertificate(name))
        == [None] * 2
    )
    assert world.serving("a.test") == ""
    assert world.read().names == set()


def test_an_open_connection_outlives_its_certificate(world: World) -> None:
    first, second, _ = world.issued["a.test"]
    world.put("a.test", first)
    with world.live.connected("a.test") as connection:
        world.apply(*change(world.store("a.test"), second.combined))
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_refusals(world: World) -> None:
    world.put("a.test", world.issued["a.test"][0])
    name, none, ca = world.store("a.test"), world.store("none.test"), world.put_ca(0)
    reasons: dict[Op, Reason] = {
        ops.NewCertificate(name): Reason.ALREADY_EXISTS,
        ops.NewAuthority(ca): Reason.ALREADY_EXISTS,
        ops.SetCertificate(none, world.issued["a.test"][0].combined): Reason.NOT_FOUND,
        ops.SetAuthority(none, world.clients[0].certificate): Reason.NOT_FOUND,
        ops.CommitCertificate(name): Reason.OTHER,
        ops.CommitAuthority(ca): Reason.OTHER,
        ops.DeleteCertificate(name): Reason.BUSY,
        ops.DeleteCertificate(none): Reason.NOT_FOUND,
        ops.DeleteAuthority(none): Reason.NOT_FOUND,
        ops.DeleteCrtListEntry(world.crt_list, none, 1): Reason.NOT_FOUND,
        ops.DeleteCrtListEntry("/none.list", name, 1): Reason.NOT_FOUND,
        ops.DeleteCrtListEntry(world.crt_list, name, 9): Reason.OTHER,
        ops.AddCrtListEntry(world.crt_list, none, "none.test"): Reason.NOT_FOUND,
        ops.AddCrtListEntry("/none.list", name, "a.test"): Reason.NOT_FOUND,
        ops.AddCrtListEntry(world.crt_list, name, "a.test", "verify required ca-file /none"): Reason.OTHER,
    }
    assert dict(zip(reasons, world.apply(*reasons), strict=True)) == reasons
    assert world.apply(ops.AbortCertificate(name), ops.AbortAuthority(ca)) == [None, None]
    assert world.serving("a.test") == world.issued["a.test"][0].fingerprint


def test_of_two_lines_for_a_host_the_first_counts_until_it_goes(world: World) -> None:
    certificate = world.issued["a.test"][0]
    world.put("a.test", certificate)
    one, two = (f"verify required ca-file {world.put_ca(which)}" for which in range(2))
    for options, before, after in (
        (one, (True, True, True), (False, True, False)),
        (two, (False, True, False), (False, False, True)),
    ):
        (old,) = world.read().rows[world.store("a.test")]
        assert world.apply(world.line("a.test", options)) == [None]
        assert admitted(world) == before
        assert world.apply(ops.DeleteCrtListEntry(world.crt_list, old.store, old.line)) == [None]
        assert admitted(world) == after
    assert world.apply(ops.DeleteAuthority(world.ca(0)), ops.DeleteAuthority(world.ca(1))) == [None, Reason.BUSY]


def admitted(world: World) -> tuple[bool, ...]:
    """Whether a.test lets in clients without a certificate, with one of the first CA, and of the second."""
    return tuple(bool(world.serving("a.test", which)) for which in (None, 0, 1))


# ---------------------------------------------------------------- what goes wrong


def bad(world: World) -> dict[str, bytes]:
    one, other, _ = world.issued["a.test"]
    return {
        "another key": one.certificate + other.key,
        "no key": one.certificate,
        "no certificate": one.key,
        "no PEM": b"QUJD\n",
        "cut off": one.combined[: len(one.combined) // 3].rpartition(b"\n")[0] + b"\n",
    }


def test_a_bad_pem_costs_nothing_but_itself(world: World) -> None:
    good, other = world.issued["b.test"][:2]
    world.put("b.test", good)
    for kind, pem in bad(world).items():
        a, b = world.store("a.test"), world.store("b.test")
        batch = [
            *change(a, pem, new=True), world.line("a.test"),
            *change(b, other.combined), world.line("a.test"),
        ]  # fmt: skip
        reasons = world.apply(*batch)
        assert reasons[4] is not None, kind
        assert reasons[5:8] == [None] * 3, kind
        assert reasons[8] is not None, kind
        assert world.serving("b.test") == other.fingerprint
        seen = world.read()
        assert seen.transactions == ()
        assert a not in seen.rows
        assert world.apply(ops.DeleteCertificate(a), *change(b, good.combined)) == [None] * 4


def test_a_bad_pem_in_place_of_a_good_one_changes_nothing(world: World) -> None:
    good = world.issued["a.test"][0]
    world.put("a.test", good)
    for kind, pem in bad(world).items():
        assert any(world.apply(*change(world.store("a.test"), pem))), kind
        assert world.read().transactions == (), kind
        assert world.serving("a.test") == good.fingerprint, kind


def test_a_pem_for_an_open_transaction_of_another_store_is_refused(world: World) -> None:
    """Before 3.0 it goes into that transaction, whose commit would show b.test's certificate for a.test."""
    first, second, _ = world.issued["a.test"]
    world.put("a.test", first)
    world.put("b.test", world.issued["b.test"][0])
    a, b = world.store("a.test"), world.store("b.test")
    world.apply(ops.SetCertificate(a, second.combined))
    reasons = world.apply(ops.SetCertificate(b, world.issued["b.test"][1].combined), ops.CommitCertificate(b))
    assert all(reasons)
    wanted = stores_of(world, {"a.test": (1, NONE, 0), "b.test": (1, NONE, 0)})
    assert not any(world.apply(*world.plan(wanted)))
    assert world.serving("a.test") == second.fingerprint
    assert world.serving("b.test") == world.issued["b.test"][1].fingerprint
    assert world.plan(wanted) == []


def cut(world: World, *batch: Op) -> None:
    """As if the sidecar died after these commands: on a connection of their own, whose answers nobody reads."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(world.live.proxy.settings.socket)
        connection.sendall(b"prompt\n" + b"".join(codec.encode(op) for op in batch))
        seen = b""
        while seen.count(b"\n> ") < 1 + len(batch):
            seen += connection.recv(65536)


def test_a_connection_that_is_cut_after_each_command_is_made_up_for(world: World) -> None:
    wanted = stores_of(world, {"a.test": (0, REQUIRED, 0), "b.test": (1, NONE, 0)}, identity=0)
    whole = world.plan(wanted)
    for length in range(len(whole)):
        cut(world, *whole[:length])
        assert not any(world.apply(*world.plan(wanted)))
        assert_serves(world, wanted)
        assert not any(world.apply(*world.plan(Stores())))
        assert world.read().names == set()


def test_what_somebody_else_changed_is_put_right(world: World) -> None:
    wanted = stores_of(world, {"a.test": (0, NONE, 0), "b.test": (1, OPTIONAL, 0)})
    converge(world, wanted)
    for host in ("a.test", "b.test"):
        world.runtime.apply(change(world.store(host), world.issued[host][2].combined))
        assert world.serving(host) == world.issued[host][2].fingerprint
    converge(world, wanted)
    assert_serves(world, wanted)


def test_nothing_is_known_of_what_was_sent_and_certificates_still_rotate(world: World) -> None:
    """As after a restart of the sidecar. Before 3.2 the second commit of a CA takes the certificates of its clients
    out of the crt-list (they can't be rotated any more), and a third one ends the process."""
    for variant in (0, 1, 2, 0):
        wanted = stores_of(world, {"a.test": (variant, REQUIRED, 0), "b.test": (variant, NONE, 0)}, identity=0)
        converge(world, wanted)
        assert_serves(world, wanted)
        world.contents.clear()
        converge(world, wanted)
        assert_serves(world, wanted)


# ---------------------------------------------------------------- long ones


def long_pem(issued: Issued, authority: TestAuthority, size: int) -> bytes:
    """Certificate, others of all kinds, and key, of exactly this size."""
    pem = issued.certificate
    while len(pem) + 2000 + len(issued.key) < size:
        pem += authority.issue("filler.test").certificate
    comment = size - len(pem) - len(issued.key)  # OpenSSL skips what is not within a block
    lines, last = divmod(comment, 64)
    pem += b"x" * 63 + b"\n" if lines else b""
    pem += (b"x" * 63 + b"\n") * (lines - 2) + b"x" * 31 + b"\n" + b"x" * (31 + last) + b"\n"
    assert len(pem) + len(issued.key) == size
    return pem + issued.key


def test_a_payload_may_be_as_long_as_the_limit_and_no_longer(world: World) -> None:
    limit = world.live.proxy.capabilities.payload_limit
    first, second, _ = world.issued["a.test"]
    world.put("a.test", first)
    world.put("b.test", world.issued["b.test"][0])
    name, other = world.store("a.test"), world.store("b.test")
    pem = long_pem(second, world.authority, limit)
    around = change(other, world.issued["b.test"][1].combined)
    assert not any(world.apply(*around, *change(name, pem), *around, *change(name, pem)))
    assert world.serving("a.test") == second.fingerprint
    too_long = long_pem(first, world.authority, limit + 1)
    with pytest.raises(ProtocolError, match=f"{limit + 1} bytes are more than") as caught:
        world.apply(*change(other, world.issued["b.test"][0].combined), *change(name, too_long))
    assert "BEGIN" not in str(caught.value)
    assert world.serving("b.test") == world.issued["b.test"][1].fingerprint


# ---------------------------------------------------------------- any sequence

Want = dict[str, tuple[int, ClientCertificate, int]]
"""host -> which of its certificates, what clients are asked for, which CA signs theirs."""

wants = st.dictionaries(
    st.sampled_from(HOSTS),
    st.tuples(st.integers(0, VARIANTS - 1), st.sampled_from((NONE, NONE, OPTIONAL, REQUIRED)), st.integers(0, 1)),
)
faults = st.sampled_from(("", "", "", "cut", "bad", "copies", "foreign", "forgotten", "meddled"))


def stores_of(world: World, want: Want, identity: int | None = None) -> Stores:
    """As the sidecar would want them."""
    entries = tuple(
        Entry(world.store(host), host, asked, "" if asked is NONE else world.ca(which))
        for host, (_, asked, which) in want.items()
    )
    return Stores(
        {world.store(host): world.issued[host][variant].combined for host, (variant, *_) in want.items()},
        {
            world.ca(which): world.clients[which].certificate
            for _, asked, which in want.values()
            if asked is not NONE
        },
        {} if identity is None else {identity_store(world, identity): world.identities[identity].combined},
        entries,
    )


def identity_store(world: World, which: int) -> str:
    return world.live.proxy.settings.file(f"{IDENTITIES}/id{which}.pem")


def assert_serves(world: World, wanted: Stores) -> None:
    """Read back, and by handshakes."""
    seen = world.read()
    assert set(seen.certificates) == {*wanted.certificates, *wanted.identities}
    assert set(seen.authorities) == set(wanted.authorities)
    rows = sorted((row.store, row.options, row.hosts) for each in seen.rows.values() for row in each)
    assert rows == sorted((each.store, each.options, (each.host,)) for each in wanted.entries)
    assert seen.transactions == ()
    assert world.plan(wanted) == []
    for host in HOSTS:
        entry = next((each for each in wanted.entries if each.host == host), None)
        expected = shown_of(world, host, wanted, entry)
        assert tuple(world.serving(host, which) for which in (None, 0, 1)) == expected, host


def shown_of(world: World, host: str, wanted: Stores, entry: Entry | None) -> tuple[str, str, str]:
    """What clients without a certificate, with one of the first CA, and of the second are shown."""
    if entry is None:
        return "", "", ""
    pem = wanted.certificates[entry.store]
    shown = next(each.fingerprint for each in world.issued[host] if each.combined == pem)
    if not entry.client_ca:
        return shown, shown, shown
    known = [shown if entry.client_ca == world.ca(which) else "" for which in range(2)]
    return ("" if entry.client_certificate is REQUIRED else shown), known[0], known[1]


def trouble(world: World, fault: str, host: str) -> None:
    """Something that happened before the next plan is made."""
    name, issued = world.store(host), world.issued[host]
    rows = [row for each in world.read().rows.values() for row in each]
    match fault:
        case "cut":
            cut(world, ops.NewCertificate(name), ops.SetCertificate(name, issued[0].certificate + issued[1].key))
        case "bad":
            world.apply(*change(name, issued[0].certificate + issued[1].key, new=True), world.line(host))
        case "copies":
            world.apply(*(entry_of(world, row.store, row.hosts, row.options) for row in rows for _ in range(2)))
        case "foreign":
            world.apply(*(entry_of(world, row.store, ("foreign.test",), "") for row in rows[:1]))
        case "forgotten":
            world.contents.clear()
        case "meddled":
            world.runtime.apply(change(name, issued[2].combined))


def entry_of(world: World, store: str, hosts: Sequence[str], options: str) -> Op:
    return ops.AddCrtListEntry(world.crt_list, store, hosts[0], options)


def converge(world: World, wanted: Stores) -> None:
    """In one pass."""
    assert not any(world.apply(*world.plan(wanted)))


def test_any_sequence_of_wants_with_any_trouble_between(haproxy_binary: Path, tmp_path: Path) -> None:
    steps = st.lists(
        st.tuples(wants, st.sampled_from((None, 0, 1)), faults, st.sampled_from(HOSTS)), min_size=1, max_size=8
    )
    with world_of(haproxy_binary, tmp_path) as world:

        @settings(
            max_examples=40,
            phases=(Phase.explicit, Phase.generate),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(steps)
        def holds(sequence: Iterable[tuple[Want, int | None, str, str]]) -> None:
            for want, which, fault, host in sequence:
                trouble(world, fault, host)
                wanted = stores_of(world, want, which)
                converge(world, wanted)
                assert_serves(world, wanted)

        holds()
        assert world.live.proxy.process.poll() is None
