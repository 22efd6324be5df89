"""HAProxy's own metrics: their frontend, and what is made of an answer. HAProxy itself is asked in
tests/integration/test_scrape.py."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from haproxy import exporter
from haproxy.capabilities import capabilities
from haproxy.model import Canary, Desired, Route
from haproxy.render import render_config, render_static
from haproxy.settings import Settings

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SETTINGS = Settings(run_dir="/r", spare_backends=2, spare_backends_other=0)


def test_nobody_but_the_owner_of_a_socket_asks_it() -> None:
    for able in (OLD, NEW):
        for text in (render_config(SETTINGS, able, Desired(), {}, ()), render_static(SETTINGS, able)):
            section = text.partition(".if feature(PROMEX)\n")[2].partition(".endif\n")[0]
            assert re.findall(r"^  bind (.*)", section, re.M) == ["unix@/r/metrics.sock mode 600"]
            assert text.count("prometheus-exporter") == section.count("prometheus-exporter") == 1


def test_its_connections_are_not_those_of_clients() -> None:
    head = render_config(replace(SETTINGS, max_connections=1000), NEW, Desired(), {}, ()).partition("\ndefaults ")[
        0
    ]
    assert f"\n  maxconn {2 * 1000 + exporter.CONNECTIONS}\n" in head


def test_spare_backends_that_serve_nothing_are_left_out() -> None:
    placement = {"web": "spare-http-0002"}
    assert exporter.unused(SETTINGS, OLD, placement) == {b"spare-http-0001"}
    assert exporter.unused(SETTINGS, NEW, placement) == frozenset()
    lines = b'# HELP a b\na{proxy="spare-http-0001",x="y"} 1\na{proxy="spare-http-0002"} 2\nb 3\n'
    left = exporter.without(lines, exporter.unused(SETTINGS, OLD, placement))
    assert left == b'# HELP a b\na{proxy="spare-http-0002"} 2\nb 3\n'


def test_names_say_what_haproxys_stand_for() -> None:
    canary = Canary("next", "header", "x", "1")
    routes = [
        Route("a.test", "/", "shop", canaries=(canary,)),
        Route("a.test", "/old", ""),
        Route("*.b.test", "/p", "b"),
    ]
    lines = list(exporter.names({"shop.http-leastconn": "spare-http-leastconn-0001"}, routes))
    assert [line for line in lines if not line.startswith("#")] == [
        'l7_backend_info{proxy="spare-http-leastconn-0001",backend="shop"} 1\n',
        'l7_route_info{host="a.test",path="/",backend="next"} 1\n',
        'l7_route_info{host="a.test",path="/",backend="shop"} 1\n',
        'l7_route_info{host="*.b.test",path="/p",backend="b"} 1\n',
    ]


@given(st.text(), st.text())
def test_any_text_can_be_read_back(host: str, path: str) -> None:
    text = "".join(exporter.names({}, [Route(host, path, "shop")]))
    (sample,) = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert sample.labels == {"host": host, "path": path, "backend": "shop"}
