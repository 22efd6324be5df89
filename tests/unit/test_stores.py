"""The plan of TLS stores: what is sent for what is wanted, and in which order."""

from __future__ import annotations

from base64 import encodebytes
from dataclasses import replace
from hashlib import sha1

import pytest

from haproxy.model import ClientCertificate, CrtListRow, StoredCertificate
from haproxy.ops import (
    AbortAuthority,
    AbortCertificate,
    AddCrtListEntry,
    CommitAuthority,
    CommitCertificate,
    DeleteAuthority,
    DeleteCertificate,
    DeleteCrtListEntry,
    NewAuthority,
    NewCertificate,
    SetAuthority,
    SetCertificate,
)
from haproxy.plan import BackendPlan
from haproxy.settings import AUTHORITIES, CERTIFICATES_LIST, IDENTITIES, Settings
from haproxy.stores import (
    SeenStores,
    by_store,
    differing,
    digest,
    in_order,
    is_authority,
    open_transactions,
    plan_store,
)
from haproxy.tls import Entry, certificate_store

SETTINGS = Settings(tls_bind=(":443",))
LIST = SETTINGS.file(CERTIFICATES_LIST)
HOST = "a.test"
STORE = certificate_store(SETTINGS, HOST)
CA, OTHER_CA = (SETTINGS.file(f"{AUTHORITIES}/{name}.pem") for name in ("one", "two"))
IDENTITY = SETTINGS.file(f"{IDENTITIES}/one.pem")
PLAIN = Entry(STORE, HOST)
ASKING = Entry(STORE, HOST, ClientCertificate.REQUIRED, CA)


def pem(*certificates: bytes) -> bytes:
    """In the form of one; nothing here reads more of it."""
    blocks = [_block(b"CERTIFICATE", each) for each in certificates]
    return b"".join((*blocks, _block(b"PRIVATE KEY", b"key")))


def _block(kind: bytes, content: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (kind, encodebytes(content), kind)


def stored(*certificates: bytes) -> StoredCertificate:
    return StoredCertificate(sha1(certificates[0]).hexdigest().upper(), len(certificates) - 1)


OLD, NEW = pem(b"old"), pem(b"new")


def seen(*entries: Entry, content: bytes = OLD, holds: StoredCertificate | None = None) -> SeenStores:
    """One store, with these lines."""
    rows = tuple(CrtListRow(each.store, n, each.options, (each.host,)) for n, each in enumerate(entries, 1))
    return SeenStores({STORE: holds or stored(b"old")}, rows=by_store(rows), contents={STORE: digest(content)})


def test_a_new_host_has_its_store_before_its_line() -> None:
    assert plan_store(STORE, NEW, PLAIN, SeenStores(), SETTINGS) == BackendPlan(
        (
            NewCertificate(STORE),
            SetCertificate(STORE, NEW),
            CommitCertificate(STORE),
            AbortCertificate(STORE),
            AddCrtListEntry(LIST, STORE, HOST),
        )
    )


def test_what_is_there_costs_nothing() -> None:
    assert not plan_store(STORE, OLD, PLAIN, seen(PLAIN), SETTINGS)
    assert not plan_store(STORE, OLD, ASKING, seen(ASKING), SETTINGS)
    assert not plan_store(STORE, None, None, SeenStores(), SETTINGS)
    assert not plan_store(CA, None, None, SeenStores(), SETTINGS)


def test_a_rotation_touches_no_line() -> None:
    change = (SetCertificate(STORE, NEW), CommitCertificate(STORE), AbortCertificate(STORE))
    assert plan_store(STORE, NEW, PLAIN, seen(PLAIN), SETTINGS) == BackendPlan(change)


@pytest.mark.parametrize(
    "have",
    [
        seen(PLAIN, content=NEW),  # the same certificate with another chain or key, as far as we know
        seen(PLAIN, holds=stored(b"other")),  # somebody else changed it
        seen(PLAIN, holds=stored(b"old", b"above")),
        seen(PLAIN, holds=StoredCertificate()),  # half made
        replace(seen(PLAIN), contents={}),  # we don't know what we sent
    ],
)
def test_what_may_differ_is_sent_again(have: SeenStores) -> None:
    change = (SetCertificate(STORE, OLD), CommitCertificate(STORE), AbortCertificate(STORE))
    assert plan_store(STORE, OLD, PLAIN, have, SETTINGS) == BackendPlan(change)


def test_other_options_are_a_line_behind_the_old_one_which_goes_then() -> None:
    assert plan_store(STORE, OLD, ASKING, seen(PLAIN), SETTINGS) == BackendPlan(
        (AddCrtListEntry(LIST, STORE, HOST, f"verify required ca-file {CA}"),),
        (DeleteCrtListEntry(LIST, STORE, 1),),
    )


def test_of_copies_one_stays_and_the_last_goes_first() -> None:
    plan = plan_store(STORE, OLD, ASKING, seen(PLAIN, PLAIN, ASKING, ASKING, PLAIN), SETTINGS)
    assert plan == BackendPlan((), tuple(DeleteCrtListEntry(LIST, STORE, line) for line in (5, 4, 2, 1)))


def test_a_line_with_other_hosts_is_not_ours() -> None:
    row = CrtListRow(STORE, 3, "", (HOST, "b.test"))
    plan = plan_store(STORE, OLD, PLAIN, replace(seen(), rows={STORE: (row,)}), SETTINGS)
    assert plan == BackendPlan((AddCrtListEntry(LIST, STORE, HOST),), (DeleteCrtListEntry(LIST, STORE, 3),))


def test_a_host_that_goes_loses_its_lines_before_its_store() -> None:
    gone = plan_store(STORE, None, None, seen(PLAIN, ASKING), SETTINGS)
    assert not gone.opening
    assert set(gone.closing[:2]) == {DeleteCrtListEntry(LIST, STORE, 1), DeleteCrtListEntry(LIST, STORE, 2)}
    assert gone.closing[2:] == (DeleteCertificate(STORE),)


def test_the_default_certificate_and_those_of_servers_have_no_line() -> None:
    default = certificate_store(SETTINGS, "*")
    for name, entry in ((default, Entry(default, "*")), (IDENTITY, None)):
        plan = plan_store(name, NEW, entry, SeenStores(), SETTINGS)
        change = (NewCertificate(name), SetCertificate(name, NEW), CommitCertificate(name), AbortCertificate(name))
        assert plan == BackendPlan(change)


def test_authorities_are_made_once_and_deleted() -> None:
    change = (SetAuthority(CA, NEW), CommitAuthority(CA), AbortAuthority(CA))
    assert plan_store(CA, NEW, None, SeenStores(), SETTINGS) == BackendPlan((NewAuthority(CA), *change))
    assert plan_store(CA, NEW, None, SeenStores(authorities={CA: 0}), SETTINGS) == BackendPlan(change)
    have = SeenStores(authorities={CA: 1}, contents={CA: digest(NEW)})
    assert not plan_store(CA, NEW, None, have, SETTINGS)
    have.contents.clear()  # its name says what is in it; and before 3.2, HAProxy does not survive a second commit
    assert not plan_store(CA, NEW, None, have, SETTINGS)
    assert plan_store(CA, None, None, have, SETTINGS) == BackendPlan((), (DeleteAuthority(CA),))


def test_what_is_open_is_ended() -> None:
    assert open_transactions("", "") == ()
    assert open_transactions(STORE, "") == (AbortCertificate(STORE),)
    assert open_transactions(STORE, CA) == (AbortCertificate(STORE), AbortAuthority(CA))


def test_authorities_come_first() -> None:
    assert in_order([STORE, OTHER_CA, IDENTITY, CA], SETTINGS) == [CA, OTHER_CA, *sorted([STORE, IDENTITY])]
    assert is_authority(SETTINGS, CA)
    assert not is_authority(SETTINGS, STORE)


def test_what_somebody_else_changed_is_found() -> None:
    before = seen(PLAIN)
    assert differing(before, seen(PLAIN)) == set()
    assert differing(before, seen(ASKING)) == {STORE}
    assert differing(before, seen(PLAIN, holds=stored(b"other"))) == {STORE}
    assert differing(SeenStores(authorities={CA: 1}), SeenStores(authorities={OTHER_CA: 1})) == {CA, OTHER_CA}
