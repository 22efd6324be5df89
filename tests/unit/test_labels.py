"""What labels mean, row by row: values, refusals, and what is only worth telling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from l7.labels.docs import render_labels
from l7.labels.grammar import Bad, parse_bool, parse_host, parse_hosts, parse_path, parse_port
from l7.labels.parse import Parsed, RouteSpec, parse_labels
from l7.labels.reading import HINTS
from l7.labels.table import PREFIX, SUPPORTED
from l7.model import PublishedPort


def labels(**short: str) -> dict[str, str]:
    return {PREFIX + name: value for name, value in short.items()}


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("demo.local", "demo.local"),
        ("DEMO.Local:1234", "demo.local"),
        ("demo.local.", "demo.local"),
        ("demo.local.:80", "demo.local"),
        ("*.Example.org", "*.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.local", "a_b.local"),
        ("10.0.0.1", "10.0.0.1"),
        ("a" * 63 + ".local", "a" * 63 + ".local"),
        (".".join(["a" * 49] * 5) + ".abc", ".".join(["a" * 49] * 5) + ".abc"),
    ],
)
def test_hosts_are_normalised(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "*", "*.", "a..b", ".a", "-a.b", "a-.b", "a*.b", "*.*.b", "a.*.b", "a;b", "a{b", "a}b", "a|b",
        "a/b", "a\\b", "a#b", "a'b", 'a"b', "a%b", "a\nb", "a\n", "a\tb", "a\x00b", "a\x7fb", "a$b", "a(b", "[::1]",
        "bücher.example", "\u212aelvin.example", "http://a.b", "a:b", "a:123456", "a" * 64,
        "a." * 126 + "ab", "a" * 300,
    ],
)  # fmt: skip
def test_hosts_outside_the_grammar_are_refused(text: str) -> None:
    assert isinstance(parse_host(text), Bad)
    assert isinstance(parse_hosts(f"good.example,{text or '..'}"), Bad)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a.b,c.d", ("a.b", "c.d")),
        ("c.d a.b", ("a.b", "c.d")),
        (" a.b ,  c.d, ", ("a.b", "c.d")),
        ("a.b,A.B:80,a.b.", ("a.b",)),
    ],
)
def test_several_hosts(text: str, hosts: tuple[str, ...]) -> None:
    assert parse_hosts(text) == hosts


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_host_is_refused(text: str) -> None:
    assert isinstance(parse_hosts(text), Bad)


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("65535", 65535), (" 8080 ", 8080), ("00080", 80)])
def test_ports(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "65536", "abc", "-1", "+80", "8_0", "80.0", "0x50", "٨٠", "80\n", "1e2"])
def test_ports_refused(text: str) -> None:
    assert isinstance(parse_port(text), Bad)


@pytest.mark.parametrize(
    ("text", "value"),
    [(word, True) for word in ("true", "TRUE", "1", "yes", "On")]
    + [(word, False) for word in ("false", "False", "0", "no", "OFF")],
)
def test_booleans(text: str, value: bool) -> None:
    assert parse_bool(text) is value


@pytest.mark.parametrize("text", ["", "2", "t", "ja", "true\n", "tru\u0435", "\u1e9e"])
def test_booleans_refused(text: str) -> None:
    assert isinstance(parse_bool(text), Bad)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/app", "/app"),
        ("app", "/app"),
        ("/app/", "/app"),
        ("//app///x/", "/app/x"),
        ("/App", "/App"),
        ("/%61pp", "/app"),
        ("/%7Euser", "/~user"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/my%20app", "/my%20app"),
        ("/...", "/..."),
        ("/a.b/.c", "/a.b/.c"),
        ("/" + "/".join("a" * 16), "/" + "/".join("a" * 16)),
    ],
)
def test_paths_are_normalised(text: str, path: str) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "/a/../b", "/..", "/.", "/a/./b", "/%2e%2E/b", "/.%2e/b", "/%2e", "/a%2fb", "/a%2Fb", "/a%5cb",
        "/a\\b",
        "/a%00", "/a%0a", "/a%7f", "/a%3b", "/a%25", "/a%252e", "/a%", "/a%4", "/a%zz", "/a%\n1", "/a|b", "/a;b",
        "/a b",
        "/a#b", "/a?b", "/a'b", '/a"b', "/a{b", "/a}b", "/a<b", "/a\nb", "/a\r", "/a\tb", "/a\x00", "/é",
        "/a`b", "/a$b",
        "/" + "/".join("a" * 17), "/" + "a" * 512,
    ],
)  # fmt: skip
def test_paths_outside_the_grammar_are_refused(text: str) -> None:
    assert isinstance(parse_path(text), Bad)


def parse(*ports: PublishedPort, **short: str) -> Parsed:
    return parse_labels(labels(**short), ports, "web", "id-web")


def bare(parsed: Parsed) -> RouteSpec | None:
    """The specification without what the labels were spelled like."""
    return parsed.spec and replace(parsed.spec, written=())


def test_everything_together() -> None:
    given = labels(
        hosts="b.example, a.example", port="8000", network="net", context_root="app/", context_root_rewrite="yes",
        service_cluster="east",
    )  # fmt: skip
    given["com.docker.stack.namespace"] = "shop"
    parsed = parse_labels(given)
    assert bare(parsed) == RouteSpec(("a.example", "b.example"), 8000, "/app", True, "net", "east", "shop")
    assert (parsed.problems, parsed.cluster) == ((), "east")
    assert parsed.spec is not None
    assert dict(parsed.spec.written) == {key: text for key, text in given.items() if key.startswith(PREFIX)}


def test_a_service_without_our_labels_is_none_of_ours() -> None:
    assert parse_labels({"com.example": "x", "com.docker.stack.namespace": "shop"}) == Parsed()


@pytest.mark.acceptance(27)
def test_the_only_published_target_port_stands_in_for_a_missing_port() -> None:
    ports = (PublishedPort(8000, 80), PublishedPort(8000, 8443, mode="host"), PublishedPort(53, 53, "udp"))
    parsed = parse(*ports, hosts="a.example")
    assert parsed.spec is not None
    assert parsed.spec.port == 8000
    assert parsed.problems == ()


@pytest.mark.acceptance(27)
@pytest.mark.parametrize("targets", [(), (8000, 9000)])
def test_a_missing_port_that_nothing_tells_is_a_problem(targets: tuple[int, ...]) -> None:
    parsed = parse(*(PublishedPort(target, target) for target in targets), hosts="a.example")
    assert parsed.spec is None
    [problem] = parsed.problems
    assert (problem.service, problem.label, problem.fatal) == ("web", "com.docker.lb.port", True)
    assert "add com.docker.lb.port" in problem.remedy


def test_each_bad_value_is_told() -> None:
    parsed = parse(hosts="a;b", port="abc", context_root="/../x", context_root_rewrite="maybe", network="a b")
    assert parsed.spec is None
    assert {problem.label.rpartition(".")[2] for problem in parsed.problems} == {
        "hosts", "port", "context_root", "context_root_rewrite", "network",
    }  # fmt: skip
    assert all(problem.fatal and problem.message and problem.remedy for problem in parsed.problems)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("host", "hosts"), ("context-root", "context_root"), ("Port", "port"), ("defaul_backend", "default_backend")],
)
def test_an_unknown_label_is_told_with_a_guess(key: str, hint: str) -> None:
    parsed = parse(hosts="a.example", port="80", **{key: "x"})
    assert parsed.spec is not None
    [problem] = parsed.problems
    assert (problem.fatal, problem.remedy) == (False, f"did you mean com.docker.lb.{hint}?")


def test_an_unknown_label_without_likeness_is_told() -> None:
    [problem] = parse(hosts="a.example", port="80", zzzzzzzzzzzz="x").problems
    assert (problem.fatal, problem.remedy) == (False, "see docs/labels.md for those there are")


def test_taking_hosts_away_unpublishes_whatever_else_is_wrong() -> None:
    parsed = parse(port="abc")
    assert parsed.spec is None
    assert not parsed.fatal
    assert {problem.label for problem in parsed.problems} == {"com.docker.lb.hosts", "com.docker.lb.port"}


def test_a_rewrite_without_context_root_is_told() -> None:
    parsed = parse(hosts="a.example", port="80", context_root_rewrite="true")
    assert bare(parsed) == RouteSpec(("a.example",), 80)
    assert [problem.fatal for problem in parsed.problems] == [False]


def test_the_value_in_a_problem_is_escaped_and_cut() -> None:
    [problem] = parse(hosts="\x1b[31m\n" + "x" * 500, port="80").problems
    assert problem.value.startswith("\\x1b[31m\\nxxx")
    assert len(problem.value) <= 80


def test_examples_of_the_table_follow_its_grammar() -> None:
    for label in SUPPORTED:
        assert not isinstance(label.parse(label.example), Bad), label.name


def test_the_page_is_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "labels.md"
    assert page.read_text() == render_labels(), "run: python -m l7.labels.docs > docs/labels.md"


def test_guesses_are_bounded() -> None:
    given = {f"{PREFIX}host{number}": "a.x" for number in range(200)}
    parsed = parse_labels({PREFIX + "hosts": "a.x", PREFIX + "port": "80", **given})
    guessed = ["did you mean" in problem.remedy for problem in parsed.problems]
    assert (len(guessed), sum(guessed)) == (200, HINTS)
    assert all(problem.remedy for problem in parsed.problems)
