"""What is written to HAProxy, to the byte; and how its answers are cut."""

from __future__ import annotations

from typing import get_args

import pytest

from haproxy import ops
from haproxy.ops import Op
from haproxy.runtime import codec, framing
from l7.kit.errors import ProtocolError

MAP = "/run/l7/routes.map"
PEM = b"-----BEGIN CERTIFICATE-----\nQUJD\nRA==\n-----END CERTIFICATE-----\n"
LINES: list[tuple[Op, bytes]] = [
    (ops.AddBackend("web", "p-web"), b"add backend web from p-web\n"),
    (ops.PublishBackend("a:b"), b"publish backend a:b\n"),
    (ops.UnpublishBackend("web"), b"unpublish backend web\n"),
    (ops.DeleteBackend("web"), b"del backend web\n"),
    (
        ops.AddServer("web", "t.1", "10.0.0.7", 80, 5, 64, ("check", "inter", "2s")),
        b"add server web/t.1 10.0.0.7:80 id 5 weight 64 check inter 2s\n",
    ),
    (ops.AddServer("web", "t", "fd00::7", 8000), b"add server web/t [fd00::7]:8000 weight 1\n"),
    (ops.EnableServer("web", "t"), b"set server web/t state ready\n"),
    (ops.EnableHealth("web", "t"), b"enable health web/t\n"),
    (ops.DisableServer("web", "t"), b"set server web/t state maint\n"),
    (ops.SetWeight("web", "t", 0), b"set server web/t weight 0\n"),
    (ops.ShutdownSessions("web", "t"), b"shutdown sessions server web/t\n"),
    (ops.DeleteServer("web", "t"), b"del server web/t\n"),
    (ops.AddMapRow(MAP, "h/a b;c/", "web|\\1"), b"add map /run/l7/routes.map h/a\\ b\\;c/ web|\\\\1\n"),
    (ops.SetMapRow(MAP, "h/", "x<<"), b"set map /run/l7/routes.map h/ x\\<\\<\n"),
    (ops.DeleteMapRow(MAP, "h/"), b"del map /run/l7/routes.map h/\n"),
    (ops.NewCertificate("/tls/a.pem"), b"new ssl cert /tls/a.pem\n"),
    (ops.SetCertificate("/tls/a.pem", PEM), b"set ssl cert /tls/a.pem <<\n" + PEM + b"\n"),
    (ops.CommitCertificate("/tls/a.pem"), b"commit ssl cert /tls/a.pem\n"),
    (ops.AbortCertificate("/tls/a.pem"), b"abort ssl cert /tls/a.pem\n"),
    (ops.DeleteCertificate("/tls/a.pem"), b"del ssl cert /tls/a.pem\n"),
    (
        ops.AddCrtListEntry("/tls/l.list", "/tls/_.a.pem", "*.a", "verify required ca-file /tls/c.pem"),
        b"add ssl crt-list /tls/l.list <<\n/tls/_.a.pem [verify required ca-file /tls/c.pem] *.a\n\n",
    ),
    (ops.DeleteCrtListEntry("/tls/l.list", "/tls/a.pem", 7), b"del ssl crt-list /tls/l.list /tls/a.pem:7\n"),
    (ops.NewAuthority("/tls/c.pem"), b"new ssl ca-file /tls/c.pem\n"),
    (ops.SetAuthority("/tls/c.pem", PEM), b"set ssl ca-file /tls/c.pem <<\n" + PEM + b"\n"),
    (ops.CommitAuthority("/tls/c.pem"), b"commit ssl ca-file /tls/c.pem\n"),
    (ops.AbortAuthority("/tls/c.pem"), b"abort ssl ca-file /tls/c.pem\n"),
    (ops.DeleteAuthority("/tls/c.pem"), b"del ssl ca-file /tls/c.pem\n"),
]


@pytest.mark.parametrize(("op", "line"), LINES, ids=[type(op).__name__ for op, _ in LINES])
def test_each_op_is_one_command(op: Op, line: bytes) -> None:
    assert codec.encode(op) == line
    assert codec.count_commands(line) == 1


def test_every_op_has_a_verb() -> None:
    assert {type(op) for op, _ in LINES} == set(get_args(Op))
    assert len({codec.verb(op) for op, _ in LINES}) == len(get_args(Op))


@pytest.mark.parametrize(
    "op",
    [
        ops.AddBackend("a b", "p"),
        ops.AddBackend("a", "p;quit"),
        ops.EnableServer("web", "t\nquit"),
        ops.EnableServer("web", ""),
        ops.EnableServer("web/t", "u"),
        ops.DeleteServer("wéb", "t"),
        ops.NewCertificate("a.pem"),
        ops.NewCertificate("/a b.pem"),
        ops.NewCertificate("/a.pem:1"),
        ops.DeleteCertificate("/a\n.pem"),
        ops.AddCrtListEntry("/l", "/a.pem", "a b"),
        ops.AddCrtListEntry("/l", "/a.pem", "!a"),
        ops.AddCrtListEntry("/l", "/a.pem", "a", "verify none] b"),
        ops.AddCrtListEntry("/l", "/a.pem", ""),
        ops.DeleteCrtListEntry("/l", "/a.pem", 0),
        ops.SetWeight("web", "t", 257),
        ops.SetWeight("web", "t", -1),
        ops.AddServer("web", "t", "example.org", 80),
        ops.AddServer("web", "t", "10.0.0.1", 0),
        ops.AddServer("web", "t", "10.0.0.1", 65536),
        ops.AddServer("web", "t", "10.0.0.1", 80, keywords=("check;quit",)),
        ops.AddServer("web", "t", "10.0.0.1", 80, keywords=("check\n",)),
        ops.AddServer("web", "t", "10.0.0.1", 80, keywords=("<<",)),
        ops.AddMapRow(MAP, "", "v"),
        ops.AddMapRow(MAP, "k", ""),
        ops.AddMapRow(MAP, "k", "a\nb"),
        ops.AddMapRow(MAP, "k\x00", "v"),
        ops.AddMapRow(MAP, "k\x7f", "v"),
        ops.AddMapRow(MAP, "k", "\ud800"),
        ops.AddMapRow(MAP, "k", "v" * codec.LINE_LIMIT),
        ops.AddMapRow("@1", "k", "v"),
        ops.DeleteMapRow(MAP, "#0x55d0c0ffee00"),
        ops.DeleteMapRow("#0", "k"),
    ],
)
def test_what_could_be_taken_for_something_else_is_not_sent(op: Op) -> None:
    with pytest.raises(ProtocolError):
        codec.encode(op)


def test_batches_keep_order_and_limits() -> None:
    lines = [b"%d\n" % n for n in range(250)]
    batches = list(codec.batches(lines))
    assert b"".join(batches) == b"".join(lines)
    assert [batch.count(b"\n") for batch in batches] == [100, 100, 50]
    long = [b"x" * 6000 + b"\n"] * 5
    assert [len(batch) for batch in codec.batches(long)] == [12002, 12002, 6001]
    assert list(codec.batches([b"x" * 20_000])) == [b"x" * 20_000]
    assert list(codec.batches([])) == []


def test_a_payload_counts_as_one_command() -> None:
    assert codec.count_commands(b"add map @1 /m <<\na b\n<<\n\nshow info\n") == 2
    assert codec.count_commands(b"set ssl cert x <<EOF\nPEM\n\n") == 1


@pytest.mark.parametrize(
    "batch", [b"", b"show info", b"\n", b"a\n\nb\n", b"a;b\n", b"a\\\\;b\n", b"add map @1 /m <<\na b\n"]
)
def test_batches_that_can_not_be_paired_with_replies_are_refused(batch: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.count_commands(batch)


def test_a_map_is_loaded_in_payloads_within_the_limit() -> None:
    rows = [(f"host{n}/", f"b{n}|") for n in range(1000)]
    commands = list(codec.load_map(MAP, 3, rows, 2000))
    assert len(commands) > 5
    assert all(len(command) <= 2000 and codec.count_commands(command) == 1 for command in commands)
    head = b"add map @3 /run/l7/routes.map <<\n"
    payloads = [command.removeprefix(head).removesuffix(b"\n") for command in commands]
    assert b"".join(payloads).decode().splitlines() == [f"{key} {value}" for key, value in rows]


def test_rows_that_a_payload_would_change_go_one_by_one() -> None:
    commands = list(codec.load_map(MAP, 1, [("a b/", "v"), ("k", " v"), ("k", "v w")], 2000))
    assert commands == [
        b"add map @1 /run/l7/routes.map a\\ b/ v\n",
        b"add map @1 /run/l7/routes.map k \\ v\n",
        b"add map @1 /run/l7/routes.map <<\nk v w\n\n",
    ]
    assert list(codec.load_map(MAP, 1, [], 2000)) == []


def test_replies_of_2_6_as_they_come() -> None:
    wire = b"New server registered.\n\n> \n> Server deleted.\n> + + + \n> + Missing value for key 'x'.\n\n> "
    scanner = framing.PromptScanner(5)
    body = scanner.feed(wire)
    assert scanner.done
    assert framing.split(body) == [
        "New server registered.\n",
        "",
        "Server deleted.",
        "",
        "Missing value for key 'x'.\n",
    ]


def test_a_single_reply_is_its_text_alone() -> None:
    assert framing.PromptScanner(1).feed(b"3.4.7-1\n\n> ") == b"3.4.7-1\n"


def test_bytes_after_the_last_reply_are_an_error() -> None:
    with pytest.raises(ProtocolError):
        framing.PromptScanner(1).feed(b"x\n> y")


def test_a_reply_that_is_no_text_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        framing.split(b"\xff\xfe")


# ---------------------------------------------------------------- payloads


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        PEM[:-1],
        PEM + b"\n",
        PEM.replace(b"QUJD\n", b"QUJD\n\n"),
        PEM.replace(b"\n", b"\r\n"),
        b"subject=CN = a\n" + PEM,
        PEM.replace(b"QUJD", b"QU;D"),
        PEM.replace(b"QUJD", b"QU<<"),
        PEM.replace(b"QUJD", b"QUJ\xc3\xa9"),
    ],
)
def test_only_armoured_lines_are_a_payload_and_none_is_quoted(pem: bytes) -> None:
    for op in (ops.SetCertificate("/a.pem", pem), ops.SetAuthority("/a.pem", pem)):
        with pytest.raises(ProtocolError) as caught:
            codec.encode(op)
        assert "QU" not in str(caught.value)


def test_a_payload_is_as_long_as_the_version_takes() -> None:
    pem = PEM + b"QUJD\n" * 4000
    with pytest.raises(ProtocolError, match=rf"{len(pem)} bytes are more than the 15400") as caught:
        codec.encode(ops.SetCertificate("/a.pem", pem), 15_400)
    assert "QUJD" not in str(caught.value)
    assert codec.encode(ops.SetCertificate("/a.pem", pem), len(pem)).endswith(b"QUJD\n\n")


def test_what_an_op_shows_of_itself_has_no_pem_in_it() -> None:
    for op in (ops.SetCertificate("/a.pem", PEM), ops.SetAuthority("/a.pem", PEM)):
        assert "/a.pem" in repr(op)
        assert "QUJD" not in repr(op)
        assert "BEGIN" not in repr(op)
