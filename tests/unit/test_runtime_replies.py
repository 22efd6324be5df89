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
