"""What rules do to requests and answers, switched on and off while HAProxy runs, by map rows alone."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from haproxy import ops, policy
from haproxy.model import Canary, Redirect, Route
from haproxy.settings import BACKENDS_MAP
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import PATIENCE, Answer, parse, receive
from tests.integration.live_rules import HOST, LiveRules, live_rules

pytestmark = pytest.mark.haproxy

PLAIN = Route(HOST, "/", "web", rules="web")


@pytest.fixture(scope="module")
def proxy(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRules]:
    with live_rules(haproxy_binary, tmp_path_factory.mktemp("rules")) as live:
        yield live


@pytest.fixture
def live(proxy: LiveRules) -> Iterator[LiveRules]:
    """Without rules, before and after."""
    yield proxy
    proxy.set()
    proxy.route(PLAIN, Route("ring.test", "/", "ring", rules="web"))


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.error


# ---------------------------------------------------------------- canaries


def canaries(*more: Canary, backend: str = "web") -> Route:
    return Route(HOST, "/", backend, canaries=more)


def test_a_canary_by_header_and_by_cookie(live: LiveRules) -> None:
    live.route(canaries(Canary("blue", "header", "x-v", "2"), Canary("green", "cookie", "v", "2")))
    assert live.app("/") == "web1"
    assert live.app("/", "x-v: 2") == "blue1"
    assert live.app("/deep/er", "X-V: 2") == "blue1"
    assert live.app("/", "x-v: 1") == live.app("/", "x-v: 22") == live.app("/", "x-v:") == "web1"
    assert live.app("/", "cookie: v=2") == "green1"
    assert live.app("/", "cookie: a=b; v=2; c=d") == "green1"
    assert live.app("/", "cookie: v=2", "x-v: 2") == "blue1"
    live.route(PLAIN)
    assert live.app("/", "x-v: 2", "cookie: v=2") == "web1"


def test_a_cookies_name_is_not_found_inside_another(live: LiveRules) -> None:
    live.route(canaries(Canary("green", "cookie", "v", "2")))
    for cookie in ("xv=2", "v2=2", "a=v=2", 'a="v=2"', "a=b v=2", "V=2", "v=22", "-v=2"):
        assert live.app("/", f"cookie: {cookie}") == "web1", cookie


def test_any_value_and_one_value(live: LiveRules) -> None:
    live.route(canaries(Canary("blue", "header", "x-v"), Canary("green", "header", "x-v", "g")))
    assert live.app("/", "x-v: anything") == "blue1"
    assert live.app("/", "x-v: g") == "green1"


def test_a_canary_without_a_server_falls_back(live: LiveRules) -> None:
    live.route(canaries(Canary("none", "header", "x-v", "2"), Canary("blue", "header", "x-v")))
    assert live.app("/", "x-v: 2") == "blue1"
    live.route(canaries(Canary("none", "header", "x-v", "2"), Canary("gone", "cookie", "v")))
    assert live.app("/", "x-v: 2", "cookie: v=1") == "web1"


def test_a_service_that_only_a_canary_reaches(live: LiveRules) -> None:
    live.route(canaries(Canary("blue", "header", "x-v"), backend=""))
    assert live.app("/", "x-v: 1") == "blue1"
    assert outcome(live.ask("/")) == (503, "no-server")


@pytest.mark.parametrize(
    "value", ["a b", "a|b", "|h", "%41", "a;b", '"', "\\", "é".encode().decode("latin-1"), "=", "x" * 900]
)
def test_any_value_is_compared_as_it_is(live: LiveRules, value: str) -> None:
    written = value.encode("latin-1").decode("utf-8")
    live.route(canaries(Canary("blue", "header", "x-v", written)))
    assert live.app("/", f"x-v: {value}") == "blue1"
    assert live.app("/", f"x-v: {value}x") == "web1"


def test_what_a_client_sends_opens_no_other_row(live: LiveRules) -> None:
    """The value is encoded before it becomes part of a key."""
    live.route(
        canaries(Canary("blue", "header", "x-v", "2")),
        Route("b.test", "/", "web", canaries=(Canary("green", "header", "x-v", "3"),)),
    )
    for value in ("3", "2|h=3", "=2", "b.test/|h=3", "../b.test/|h=3"):
        assert live.app("/", f"x-v: {value}") == "web1"


# ---------------------------------------------------------------- redirects


@pytest.mark.acceptance(51)
@pytest.mark.acceptance(52)
@pytest.mark.acceptance(54)
def test_a_redirect_keeps_path_and_query_as_sent(live: LiveRules) -> None:
    live.route(
        Route("old.test", "/", "", redirect=Redirect("", "http://new.test")),
        Route("older.test", "/deep", "web", redirect=Redirect("http", "https://new.test:8443/at")),
        Route("new.test", "/", "web"),
    )
    for target in ("/", "/a/b?q=1", "/%7Ea//b/../c?x=%41&y=+", "//evil.test/", "/a%20b?"):
        answer = live.ask(target, host="old.test")
        assert (answer.status, answer.headers["location"]) == (302, f"http://new.test{target}")
        assert answer.error is None
    assert live.ask("/deep/x?y", host="OLDER.test:80").headers["location"] == "https://new.test:8443/at/deep/x?y"
    assert live.app(host="new.test") == "web1"


@pytest.mark.acceptance(53)
def test_a_redirect_of_one_scheme_leaves_the_other_alone(live: LiveRules) -> None:
    live.route(
        Route(HOST, "/", "web", redirect=Redirect("https", "http://new.test")),
        Route(HOST, "/app", "web", True, redirect=Redirect("https", "http://new.test")),
    )
    assert live.app("/") == "web1"
    assert live.ask("/app/x").seen["target"] == "/x"
    live.route(Route(HOST, "/app", "web", True, redirect=Redirect("http", "https://a.test")))
    assert live.ask("/app/x").headers["location"] == "https://a.test/app/x"


@pytest.mark.parametrize(
    "target", ["@evil.test/", "evil.test", ".evil.test/x", ":@evil.test", "*", "http://evil.test/x"]
)
def test_no_request_chooses_where_a_redirect_leads(live: LiveRules, target: str) -> None:
    live.route(Route(HOST, "/", "", redirect=Redirect("", "https://new.test")))
    live.set(https_redirect=True)
    answer = live.ask(target)
    location = answer.headers.get("location", "https://new.test/")
    assert location.startswith(("https://new.test/", "https://a.test/")), answer


def test_a_location_is_data(live: LiveRules) -> None:
    live.route(Route(HOST, "/", "", redirect=Redirect("", "https://new.test/a|b%[src] c\r\nx: y;é")))
    assert live.ask("/z").headers["location"] == "https://new.test/a%7Cb%[src]%20c%0D%0Ax:%20y;%C3%A9/z"


def test_to_https(live: LiveRules) -> None:
    assert live.ask("/").status == 200
    live.set(https_redirect=True)
    answer = live.ask("/a//%41?b=%20", host="A.test:8080")
    assert (answer.status, answer.headers["location"]) == (308, "https://a.test/a//%41?b=%20")
    assert live.ask("/", method="POST", body="x").status == 308
    for target, method in (("*", "OPTIONS"), (f"http://{HOST}", "GET")):
        answer = live.ask(target, method=method)
        assert (answer.status, answer.headers["location"]) == (308, "https://a.test/")
    live.set()
    assert live.ask("/").status == 200


# ---------------------------------------------------------------- who may, how often, how much


def test_allowed_prefixes(live: LiveRules) -> None:
    for prefixes, status in (
        (["127.0.0.0/8"], 200),
        (["127.0.0.1"], 200),
        (["127.0.0.2"], 403),
        (["126.0.0.0/7"], 200),
        (["10.0.0.0/8", "2001:db8::/32"], 403),
        (["10.0.0.0/8", "0.0.0.0/1"], 200),
        (["0.0.0.0/0"], 200),
        (["::/0"], 403),
        (["nonsense"], 403),
        ([], 200),
    ):
        live.set(allow_prefixes=prefixes)
        answer = live.ask("/")
        assert outcome(answer) == (status, "not-allowed" if status == 403 else None), prefixes


@pytest.mark.parametrize("period", [1_000, 10_000, 60_000, 3_600_000])
def test_requests_per_client_are_bounded(live: LiveRules, period: int) -> None:
    """In one period: the bound is far below what is asked. Of a second, several may have begun."""
    live.set(rate_limit=pb.RateLimit(requests=5, period_milliseconds=period))
    answers = [live.ask("/") for _ in range(40)]
    allowed = [answer.status for answer in answers].count(200)
    assert 5 <= allowed <= (5 if period > 1_000 else 15)
    refused = next(answer for answer in answers if answer.status != 200)
    assert outcome(refused) == (429, "rate-limit")
    assert int(refused.headers["retry-after"]) == max(1, period // 5000)
    live.set()
    assert live.ask("/").status == 200


def test_the_bound_is_the_rules_own(live: LiveRules) -> None:
    live.set(rate_limit=pb.RateLimit(requests=3, period_milliseconds=3_600_000), max_body_bytes=1)
    live.route(PLAIN, Route("b.test", "/", "web", rules="other"))
    assert 429 in [live.ask("/").status for _ in range(9)]
    assert live.ask("/", host="b.test").status == 200


def chunked(live: LiveRules, *chunks: bytes) -> Answer:
    data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
        head = f"POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + data)
        return receive(connection)


def test_the_length_of_a_body_is_bounded(live: LiveRules) -> None:
    live.set(max_body_bytes=1000)
    assert live.ask("/", method="POST", body="x" * 1000).seen["body"] == "x" * 1000
    assert outcome(live.ask("/", method="POST", body="x" * 1001)) == (413, "body-too-large")
    assert live.ask("/").status == 200
    assert chunked(live, b"x" * 500, b"y" * 500).seen["body"] == "x" * 500 + "y" * 500
    assert outcome(chunked(live, b"x" * 500, b"y" * 501)) == (413, "body-too-large")
    assert outcome(chunked(live, b"x" * 60_000)) == (413, "body-too-large")
    assert outcome(chunked(live, *[b"x"] * 1001)) == (413, "body-too-large")


def test_a_long_body_has_to_say_its_length(live: LiveRules) -> None:
    live.set(max_body_bytes=100_000)
    assert live.ask("/", method="POST", body="x" * 50_000).status == 200
    assert chunked(live, b"x" * 1000).status == 200
    assert outcome(chunked(live, b"x" * 50_000)) == (411, "length-required")
    assert outcome(chunked(live, *[b"x"] * 30_000)) == (411, "length-required")
    live.set()
    assert chunked(live, b"x" * 50_000).status == 200


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def post_over_http2(live: LiveRules, *parts: bytes) -> bytes:
    """The answer's HEADERS: `\x88` is 200, others have their three digits. The request says no length."""
    pairs = {":method": "POST", ":scheme": "http", ":path": "/", ":authority": HOST}
    block = b"".join(b"\0%c%b%c%b" % (len(k), k.encode(), len(v), v.encode()) for k, v in pairs.items())
    body = [frame(0, 0, 1, part) for part in parts] + [frame(0, 1, 1)]
    with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, block) + b"".join(body)
        )
        stream = connection.makefile("rb")
        while head := stream.read(9):
            payload = stream.read(int.from_bytes(head[:3], "big"))
            if head[3] == 1:
                return payload
    return b""


def test_the_length_of_a_body_over_http2_is_bounded(live: LiveRules) -> None:
    live.set(max_body_bytes=1000)
    assert post_over_http2(live, b"x" * 500, b"x" * 500).startswith(b"\x88")
    assert b"413" in post_over_http2(live, b"x" * 500, b"x" * 501)
    assert b"413" in post_over_http2(live, b"x" * 15_000, b"x" * 15_000)
    live.set(max_body_bytes=100_000)
    assert post_over_http2(live, b"x" * 500).startswith(b"\x88")
    assert b"411" in post_over_http2(live, b"x" * 15_000, b"x" * 15_000)


# ---------------------------------------------------------------- cross-origin requests

ORIGIN = "https://app.test"
PREFLIGHT = (f"origin: {ORIGIN}", "access-control-request-method: PUT")


def cors(**values: object) -> dict[str, object]:
    given = {"origins": [ORIGIN], "methods": ["GET", "PUT"], "max_age_seconds": 60, **values}
    return {"cors": pb.Cors(**given)}  # type: ignore[arg-type]


def test_a_preflight_is_answered(live: LiveRules) -> None:
    live.set(**cors(headers=["x-a", "x-b"]))
    answer = live.ask("/", *PREFLIGHT, method="OPTIONS")
    assert (answer.status, answer.body, answer.error) == (204, b"", None)
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert told == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "x-a,x-b",
        "access-control-max-age": "60",
    }
    assert answer.headers["vary"] == "origin"
    live.set(**cors())
    answer = live.ask("/", *PREFLIGHT, "access-control-request-headers: x-c", method="OPTIONS")
    assert answer.headers["access-control-allow-headers"] == "x-c"
    live.set()
    assert live.ask("/", *PREFLIGHT, method="OPTIONS").seen["method"] == "OPTIONS"


def test_an_origin_that_is_not_allowed(live: LiveRules) -> None:
    live.set(**cors())
    for origin in ("https://evil.test", "https://app.test.evil.test", "null", "methods", "*", "o*"):
        refused = live.ask("/", f"origin: {origin}", "access-control-request-method: PUT", method="OPTIONS")
        assert outcome(refused) == (403, "origin")
        answer = live.ask("/", f"origin: {origin}", "x-answer-access-control-allow-origin: *")
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "origin"


def test_an_allowed_origin_may_read_the_answer_and_a_refusal(live: LiveRules) -> None:
    live.set(**cors(credentials=True), max_body_bytes=3)
    other = "x-answer-access-control-allow-origin: https://other.test"
    mine = (other, "x-answer-vary: accept", "x-answer-vary: cookie")
    answer = live.ask("/", f"origin: {ORIGIN}", *mine)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-methods" not in answer.headers
    assert [value for name, value in answer.pairs if name == "vary"] == ["accept", "cookie", "origin"]
    refused = live.ask("/", f"origin: {ORIGIN}", method="POST", body="long")
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (413, ORIGIN)
    assert "access-control-allow-origin" not in live.ask("/").headers


def test_any_origin(live: LiveRules) -> None:
    live.set(**cors(origins=["*"]))
    assert live.ask("/", "origin: https://x.test").headers["access-control-allow-origin"] == "https://x.test"


def test_options_without_an_origin_go_to_the_application(live: LiveRules) -> None:
    live.set(**cors())
    assert live.ask("/", method="OPTIONS").seen["method"] == "OPTIONS"
    assert live.ask("/", f"origin: {ORIGIN}", method="OPTIONS").seen["method"] == "OPTIONS"


# ---------------------------------------------------------------- headers

SET, ADD, REMOVE = pb.HEADER_ACTION_SET, pb.HEADER_ACTION_ADD, pb.HEADER_ACTION_REMOVE


def change(action: pb.HeaderAction, name: str, value: str = "") -> pb.HeaderChange:
    return pb.HeaderChange(action=action, name=name, value=value)


def sent_on(answer: Answer, name: str) -> list[str]:
    """Values of a header as the application saw them."""
    pairs = answer.seen["pairs"]
    assert isinstance(pairs, list)
    return [value for each, value in pairs if each == name]


def returned(answer: Answer, name: str) -> list[str]:
    return [value for each, value in answer.pairs if each == name]


def test_changes_to_a_requests_headers(live: LiveRules) -> None:
    live.set(
        request_headers=[
            change(SET, "X-Tenant", "blue"),
            change(ADD, "X-More", "2"),
            change(ADD, "X-More", "3"),
            change(REMOVE, "X-Secret"),
            change(SET, "User-Agent", "l7"),
        ]
    )
    answer = live.ask("/", "x-tenant: mine", "x-TENANT: mine too", "x-more: 1", "X-Secret: s", "user-agent: curl")
    assert sent_on(answer, "x-tenant") == ["blue"]
    assert sent_on(answer, "x-more") == ["1", "2", "3"]
    assert sent_on(answer, "x-secret") == []
    assert sent_on(answer, "user-agent") == ["l7"]
    live.set()
    assert sent_on(live.ask("/", "x-tenant: mine"), "x-tenant") == ["mine"]


def test_changes_to_an_answers_headers(live: LiveRules) -> None:
    live.set(
        response_headers=[change(SET, "X-Frame-Options", "DENY"), change(REMOVE, "Server"), change(ADD, "x-a", "2")]
    )
    answer = live.ask("/", "x-answer-x-frame-options: ALLOW", "x-answer-x-a: 1")
    assert returned(answer, "x-frame-options") == ["DENY"]
    assert returned(answer, "server") == []
    assert returned(answer, "x-a") == ["1", "2"]
    live.set()
    assert returned(live.ask("/"), "server") != []


AWKWARD = [
    "a b",
    "a|b|c",
    "~",
    'say "hi"',
    "100%",
    "%[src]",
    "a;b",
    "\\n \\",
    "a\tb",
    "#",
    "x" * 239,
    "x" * 240,
    "x" * 3000,
    "'",
]


@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: value[:8])
def test_any_value_is_written_as_it_is(live: LiveRules, value: str) -> None:
    live.set(request_headers=[change(SET, "x-v", value)], response_headers=[change(SET, "x-v", value)])
    answer = live.ask("/")
    assert (sent_on(answer, "x-v"), returned(answer, "x-v")) == ([value], [value])


def test_many_headers(live: LiveRules) -> None:
    changes = [change(SET, f"x-h{number}", str(number) * 20) for number in range(50)]
    live.set(request_headers=changes)
    answer = live.ask("/", "x-h7: mine")
    assert [sent_on(answer, f"x-h{number}") for number in range(50)] == [[str(number) * 20] for number in range(50)]


def test_no_control_character_becomes_a_header(live: LiveRules) -> None:
    """Core refuses it; if it ever came, nothing of it is written."""
    bad = [
        change(SET, "x-a", "1\r\nx-b: 2"),
        change(SET, "x-c: 3\r\nx-d", "4"),
        change(SET, "x-e", "\0"),
        change(SET, "", "5"),
    ]
    live.set(request_headers=[*bad, change(SET, "x-good", "6")], response_headers=bad)
    answer = live.ask("/")
    assert [sent_on(answer, name) for name in ("x-a", "x-b", "x-c", "x-d", "x-e")] == [[]] * 5
    assert sent_on(answer, "x-good") == ["6"]
    assert {"x-a", "x-b", "x-c", "x-d", "x-e"}.isdisjoint(answer.headers)


def test_the_framing_of_a_message_is_nobodys_to_change(live: LiveRules) -> None:
    bad = [
        change(SET, "content-length", "5"),
        change(SET, "Transfer-Encoding", "chunked"),
        change(REMOVE, "connection"),
    ]
    live.set(request_headers=bad, response_headers=bad)
    assert live.ask("/", method="POST", body="abc").seen["body"] == "abc"


def test_nobody_sets_a_header_of_ours(live: LiveRules) -> None:
    internal = ("x-l7-physical: blue", "x-l7-client: 6.6.6.6", "X-L7_Features: F", "x_l7_id: forged")
    for rules in ({}, {"compression": True}):
        live.set(**rules)
        answer = live.ask("/", *internal, "accept-encoding: gzip")
        assert "6.6.6.6" not in unpacked(answer)
        assert "forged" not in unpacked(answer)
        assert '"web1"' in unpacked(answer)


# ---------------------------------------------------------------- hash


def key(source: pb.HashSource, name: str = "") -> dict[str, object]:
    return {"hash_key": pb.HashKey(source=source, name=name)}


def apps(live: LiveRules, *requests: tuple[str, ...]) -> list[str]:
    return [live.app(*each, host="ring.test") for each in requests]


@pytest.mark.acceptance(69)
@pytest.mark.acceptance(70)
@pytest.mark.parametrize("name", ["session", "JSESSIONID", "a.b"])
def test_a_cookie_decides(live: LiveRules, name: str) -> None:
    live.set(**key(pb.HASH_SOURCE_COOKIE, name))
    assert len(set(apps(live, *[("/", f"cookie: x=1; {name}=same; y={n}") for n in range(50)]))) == 1
    assert len(set(apps(live, *[("/", f"cookie: {name}={n}") for n in range(60)]))) == 4
    assert len(set(apps(live, *[("/",) for _ in range(60)]))) == 4
    assert len(set(apps(live, *[("/", f"cookie: x{name}=same; {name}x=same") for _ in range(60)]))) == 4


def test_a_header_decides(live: LiveRules) -> None:
    live.set(**key(pb.HASH_SOURCE_HEADER, "x-user"))
    assert len(set(apps(live, *[("/", "X-User: a", f"x-n: {n}") for n in range(30)]))) == 1
    assert len(set(apps(live, *[("/", f"x-user: {n}") for n in range(60)]))) == 4
    assert len(set(apps(live, *[("/",) for _ in range(60)]))) == 4


def test_the_address_or_the_path_decides(live: LiveRules) -> None:
    live.set(**key(pb.HASH_SOURCE_ADDRESS))
    assert len(set(apps(live, *[(f"/{n}",) for n in range(30)]))) == 1
    live.set(**key(pb.HASH_SOURCE_URI))
    assert len(set(apps(live, *[(f"/same?{n}",) for n in range(30)]))) == 1
    assert len(set(apps(live, *[(f"/{n}",) for n in range(60)]))) == 4


def test_the_same_server_with_compression_and_without(live: LiveRules) -> None:
    rules = key(pb.HASH_SOURCE_COOKIE, "s")
    requests = [("/", f"cookie: s={n}", "accept-encoding: gzip") for n in range(20)]
    live.set(**rules)
    plain = apps(live, *requests)
    live.set(**rules, compression=True)
    packed = [json.loads(unpacked(live.ask(*each, host="ring.test")))["app"] for each in requests]
    assert plain == packed


# ---------------------------------------------------------------- compression


def unpacked(answer: Answer) -> str:
    body = dechunked(answer.body) if answer.headers.get("transfer-encoding") == "chunked" else answer.body
    return (gzip.decompress(body) if answer.headers.get("content-encoding") == "gzip" else body).decode()


def dechunked(data: bytes) -> bytes:
    result = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        result, data = result + data[:length], data[length + 2 :]
    return result


JSON = "x-answer-content-type: application/json"
PACKED = ("accept-encoding: gzip", JSON)


def test_answers_are_compressed_for_who_takes_it(live: LiveRules) -> None:
    assert "content-encoding" not in live.ask("/", *PACKED).headers
    live.set(compression=True)
    answer = live.ask("/a?b", *PACKED, "x-long: " + "x" * 3000)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 1500
    seen = json.loads(unpacked(answer))
    assert (seen["app"], seen["target"]) == ("web1", "/a?b")
    assert "content-encoding" not in live.ask("/", JSON).headers
    assert (
        "content-encoding" not in live.ask("/", "accept-encoding: gzip", "x-answer-content-type: image/png").headers
    )
    live.set()
    assert "content-encoding" not in live.ask("/", *PACKED).headers


def test_the_way_over_the_compressor_shows_nowhere(live: LiveRules) -> None:
    plain = live.ask("/x", *PACKED)
    live.set(compression=True, response_headers=[change(SET, "x-a", "1")])
    answer = live.ask("/x", *PACKED)
    seen = json.loads(unpacked(answer))["headers"]
    wanted = plain.seen["headers"]
    assert isinstance(wanted, dict)
    assert seen == {**wanted, "x-request-id": seen["x-request-id"]}
    assert answer.headers["x-request-id"] == seen["x-request-id"]
    assert answer.headers["x-upstream-addr"] == plain.headers["x-upstream-addr"]
    assert answer.headers["x-a"] == "1"
    assert not any(name.startswith("x-l7-") for name in answer.headers)
    own = live.ask("/fail", *PACKED)
    assert (own.status, own.error) == (503, None)


def test_a_refusal_behind_the_compressor_is_marked(live: LiveRules) -> None:
    live.route(Route(HOST, "/", "none", rules="web"))
    live.set(compression=True)
    assert outcome(live.ask("/", *PACKED)) == (503, "no-server")


def test_a_backend_made_at_run_time_is_compressed(live: LiveRules) -> None:
    proxy = live.proxy
    if not proxy.capabilities.dynamic_backends:
        pytest.skip("this HAProxy makes no backends at run time")
    host, _, port = live.ask("/").headers["x-upstream-addr"].rpartition(":")
    file = proxy.settings.file(BACKENDS_MAP)
    commands = (
        ops.AddBackend("made", policy.HTTP),
        ops.AddServer("made", "t", host, int(port), 5),
        ops.EnableServer("made", "t"),
        ops.PublishBackend("made"),
        ops.AddMapRow(file, "made", "made"),
    )
    assert [result.refusal for result in live.runtime.apply(commands)] == [None] * len(commands)
    live.route(Route(HOST, "/", "made", rules="web"))
    live.set(compression=True)
    answer = live.ask("/", *PACKED)
    assert answer.headers["content-encoding"] == "gzip"
    assert '"web1"' in unpacked(answer)


def test_an_upgrade_does_not_take_the_way_over_the_compressor(live: LiveRules) -> None:
    live.set(compression=True)
    upgrade = (
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert "content-encoding" not in live.ask("/", *upgrade, *PACKED).headers


# ---------------------------------------------------------------- all at once


def test_rules_that_are_not_there_yet_change_nothing(live: LiveRules) -> None:
    live.route(Route(HOST, "/", "web", rules="unknown"))
    assert live.app("/") == "web1"


def test_everything_together(live: LiveRules) -> None:
    live.set(
        hsts="max-age=60; includeSubDomains",
        allow_prefixes=["127.0.0.0/8"],
        rate_limit=pb.RateLimit(requests=1000, period_milliseconds=60_000),
        max_body_bytes=100,
        compression=True,
        request_headers=[change(SET, "x-a", "1")],
        response_headers=[change(SET, "x-b", "2")],
        timeout_server_milliseconds=5000,
        **cors(),
        **key(pb.HASH_SOURCE_COOKIE, "s"),
    )
    live.route(
        Route(HOST, "/app", "web", True, "web", canaries=(Canary("blue", "header", "x-v", "2"),)),
    )
    answer = live.ask("/app/y?z", *PACKED, f"origin: {ORIGIN}", "x-v: 2", method="POST", body="abc")
    seen = json.loads(unpacked(answer))
    assert (seen["app"], seen["target"], seen["body"], seen["headers"]["x-a"]) == ("blue1", "/y?z", "abc", "1")
    assert (answer.headers["x-b"], answer.headers["access-control-allow-origin"]) == ("2", ORIGIN)
    assert "strict-transport-security" not in answer.headers


def test_shares_of_apps_are_as_even_as_without_rules(live: LiveRules) -> None:
    """No key: the ring's servers take turns at random, none is left out."""
    live.set(**key(pb.HASH_SOURCE_HEADER, "x-user"))
    assert min(Counter(apps(live, *[("/",) for _ in range(80)])).values()) >= 5


def test_http_0_9_and_garbage_are_refused(live: LiveRules) -> None:
    for data in (b"GET /\r\n\r\n", b"\x16\x03\x01\x00\x05", b"GET / HTTP/1.1\r\nhost: a.test\r\nx y: 1\r\n\r\n"):
        with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = connection.recv(65536)
        assert parse(received).status in {0, 400}
