"""Replies word for word, as HAProxy 2.6.12, 3.0.11, 3.2.26 and 3.4.7 wrote them."""

from __future__ import annotations

import pytest

from haproxy import ops
from haproxy.ops import Op
from haproxy.runtime.replies import Reason, Refusal, check, is_refused_show, refusal

ADD = ops.AddServer("b1", "x.1", "127.0.0.1", 81)
DELETE = ops.DeleteServer("b1", "x.1")
ENABLE = ops.EnableServer("b1", "x.1")
HEALTH = ops.EnableHealth("b1", "x.1")
ADD_BACKEND = ops.AddBackend("d1", "rr")
DELETE_BACKEND = ops.DeleteBackend("d1")
ROW = ops.AddMapRow("/m", "k", "v")


@pytest.mark.parametrize(
    ("op", "reply"),
    [
        (ADD, "New server registered.\n"),
        (DELETE, "Server deleted."),  # 2.6: one newline, which is the prompt's
        (DELETE, "Server deleted.\n"),
        (ENABLE, ""),
        (HEALTH, ""),
        (ops.DisableServer("b1", "x.1"), ""),
        (ops.SetWeight("b1", "x.1", 5), ""),
        (ops.ShutdownSessions("b1", "x.1"), ""),
        (ROW, ""),
        (ops.SetMapRow("/m", "k", "v"), ""),
        (ops.DeleteMapRow("/m", "k"), ""),
        (ADD_BACKEND, "New backend registered.\n"),
        (ADD_BACKEND, "\nNew backend registered.\n"),  # 3.4 in experimental mode
        (ops.PublishBackend("d1"), "Backend published.\n"),
        (ops.UnpublishBackend("d1"), "Backend unpublished.\n"),
        (DELETE_BACKEND, "Backend deleted.\n"),
        (
            DELETE_BACKEND,
            "Server d1/x.1 is going DOWN for maintenance. 0 active and 0 backup servers left. "
            "0 sessions active, 0 requeued, 0 remaining in queue.\n"
            "backend 'd1' has no server available!\nServer deleted.\nBackend deleted.\n",
        ),
    ],
)
def test_success(op: Op, reply: str) -> None:
    assert check(op, reply) is None


@pytest.mark.parametrize(
    ("op", "reply", "reason"),
    [
        (ADD, "Already exists a server with the same name in backend.\n", Reason.ALREADY_EXISTS),
        (ADD, "No such backend.", Reason.NOT_FOUND),
        (ADD, "unknown keyword 'bogus'.\n", Reason.OTHER),
        # Another server has the id: this one is not there, so it is no ALREADY_EXISTS.
        (ADD, "'id' : custom id 77 already used at (null):0 ('server x.1').\n", Reason.OTHER),
        (ADD, "Backend must use a dynamic load balancing to support dynamic servers.\n", Reason.OTHER),
        (ADD, "", Reason.OTHER),
        (DELETE, "No such server.", Reason.NOT_FOUND),
        (DELETE, "Only servers in maintenance mode can be deleted.", Reason.OTHER),
        (DELETE, "Server still has connections attached to it, cannot remove it.", Reason.BUSY),
        (DELETE, "", Reason.OTHER),
        (ENABLE, "No such server.\n", Reason.NOT_FOUND),
        (ENABLE, "Permission denied\n", Reason.UNSUPPORTED),
        (HEALTH, "Health check was not configured on this server, cannot enable.\n", Reason.OTHER),
        (ops.SetWeight("b", "s", 9), "Absolute weight can only be between 0 and 256 inclusive.\n", Reason.OTHER),
        (ROW, "Unknown map identifier. Please use #<id> or <file>.\n", Reason.NOT_FOUND),
        (ops.SetMapRow("/m", "k", "v"), "entry not found.\n", Reason.NOT_FOUND),
        (ops.DeleteMapRow("/m", "k"), "Key not found.\n", Reason.NOT_FOUND),
        (
            ADD_BACKEND,
            "Error during backend creation : name is already used by other proxy 'backend b1'.\n",
            Reason.ALREADY_EXISTS,
        ),
        # A frontend or a `defaults` has the name: there is no such backend, and never will be.
        (
            ADD_BACKEND,
            "Error during backend creation : name is already used by other proxy 'defaults rr'.\n",
            Reason.OTHER,
        ),
        (ADD_BACKEND, "Cannot find default proxy 'nope'.\n", Reason.OTHER),
        (
            ADD_BACKEND,
            "New backend registered (no support for dynamic servers: backend 'd2' uses a non dynamic load "
            "balancing method).\n",
            Reason.OTHER,
        ),
        (DELETE_BACKEND, "Only a backend without server can be deleted.\n", Reason.BUSY),
        (DELETE_BACKEND, "Backend must be unpublished prior to its deletion.\n", Reason.OTHER),
        (DELETE_BACKEND, "Server deleted.\nNo such backend.\n", Reason.NOT_FOUND),
    ],
)
def test_refusals(op: Op, reply: str, reason: Reason) -> None:
    assert check(op, reply) == Refusal(reason, reply.strip().splitlines()[-1] if reply else "no answer")


def test_an_unknown_command_is_named_by_its_first_line() -> None:
    for first in (
        "Unknown command, but maybe one of the following ones is a better match:",
        "Unknown command: 'add backend', but maybe one of the following ones is a better match:",
    ):
        reply = f"{first}\n  add map [@<ver>] <map> <key> <val>      : add a map entry\n  quit : disconnect\n"
        assert check(ADD_BACKEND, reply) == Refusal(Reason.UNSUPPORTED, first)
        assert refusal(reply) == Refusal(Reason.UNSUPPORTED, first)


def test_commands_that_say_nothing_when_they_succeed() -> None:
    assert refusal("\n") is None
    assert refusal("Missing value for key 'nov'.\n") == Refusal(Reason.OTHER, "Missing value for key 'nov'.")


@pytest.mark.parametrize(
    "reply", ["Can't find backend.\n", "No such proxy.\n", "Permission denied\n", "Unknown map identifier. P"]
)
def test_shows_that_are_refused(reply: str) -> None:
    assert is_refused_show(reply)


@pytest.mark.parametrize("reply", ["", "1\n# be_id\n", "0x55 host/ No such backend\n"])
def test_shows_that_are_not(reply: str) -> None:
    assert not is_refused_show(reply)


# ---------------------------------------------------------------- TLS

N, L = "/tls/a.pem", "/tls/certificates.list"
ENTRY = ops.AddCrtListEntry(L, N, "a.test")


@pytest.mark.parametrize(
    ("op", "reply"),
    [
        (ops.NewCertificate(N), f"New empty certificate store '{N}'!\n"),
        (ops.SetCertificate(N, b""), f"Transaction created for certificate {N}!\n"),
        (ops.SetCertificate(N, b""), f"Transaction updated for certificate {N}!\n"),
        (ops.CommitCertificate(N), f"Committing {N}\nSuccess!\n"),
        (ops.CommitCertificate(N), f"Committing {N}..\nSuccess!\n"),
        (ops.AbortCertificate(N), f"Transaction aborted for certificate '{N}'!\n"),
        (ops.AbortCertificate(N), "No ongoing transaction!\n"),
        (ops.DeleteCertificate(N), f"Certificate '{N}' deleted!\n"),
        (ENTRY, f"Inserting certificate '{N}' in crt-list '{L}'.\nSuccess!\n"),
        (ops.DeleteCrtListEntry(L, N, 2), f"Entry '{N}' deleted in crtlist '{L}'!\n"),
        (ops.NewAuthority(N), f"New CA file created '{N}'!\n"),
        (ops.SetAuthority(N, b""), f"transaction created for CA {N}!\n"),
        (ops.SetAuthority(N, b""), f"transaction updated for CA {N}!\n"),
        (ops.CommitAuthority(N), f"Committing {N}\nSuccess!\n"),
        (ops.AbortAuthority(N), f"Transaction aborted for certificate '{N}'!\n"),
        (ops.AbortAuthority(N), "No ongoing transaction!\n"),
        (ops.DeleteAuthority(N), f"CA file '{N}' deleted!\n"),
    ],
)
def test_success_of_tls(op: Op, reply: str) -> None:
    assert check(op, reply) is None


@pytest.mark.parametrize(
    ("op", "reply", "reason"),
    [
        (ops.NewCertificate(N), f"Certificate '{N}' already exists!\n", Reason.ALREADY_EXISTS),
        (ops.NewAuthority(N), f"CA file '{N}' already exists!\n", Reason.ALREADY_EXISTS),
        (
            ops.SetCertificate(N, b""),
            f"Can't replace a certificate which is not referenced by the configuration!\nCan't update {N}!\n",
            Reason.NOT_FOUND,
        ),
        (
            ops.SetAuthority(N, b""),
            f"Can't replace a CA file which is not referenced by the configuration!\nCan't update {N}!\n",
            Reason.NOT_FOUND,
        ),
        (
            ops.SetCertificate(N, b""),
            f"unable to load certificate from file '{N}'.\nCan't load the payload\nCan't update {N}!\n",
            Reason.OTHER,
        ),
        # 2.6: the PEM went into the transaction of another store.
        (ops.SetCertificate(N, b""), "Transaction updated for certificate /tls/b.pem!\n", Reason.OTHER),
        (
            ops.SetCertificate(N, b""),
            f"The ongoing transaction is about '/tls/b.pem' but you are trying to set '{N}'\nCan't update {N}!\n",
            Reason.BUSY,
        ),
        (
            ops.CommitCertificate(N),
            f"inconsistencies between private key and certificate loaded '{N}'.\nCan't commit {N}!\n",
            Reason.OTHER,
        ),
        (
            ops.CommitCertificate(N),
            f"Committing {N}\nunable to load SSL private key into SSL Context '{N}': no reason.\nFailed!\n",
            Reason.OTHER,
        ),
        (ops.CommitCertificate(N), f"No ongoing transaction! !\nCan't commit {N}!\n", Reason.OTHER),
        (
            ops.AbortCertificate(N),
            f"The ongoing transaction is about '/tls/b.pem' but you are trying to abort a transaction for '{N}'\n",
            Reason.BUSY,
        ),
        (
            ops.DeleteCertificate(N),
            f"Can't remove the certificate: certificate '{N}' in use, can't be deleted!\n\n",
            Reason.BUSY,
        ),
        (
            ops.DeleteCertificate(N),
            f"Can't remove the certificate: ongoing transaction for the certificate '{N}'\n",
            Reason.BUSY,
        ),
        (
            ops.DeleteCertificate(N),
            f"Can't remove the certificate: certificate '{N}' doesn't exist!\n\n",
            Reason.NOT_FOUND,
        ),
        (
            ops.DeleteAuthority(N),
            f"Can't remove the CA file: CA file '{N}' in use, can't be deleted!\n\n",
            Reason.BUSY,
        ),
        (ops.DeleteAuthority(N), f"Can't remove the CA file: CA file '{N}' doesn't exist!\n\n", Reason.NOT_FOUND),
        (ENTRY, f"Can't edit the crt-list: certificate '{N}' is empty!\n", Reason.OTHER),
        (ENTRY, f"Can't edit the crt-list: certificate '{N}' does not exist!\n", Reason.NOT_FOUND),
        (ENTRY, f"Can't edit the crt-list: crt-list '{L}' does not exist!\n", Reason.NOT_FOUND),
        (ENTRY, "Can't edit the crt-list: 'ca-file' : unable to load /nope\n", Reason.OTHER),
        (
            ENTRY,
            f"Inserting certificate '{N}' in crt-list '{L}'.\nunable to load SSL private key into SSL Context "
            f"'{N}': passed a null parameter.\nFailed!\n",
            Reason.OTHER,
        ),
        (
            ops.DeleteCrtListEntry(L, N, 7),
            f"Can't delete the entry: certificate '{N}' can't be found in crt-list '{L}'!\n",
            Reason.NOT_FOUND,
        ),
        (
            ops.DeleteCrtListEntry(L, N, 7),
            f"Can't delete the entry: found a certificate '{N}' but the line number is incorrect, please specify a "
            "correct line number preceded by colons (1, 2)!\n",
            Reason.OTHER,
        ),
        (ENTRY, "", Reason.OTHER),
    ],
)
def test_refusals_of_tls(op: Op, reply: str, reason: Reason) -> None:
    refused = check(op, reply)
    assert refused is not None
    assert refused.reason is reason
    assert refused.text == (" ".join(reply.split("\n")).strip() or "no answer")


def test_what_is_not_there_is_not_shown() -> None:
    assert is_refused_show("didn't find the specified filename\n")
    assert is_refused_show("Can't display the CA file : Not found!\n")
    assert not is_refused_show(f"Filename: {N}\nStatus: Used\n")
    assert not is_refused_show(f"# {L}\n{N}:1 doesnt.exist\n")
