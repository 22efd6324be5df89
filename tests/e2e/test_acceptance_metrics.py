"""Metrics of upstreams, and who can ask for them: acceptance item 99, on a real Swarm."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from haproxy.scrape import PAGE
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm]

HOST = "counted99.local"
PAGES = ("/nginx_status", "/haproxy?stats", "/haproxy_stats", "/metrics", PAGE, "/status", "/healthz")

_ANSWERS = re.compile(r'haproxy_server_http_responses_total\{proxy="(.+?)",server="(.+?)\..*code="2xx"\}')


def answers(samples: dict[str, float], service: str) -> Counter[str]:
    """Answers of a service's tasks to the proxy whose samples these are."""
    found = (re.fullmatch(r'l7_backend_info\{proxy="(.+)",backend="(.+)"\}', name) for name in samples)
    (proxy,) = (row[1] for row in found if row and row[2] == service)
    rows = ((_ANSWERS.fullmatch(name), value) for name, value in samples.items())
    return Counter({row[2]: int(value) for row, value in rows if row and row[1] == proxy})


@pytest.mark.acceptance(99)
@pytest.mark.timeout(300)
def test_upstreams_are_counted_for_the_operator_alone(l7: Installation, create: Create) -> None:
    create("counted99", HOST, 2)
    tasks = l7.published("counted99", HOST, 2)
    l7.reach(HOST, tasks)
    for page in PAGES:
        assert {each.instance for each in l7.ask(HOST, page)} <= tasks
        l7.refused("nobody99.local", path=page)

    proxies = range(len(l7.services))
    before = [answers(l7.proxy_metrics(proxy, PAGE), "counted99") for proxy in proxies]
    asked = l7.by_series(l7.ask(HOST, times=20))
    for proxy, (series, earlier) in enumerate(zip(l7.series, before, strict=True)):
        samples = l7.proxy_metrics(proxy, PAGE)
        assert answers(samples, "counted99") - earlier == Counter(each.instance for each in asked[series])
        assert samples[f'l7_route_info{{host="{HOST}",path="/",backend="counted99"}}'] == 1
        assert not any("last_reload" in name for name in l7.proxy_metrics(proxy)), "there was none"

    def seen_by_all() -> bool:
        """What the extension service tells core of its cluster."""
        (view,) = [each["view"] for each in l7.status()["extension_services"]]
        return view is not None and (view["proxies"], view["silent"]) == (len(l7.services), 0) and view["up"] >= 2

    l7.until("the extension service to see the tasks at all proxies", seen_by_all)
