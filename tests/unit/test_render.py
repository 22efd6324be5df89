"""The rendered configuration, as text. What it does is shown on real HAProxy, in tests/integration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haproxy import policy
from haproxy.capabilities import Capabilities, capabilities
from haproxy.model import Backend, Desired, Route, Server, ServerState
from haproxy.render import render_config, render_files, render_maps, render_static
from haproxy.settings import Settings

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SETTINGS = Settings(spare_backends=3)
WEB = Backend("web", servers={"t2": Server("t2", 9, "fd00::2", 80), "t1": Server("t1", 8, "10.0.0.1", 80, 32)})
DESIRED = Desired(
    "r1",
    {"web": WEB, "idle": Backend("idle", expected=False)},
    {("a.test", "/"): Route("a.test", "/", "web")},
)


def config(able: Capabilities, settings: Settings = SETTINGS, ready: frozenset[str] = frozenset()) -> str:
    return render_config(settings, able, DESIRED, policy.place(settings, able, DESIRED.backends), ready)


def section(text: str, head: str) -> list[str]:
    found = [part.strip().split("\n") for part in text.split("\n\n") if part.startswith(head)]
    assert len(found) == 1, head
    return [line.strip() for line in found[0]]


@pytest.mark.parametrize(("able", "physical"), [(OLD, "spare-http-0002"), (NEW, "web")])
def test_a_backend_has_the_placeholder_and_its_servers(able: Capabilities, physical: str) -> None:
    keywords = policy.server_keywords(SETTINGS, able, WEB)
    ready = policy.server_name(WEB.servers["t1"], keywords)
    other = policy.server_name(WEB.servers["t2"], keywords)
    _, hold, first, second = section(config(able, ready=frozenset({ready})), f"backend {physical} from l7.p-http")
    assert hold == "server hold 127.0.0.1:1 id 1048576 weight 1 backup maxconn 1000000000"
    assert first == f"server {ready} 10.0.0.1:80 id 8 weight 32 {' '.join(keywords)}"
    assert second == f"server {other} [fd00::2]:80 id 9 weight 64 {' '.join(keywords)} disabled"


def test_a_task_that_leaves_takes_requests_only_where_no_other_does() -> None:
    keywords = policy.server_keywords(SETTINGS, NEW, WEB)
    leaving = replace(WEB.servers["t1"], state=ServerState.LEAVING)
    web = replace(WEB, servers={"t1": leaving, "t2": WEB.servers["t2"]})
    names = [policy.server_name(server, keywords) for server in web.servers.values()]

    def enabled(*ready: str) -> list[bool]:
        text = render_config(SETTINGS, NEW, Desired("r", {"web": web}), {"web": "web"}, ready)
        return [not line.endswith(" disabled") for line in section(text, "backend web from")[2:]]

    assert enabled(*names) == [False, True]
    assert enabled(names[0]) == [True, False]


def test_where_nothing_is_expected_requests_do_not_wait() -> None:
    assert section(config(NEW), "backend idle from")[1].endswith(" disabled")
    assert section(config(OLD), "backend spare-http-0003 from")[1].endswith(" disabled")


def test_spares_are_there_before_3_4_only() -> None:
    text = config(OLD)
    each = [text.count(f"backend spare-{kind.kind}-0") for kind in policy.POLICIES]
    assert each == [SETTINGS.spare_backends] + [SETTINGS.spare_backends_other] * 32
    assert "spare" not in config(NEW)


def test_the_static_part_has_no_setting_of_the_process_and_no_server_but_placeholders() -> None:
    for able in (OLD, NEW):
        text = render_static(SETTINGS, able)
        assert "\n  maxconn" not in text.partition("\ndefaults ")[0]
        assert "log stdout" not in text
        servers = {line.split()[1] for line in text.split("\n") if line.startswith("  server ")}
        assert servers <= {"hold", "hop"}


def test_same_in_same_bytes() -> None:
    again = replace(DESIRED, backends=dict(sorted(DESIRED.backends.items())))
    placement = policy.place(SETTINGS, OLD, again.backends)
    assert render_files(SETTINGS, OLD, again, placement, ()) == render_files(SETTINGS, OLD, DESIRED, placement, ())


def test_a_backend_without_a_place_is_in_neither_file() -> None:
    files = render_files(SETTINGS, OLD, DESIRED, {"idle": "spare-http-0001"}, ())
    assert files["backends.map"] == b"idle spare-http-0001\n"
    assert b"t1." not in files["haproxy.cfg"]


def test_maps_are_rows_of_key_and_value() -> None:
    maps = render_maps(NEW, DESIRED, {"web": "web", "idle": "idle"})
    assert maps["routes.map"] == "a.test/ web|\n"
    assert maps["backends.map"] == "idle idle\nweb web\n"


def test_hidden_information_headers() -> None:
    assert "x-upstream-addr" in config(NEW)
    assert "x-upstream-addr" not in config(NEW, replace(SETTINGS, hide_info_headers=True))
    assert "x-l7-error" in config(NEW, replace(SETTINGS, hide_info_headers=True))
