"""What was said to NGINX, as HAProxy has it; and lines of the operator's own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haproxy import raw_lines
from haproxy.capabilities import capabilities
from haproxy.config import ROWS, Complaint, configured
from haproxy.model import Desired
from haproxy.nginx_values import milliseconds, size
from haproxy.render import render_config
from haproxy.settings import Settings
from haproxy.values import Bad
from haproxy.verdicts import complaints_told

BEFORE = Settings()


def said(**table: object) -> tuple[Settings, tuple[Complaint, ...]]:
    return configured(BEFORE, json.dumps(table).encode())


@pytest.mark.parametrize(
    ("key", "value", "field", "wanted"),
    [
        ("ReadTimeout", 600, "server_timeout", 600_000),
        ("ReadTimeout", "90s", "server_timeout", 90_000),
        ("SendTimeout", "1m 30s", "client_timeout", 90_000),
        ("ClientBodyTimeout", "60s", "body_timeout", 60_000),
        ("KeepaliveTimeout", "75s", "keep_alive_timeout", 75_000),
        ("KeepaliveTimeout", "75s 60s", "keep_alive_timeout", 75_000),
        ("ClientMaxBodySize", "32m", "max_body", 32 << 20),
        ("ClientMaxBodySize", "0", "max_body", 0),
        ("ClientMaxBodySize", 1024, "max_body", 1024),
        ("LargeClientHeaderBuffers", "4 8k", "buffer_size", 33_792),
        ("LargeClientHeaderBuffers", "1 8k", "buffer_size", 16_384),
        ("LargeClientHeaderBuffers", "20k", "buffer_size", 21_504),
        ("UnderscoresInHeaders", False, "underscores", False),
        ("UnderscoresInHeaders", True, "underscores", True),
        ("WorkerProcesses", 1, "threads", 1),
        ("WorkerProcesses", "4", "threads", 4),
        ("WorkerProcesses", "auto", "threads", 0),
        ("RLimitNoFile", 65535, "open_files", 65535),
        ("rlimitnofile", 65535, "open_files", 65535),
        ("AccessLogPath", "/dev/stdout", "access_log", True),
        ("AccessLogPath", "off", "access_log", False),
        ("IPHash", True, "threads", 0),
        ("GlobalOptions", ["", "# x", " tune.ssl.lifetime\t300 "], "global_options", ("tune.ssl.lifetime 300",)),
        ("DefaultOptions", ["no option http-server-close"], "default_options", ("no option http-server-close",)),
    ],
)
def test_each_key_sets_its_field(key: str, value: object, field: str, wanted: object) -> None:
    settings, complaints = said(**{key: value})
    assert (getattr(settings, field), complaints) == (wanted, ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ReadTimeout", 0),
        ("ReadTimeout", "soon"),
        ("ReadTimeout", True),
        ("ReadTimeout", "99d"),
        ("KeepaliveTimeout", 0),
        ("KeepaliveTimeout", ""),
        ("ClientMaxBodySize", "1x"),
        ("ClientMaxBodySize", -1),
        ("ClientMaxBodySize", None),
        ("LargeClientHeaderBuffers", "4 8k 1"),
        ("LargeClientHeaderBuffers", "1000 8k"),
        ("LargeClientHeaderBuffers", 4),
        ("WorkerProcesses", 0),
        ("WorkerProcesses", "many"),
        ("WorkerProcesses", 65),
        ("RLimitNoFile", 10),
        ("IPHash", "true"),
        ("AccessLogPath", "/var/log/x"),
        ("GlobalOptions", "x"),
        ("GlobalOptions", [1]),
    ],
)
def test_a_bad_value_leaves_what_was_and_is_a_mistake(key: str, value: object) -> None:
    settings, (complaint,) = said(**{key: value})
    assert (settings, complaint.key, complaint.idle) == (BEFORE, key, False)
    assert complaint.message
    assert complaint.remedy


IDLE = {
    "User": "nginx",
    "PidPath": "/var/run/proxy.pid",
    "ServerNamesHashBucketSize": 128,
    "UpstreamZoneSize": 64,
    "ClientBodyBufferSize": "8k",
    "ClientHeaderBufferSize": "1k",
    "MainLogFormat": "'$remote_addr'",
    "HTTPOptions": ["gzip on;", "gzip_types text/css;", "foo bar;"],
    "TCPOptions": ["proxy_timeout 1h;"],
    "SSLVerify": "required",
    "AdminUser": "me",
    "HTTPVersion": "1.0",
    "ErrorLogPath": "/x",
}


def test_what_was_for_nginx_alone_is_one_problem_that_names_what_to_use() -> None:
    settings, complaints = said(**IDLE, ReadTimeout=7)
    assert settings.server_timeout == 7000
    assert {each.key for each in complaints if each.idle} == set(IDLE)
    (problem,) = complaints_told(complaints)
    assert problem.message.startswith("Config: AdminUser, ClientBodyBufferSize, ")
    assert problem.message.endswith(" have no effect")
    for hint in ("gzip: the label compression", "proxy_timeout: the label timeout_tunnel", "`l7 status`"):
        assert hint in problem.remedy


def test_empty_values_are_as_good_as_none() -> None:
    empty = dict.fromkeys(("AdminPass", "Version", "PidPath"), "")
    assert said(**empty, HTTPOptions=[], ErrorLogPath="/dev/stdout", HTTPVersion="1.1") == (BEFORE, ())


def test_of_two_keys_for_one_thing_haproxys_own_counts_and_the_other_is_told() -> None:
    settings, (complaint,) = said(ReadTimeout=600, ServerTimeout=30)
    assert (settings.server_timeout, complaint.key, complaint.idle) == (30_000, "ReadTimeout", True)
    assert said(ReadTimeout=30, ServerTimeout=30)[1] == ()


def test_a_key_in_two_spellings_counts_once() -> None:
    settings, (complaint,) = said(ReadTimeout=5, readtimeout=6)
    assert (settings.server_timeout, complaint.key) == (5000, "readtimeout")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("frontend mine", "begins a section"),
        ("  Backend mine", "begins a section"),
        ("no listen x", "begins a section"),
        ("userlist x", "begins a section"),
        ('"frontend" mine', "no keyword"),
        ("fron\\tend mine", "no keyword"),
        (".if defined(X)", "no keyword"),
        ("$x y", "no keyword"),
        ("log 10.0.0.1 local0\nfrontend x", "not one line"),
        ("log 10.0.0.1 local0 \\", "not one line"),
        ("log 10.0.0.1\0", "not one line"),
        ("x" * 1501, "not one line"),
        ("worker_processes 4;", "a line for NGINX"),
        ("http {", "a line for NGINX"),
        ("}", "a line for NGINX"),
    ],
)
def test_lines_that_are_not_what_they_seem_are_refused(line: str, says: str) -> None:
    for parse in (raw_lines.global_lines, raw_lines.default_lines):
        bad = parse(["description ok", line])
        assert isinstance(bad, Bad)
        assert says in bad.message
        assert bad.remedy


@pytest.mark.parametrize("line", ["nbthread 4", "daemon", "stats socket /x level admin", "maxconn 5", "USER root"])
def test_what_l7_sets_in_global_is_refused(line: str) -> None:
    bad = raw_lines.global_lines([line])
    assert isinstance(bad, Bad)
    assert "l7's own" in bad.message


@pytest.mark.parametrize(
    "line",
    ["mode tcp", "timeout connect 5s", "no option redispatch", "option forwardfor", "stats enable", "retries 9"],
)
def test_what_l7_sets_in_defaults_is_refused(line: str) -> None:
    bad = raw_lines.default_lines([line])
    assert isinstance(bad, Bad)
    assert "l7's own" in bad.message


words = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(words | st.sampled_from(["frontend x", "option x", "log x", "global", "a\nb", "#"])))
def test_no_line_leaves_its_section(lines: list[str]) -> None:
    """Whatever is let through, as many sections are rendered as without it."""
    for key in ("GlobalOptions", "DefaultOptions"):
        settings, _ = said(**{key: lines})
        able = capabilities((3, 4, 0))
        with_, without = (render_config(each, able, Desired(), {}, ()).splitlines() for each in (settings, BEFORE))
        assert [line for line in with_ if not line.startswith("  ")] == [
            line for line in without if not line.startswith("  ")
        ]
        begins = [line.split()[0].lower() for line in settings.global_options + settings.default_options]
        assert not any(raw_lines.SECTIONS.fullmatch(word) for word in begins)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = milliseconds(text)
    assert found is None or found >= 0
    found = size(text)
    assert found is None or found >= 0


def test_every_row_says_what_it_is() -> None:
    for row in ROWS:
        assert row.type
        assert row.default
        assert row.meaning.endswith(".")
        assert not row.field or hasattr(BEFORE, row.field)
