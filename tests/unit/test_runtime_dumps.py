"""Readers of dumps, on text that HAProxy wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from haproxy.model import CrtListRow, Stored, StoredCertificate
from haproxy.runtime import dumps
from haproxy.runtime.dumps import Process, StatKind
from l7.kit.errors import ProtocolError


def test_backends() -> None:
    assert dumps.parse_backends("# name\nb1\nb2\n\n") == ("b1", "b2")
    assert dumps.parse_backends("# name\n") == ()
    with pytest.raises(ProtocolError):
        dumps.parse_backends("b1\nb2\n")


def test_map_rows_with_copies_and_blanks_in_the_value() -> None:
    text = "0x5652abba8250 q r\n0x7fa0b3673f60 q2 r2 with;\\space \n0x5652abba8330 q r\n\n"
    assert dumps.parse_map(text) == (("q", "r"), ("q2", "r2 with;\\space "), ("q", "r"))
    assert dumps.parse_map("\n") == ()
    with pytest.raises(ProtocolError):
        dumps.parse_map("hello\n")


def test_map_match() -> None:
    found = 'type=beg, case=sensitive, found=yes, idx=tree, key="a b;/\\x", value="say "v" ;w", type="str"\n'
    assert dumps.parse_map_match(found) == ("a b;/\\x", 'say "v" ;w')
    assert dumps.parse_map_match("type=beg, case=sensitive, found=no\n") is None
    with pytest.raises(ProtocolError):
        dumps.parse_map_match("type=beg\n")


def test_new_version() -> None:
    assert dumps.parse_new_version("New version created: 12\n") == 12
    with pytest.raises(ProtocolError):
        dumps.parse_new_version("\n")


def test_info() -> None:
    text = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 6763\nUptime: 0d 0h00m05s\nUptime_sec: 5\nStopping: 1\n"
    info = dumps.parse_info(text)
    assert (info.version, info.pid, info.uptime, info.stopping) == ((2, 6, 12), 6763, 5, True)
    assert info.fields["Name"] == "HAProxy"
    with pytest.raises(ProtocolError):
        dumps.parse_info("Name: HAProxy\nVersion: 2.6.12\nPid: many\nUptime_sec: 5\nStopping: 0\n")


def test_stat_with_quoted_text_and_new_columns() -> None:
    text = (
        "# pxname,svname,qcur,scur,stot,wretr,wredis,status,type,check_status,last_chk,extra,\n"
        "f,FRONTEND,,3,9,,,OPEN,0,,,1,\n"
        'b,s,1,2,8,4,5,DOWN 1/2,2,L7STS,"HTTP status 503, ""busy""",1,\n'
        "b,sock,0,0,0,,,OPEN,3,,,1,\n"
        "b,BACKEND,6,7,8,9,10,UP,1,,,1,\n\n"
    )
    frontend, server, backend = dumps.parse_stat(text)
    assert (frontend.kind, frontend.server, frontend.sessions) == (StatKind.FRONTENDS, "", 3)
    assert (server.backend, server.server, server.queued, server.sessions) == ("b", "s", 1, 2)
    assert (server.retries, server.redispatches, server.status) == (4, 5, "DOWN 1/2")
    assert (server.check_status, server.last_check) == ("L7STS", 'HTTP status 503, "busy"')
    assert (backend.kind, backend.queued, backend.sessions_total) == (StatKind.BACKENDS, 6, 8)


@pytest.mark.parametrize(
    "text", ["", "pxname,svname\n", "# pxname,svname,type\nb\n", "# pxname,svname,type\nb,s,2\n", '# type\n"2"x\n']
)
def test_stat_refuses_garbage(text: str) -> None:
    with pytest.raises(ProtocolError):
        dumps.parse_stat(text)


def test_processes() -> None:
    text = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>      \n"
        "6760            master          1 [failed: 0]   0d00h03m00s     2.6.12-1+deb12u4\n"
        "# workers\n9513            worker          0               0d00h00m01s     2.6.12-1+deb12u4\n"
        "# old workers\n6763            worker          1               0d00h03m00s     2.6.12-1+deb12u4\n"
        "# programs\n\n"
    )
    assert dumps.parse_processes(text) == (
        Process(6760, "master", 1, old=False),
        Process(9513, "worker", 0, old=False),
        Process(6763, "worker", 1, old=True),
    )
    with pytest.raises(ProtocolError):
        dumps.parse_processes("#<PID>\nhello\n")


# ---------------------------------------------------------------- TLS

CERTIFICATE = (
    "Filename: /tls/a.pem\nOption: ocsp-update off\nOption: jwt off\nStatus: Used\nSerial: 6803E7\n"
    "notBefore: Nov 19 21:13:10 2026 GMT\nnotAfter: Feb 18 21:13:10 2027 GMT\n"
    "Subject Alternative Name: DNS:a.test\nAlgorithm: EC256\n"
    "SHA1 FingerPrint: 38FB473CA07031F5D029AF0ED4DD4402D78E55F9\nSubject: /CN=a: test\n"
    "Issuer: /CN=CA one\nChain Subject: /CN=CA one\nChain Issuer: /CN=CA two\nChain Subject: /CN=CA two\n"
    "Chain Issuer: /CN=CA two\nOCSP Response Key: \n"
)


def test_names_of_certificates() -> None:
    assert dumps.parse_certificate_names("") == Stored()
    text = "# transaction\n*/tls/b.pem\n# filename\n/tls/a.pem\n/tls/b.pem\n"
    assert dumps.parse_certificate_names(text) == Stored({"/tls/a.pem": None, "/tls/b.pem": None}, "/tls/b.pem")


def test_authorities() -> None:
    text = (
        "# transaction\n*/tls/b.pem - 2 certificate(s)\n# filename\n/tls/b.pem - 0 certificate(s)\n"
        "@system-ca - 144 certificate(s)\n/tls/c.pem - 12 certificate(s)\n"
    )
    assert dumps.parse_authorities(text) == Stored({"/tls/b.pem": 0, "/tls/c.pem": 12}, "/tls/b.pem")


def test_certificates() -> None:
    empty = "Filename: /tls/b.pem\nStatus: Empty\nOCSP Response Key: \n"
    none = "Can't display the certificate: Not found or the certificate is a bundle!\n"
    assert dumps.parse_certificates([CERTIFICATE, none, empty]) == {
        "/tls/a.pem": StoredCertificate("38FB473CA07031F5D029AF0ED4DD4402D78E55F9", 2, used=True),
        "/tls/b.pem": StoredCertificate(),
    }


def test_the_lines_of_a_crt_list() -> None:
    text = (
        "# /tls/l.list\n/tls/a.pem:1 a.test\n"
        "/tls/b.pem:12 [alpn h2,http/1.1\0 verify optional ca-file /tls/c.pem] *.b.test !x.b.test\n/tls/d.pem:3\n"
    )
    assert dumps.parse_crt_list(text) == (
        CrtListRow("/tls/a.pem", 1, "", ("a.test",)),
        CrtListRow(
            "/tls/b.pem", 12, "alpn h2,http/1.1 verify optional ca-file /tls/c.pem", ("*.b.test", "!x.b.test")
        ),
        CrtListRow("/tls/d.pem", 3, "", ()),
    )
    assert dumps.parse_crt_list("# /tls/l.list\n") == ()


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (dumps.parse_certificate_names, "# other\nx\n"),
        (dumps.parse_authorities, "# filename\n/tls/a.pem\n"),
        (dumps.parse_authorities, "# transaction\n*/tls/a.pem\n"),
        (dumps.parse_crt_list, "/tls/a.pem:1 a.test\n"),
        (dumps.parse_crt_list, "# l\n/tls/a.pem a.test\n"),
        (dumps.parse_crt_list, "# l\n/tls/a.pem:1 [verify a.test\n"),
        (lambda text: dumps.parse_certificates([text]), "Status: Used\n"),
        (lambda text: dumps.parse_certificates([text]), ""),
    ],
)
def test_tls_dumps_refuse_garbage(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ProtocolError):
        read(text)
