"""The label parser takes any text: it never raises, and never lets a character outside its grammar through."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from l7.labels.parse import parse_labels
from l7.labels.table import TABLE
from l7.model import PublishedPort

# Written apart from the parser's own expressions, as the reader of a map row would want it.
HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
PATH = re.compile(r"/|(/([A-Za-z0-9._~!+,=:@-]|%20|%[89A-F][0-9A-F])+){1,16}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)

SPECIAL = tuple(";|{}#'\"\\ \t\r\n\0\x1b\x7f%$`<>^/:.,*-_@=?&~")
WORDS = (
    "..",
    "//",
    "%2e",
    "%2F",
    "%00",
    "%",
    "\u212a",
    "é",
    "\ud800",
    "example",
    "APP",
    "a.b",
    "*.",
    "8080",
    "true",
)
nasty = st.sampled_from((*SPECIAL, *WORDS, "http://", "xn--", "\u0661", "\u2028", " ,"))
texts = st.one_of(
    st.text(), st.lists(nasty, max_size=12).map("".join), st.sampled_from(["a.example", "80", "/app", "yes"])
)
keys = st.one_of(st.sampled_from(sorted(TABLE)), st.text().map("com.docker.lb.".__add__), st.text())
ports = st.lists(
    st.builds(
        PublishedPort, target=st.integers(1, 65535), published=st.just(0), protocol=st.sampled_from(["tcp", "udp"])
    ),
    max_size=3,
)


@given(st.dictionaries(keys, texts, max_size=8), texts, ports)
@example({"com.docker.lb.hosts": "a", "com.docker.lb.port": "1", "com.docker.lb.context_root": "/%2e%2e"}, "", [])
def test_parser_never_raises_and_holds_its_grammar(
    labels: dict[str, str], hosts: str, published: list[PublishedPort]
) -> None:
    parsed = parse_labels({"com.docker.lb.hosts": hosts, **labels}, published, "web", "id")
    assert (parsed.spec is None) == parsed.fatal
    for problem in parsed.problems:
        assert problem.value.isascii()
        assert problem.value.isprintable()
        assert problem.label.isascii()
        assert problem.label.isprintable()
        assert problem.message
        assert problem.remedy
    if parsed.spec is None:
        return
    spec = parsed.spec
    assert spec.hosts
    for host in spec.hosts:
        assert HOST.fullmatch(host)
        assert len(host) <= 253
        assert all(len(label) <= 63 for label in host.split("."))
    assert PATH.fullmatch(spec.path)
    assert not {".", ".."} & set(spec.path.split("/"))
    assert 1 <= spec.port <= 65535
    assert spec.network is None or NAME.fullmatch(spec.network)
    assert spec.cluster == "" or NAME.fullmatch(spec.cluster)
    assert not (spec.strip_path and spec.path == "/")


@given(st.lists(st.sampled_from("abcxyzABC019-_.*:%/"), max_size=40).map("".join))
def test_what_is_accepted_stays_as_it_is(text: str) -> None:
    """Normal forms: parsing the outcome again gives the same, so no spelling gets around another's route."""
    first = parse_labels(
        {"com.docker.lb.hosts": text or "a", "com.docker.lb.port": "1", "com.docker.lb.context_root": text or "/"}
    )
    if first.spec is None:
        return
    again = parse_labels(
        {
            "com.docker.lb.hosts": ",".join(first.spec.hosts),
            "com.docker.lb.port": "1",
            "com.docker.lb.context_root": first.spec.path,
        }
    )
    assert again.spec is not None
    assert replace(again.spec, written=()) == replace(first.spec, written=())


@given(texts)
def test_path_normal_form(text: str) -> None:
    def parse(path: str) -> str | None:
        spec = parse_labels(
            {"com.docker.lb.hosts": "a", "com.docker.lb.port": "1", "com.docker.lb.context_root": path}
        ).spec
        return spec.path if spec else None

    path = parse(text)
    assert path is None or parse(path) == path
