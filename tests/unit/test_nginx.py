"""The NGINX extension's own state and values, as far as no NGINX is needed to see them."""

from __future__ import annotations

from typing import Any

import pytest

from l7.kit.errors import BrokenChain, ProtocolError
from l7.v1 import sync_pb2 as pb
from nginx import values
from nginx.hosts import Places
from nginx.options import OPTIONS, configured
from nginx.render import LONGEST, render
from nginx.settings import Settings
from nginx.state import State, is_coming
from nginx.text import exactly, literal, quoted, upstream_name
from nginx.values import Bad


def complete(revision: str, last: bool = True, **changes: Any) -> pb.SyncResponse:
    whole = pb.Changes(**changes)
    return pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=revision, last=last, changes=whole)


def change(before: str, after: str, **changes: Any) -> pb.SyncResponse:
    kind = pb.UPDATE_KIND_INCREMENTAL
    return pb.SyncResponse(kind=kind, applies_to=before, results_in=after, last=True, changes=pb.Changes(**changes))


def server(task: str, state: pb.ServerState = pb.SERVER_STATE_READY) -> pb.Server:
    return pb.Server(task=task, id=1, address="10.0.0.1", port=80, weight=1, state=state)


def backend(name: str = "web", *servers: pb.Server, **fields: Any) -> pb.Backend:
    return pb.Backend(name=name, servers=servers, **fields)


# ---------------------------------------------------------------- state


def test_nothing_counts_before_the_last_chunk() -> None:
    state = State()
    assert not state.apply(complete("1", last=False, backends=[backend("web", server("t1"))]))
    assert (state.revision, state.backends) == ("", {})
    assert state.apply(complete("1", backends=[backend("web", server("t2"))]))
    assert [each.task for each in state.backends["web"].servers] == ["t1", "t2"]


def test_removals_count_before_upserts() -> None:
    state = State()
    state.apply(complete("1", backends=[backend("web", server("t1"), server("t2"))], routes=[pb.Route(host="a")]))
    again = backend("web", server("t1"), removed_servers=["t1", "t2"])
    state.apply(change("1", "2", backends=[again], removed_routes=[pb.RouteKey(host="a")]))
    assert [each.task for each in state.backends["web"].servers] == ["t1"]
    assert state.routes == {}
    state.apply(change("2", "3", removed_backends=["web"], backends=[backend("web", server("t9"))]))
    assert [each.task for each in state.backends["web"].servers] == ["t9"]


def test_settings_stay_where_only_servers_changed() -> None:
    state = State()
    state.apply(complete("1", backends=[backend(settings=pb.BackendSettings(services=["web"], expected=True))]))
    held = state.still()
    state.apply(change("1", "2", backends=[backend("web", server("t1"))]))
    assert state.backends["web"].settings.expected
    assert not held.backends["web"].servers  # what was handed out stays as it was


def test_an_update_that_does_not_continue_what_is_held_changes_nothing() -> None:
    state = State()
    state.apply(complete("1", backends=[backend()]))
    with pytest.raises(BrokenChain):
        state.apply(change("0", "2", removed_backends=["web"]))
    with pytest.raises(ProtocolError):
        state.apply(pb.SyncResponse(results_in="2", last=True))
    assert (state.revision, list(state.backends)) == ("1", ["web"])


@pytest.mark.parametrize(
    ("states", "expected", "coming"),
    [
        ((), True, True),
        ((), False, False),
        ((pb.SERVER_STATE_PENDING,), True, True),
        ((pb.SERVER_STATE_PENDING, pb.SERVER_STATE_READY), True, False),
        ((pb.SERVER_STATE_LEAVING,), True, False),
    ],
)
def test_tasks_that_are_about_to_run(states: tuple[Any, ...], expected: bool, coming: bool) -> None:
    servers = [server(f"t{number}", each) for number, each in enumerate(states)]
    own = pb.BackendSettings(expected=expected)
    assert is_coming(State(backends={"web": backend("web", *servers, settings=own)})) is coming


# ---------------------------------------------------------------- text


def test_data_ends_no_directive_and_names_no_variable() -> None:
    assert quoted('a"b\\') == '"a\\"b\\\\"'
    assert literal("$host;") == '"${l7_dollar}host;"'
    assert exactly("a.b") == '"~^a\\\\.b$"'


def test_names_that_nginx_would_take_for_one_are_told_apart() -> None:
    names = {upstream_name(name) for name in ("web", "Web", "a:80", "a_80")}
    assert len(names) == 4
    assert "l7.web" in names


def test_one_server_per_file_at_least_and_files_of_bounded_length() -> None:
    state = State(backends={"web": backend("web", server("t1"))})
    for number in range(3000):
        host = f"{number}.{'x' * 200}.test"
        state.routes[host, "/"] = pb.Route(host=host, path="/", backend="web")
    files = render(state, Settings(), Places(), frozenset())
    assert len(files) > 2
    assert max(len(text.encode()) for text in files.values()) <= LONGEST + 2000
    included = [
        line.split("/")[-1].rstrip(";") for line in files["nginx.conf"].splitlines() if "l7-servers" in line
    ]
    assert included == [name for name in files if name != "nginx.conf"]


def test_the_same_state_gives_the_same_bytes() -> None:
    routes = {("b", "/"): pb.Route(host="b", path="/", backend="web"), ("a", "/x"): pb.Route(host="a", path="/x")}
    one = State(backends={"web": backend("web", server("t2"), server("t1"))}, routes=routes)
    other = State(
        backends={"web": backend("web", server("t1"), server("t2"))}, routes=dict(reversed(list(routes.items())))
    )
    assert render(one, Settings(), Places(), frozenset()) == render(other, Settings(), Places(), frozenset())


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("parse", "value", "found"),
    [
        (values.seconds, 5, "5s"), (values.seconds, "75s", "75s"), (values.seconds, "1m 30s", '"1m 30s"'),
        (values.keep_alive, "75s 60s", "75s 60s"), (values.size, "32m", "32m"), (values.size, 1024, "1024"),
        (values.buffers, "4 8k", "4 8k"), (values.processes, "auto", "auto"), (values.processes, 4, "4"),
        (values.protocols, "TLSv1.2,TLSv1.3", "TLSv1.2 TLSv1.3"), (values.log_path, "off", "off"),
        (values.prefixes, ["10.1.2.3/8"], ("10.0.0.0/8",)), (values.words, "ssl_x on;", ("ssl_x on;",)),
    ],
)  # fmt: skip
def test_values(parse: Any, value: object, found: object) -> None:
    assert parse(value) == found


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (values.seconds, "5; evil"), (values.seconds, True), (values.seconds, 0), (values.size, "1m;"),
        (values.path, "/a b"), (values.path, "a"), (values.word, "a;b"), (values.ciphers, "A;B"),
        (values.log_format, "it's"), (values.lines, "no list"), (values.prefixes, ["x"]),
        (values.protocols, "SSLv3"),
        (values.buffers, "8k"), (values.processes, "many"), (values.http_version, "2"),
    ],
)  # fmt: skip
def test_what_could_be_more_than_a_value_is_none(parse: Any, value: object) -> None:
    assert isinstance(parse(value), Bad)


def test_a_bad_value_costs_its_key_only() -> None:
    settings, complaints = configured(b'{"maxconnections": 7, "User": "a b", "Nope": 1, "TraceLogFormat": "x"}')
    assert (settings.max_connections, settings.user) == (7, "nginx")
    assert [(each.key, each.idle) for each in complaints] == [
        ("Nope", False),
        ("TraceLogFormat", True),
        ("User", False),
    ]
    assert configured(b"[]")[1][0].key == "Config"
    assert configured(b"\xff")[0] == Settings()


def test_every_key_of_interlocks_is_known() -> None:
    known = {option.name for option in OPTIONS}
    assert {
        "WorkerProcesses",
        "RLimitNoFile",
        "GlobalOptions",
        "HTTPOptions",
        "TCPOptions",
        "TraceLogFormat",
    } <= known
    assert all(hasattr(Settings(), option.field) for option in OPTIONS if option.field)
