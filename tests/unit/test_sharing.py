"""Services that meet on a route: shares, canaries, the default backend, TCP, and who decides."""

from __future__ import annotations

import pytest

from l7.conflicts import POLICY, RULES
from l7.fragment import Kind, Pooled, backend_name
from l7.labels.table import TABLE
from l7.model import (
    Balance,
    Canary,
    HashKey,
    HashSource,
    HealthCheck,
    Protocol,
    Redirect,
    RetryOn,
    Route,
    Rules,
    ServerSettings,
    TaskState,
)
from l7.swarm.cache import Kind as Object
from tests.fakes.swarm_state import World, labels, service, spec, task


def told(world: World, of: str) -> set[str]:
    """Short names of the labels that a service has problems with."""
    return {problem.label.removeprefix("com.docker.lb.") for problem in world.problems(of)}


def weights(world: World, backend: str) -> dict[str, int]:
    return {name.removeprefix("t-"): server.weight for name, server in world.servers(backend).items()}


# ---------------------------------------------------------------- shares


def test_without_weights_the_traffic_follows_the_tasks() -> None:
    world = World()
    world.serve("one", tasks=4, hosts="a.example")
    world.serve("two", hosts="a.example")
    assert set(weights(world, "one:two").values()) == {64}


def test_a_share_does_not_depend_on_the_number_of_tasks() -> None:
    world = World()
    world.serve("one", tasks=4, hosts="a.example", weight="90")
    world.serve("two", hosts="a.example", weight="10")
    assert set(weights(world, "one:two").items()) == {("two-0", 114), *((f"one-{n}", 256) for n in range(4))}
    world.serve("one", tasks=1, hosts="a.example", weight="90")
    assert weights(world, "one:two") == {"one-0": 256, "two-0": 28}
    assert {server.service for server in world.servers("one:two").values()} == {0, 1}


def test_a_service_without_weight_has_a_hundred_beside_one_with() -> None:
    world = World()
    world.serve("one", hosts="a.example")
    world.serve("two", hosts="a.example", weight="50")
    assert weights(world, "one:two") == {"one-0": 256, "two-0": 128}


def test_shares_hold_only_where_services_meet() -> None:
    world = World()
    world.serve("one", hosts="a.example b.example")
    world.serve("two", hosts="a.example", weight="50")
    assert weights(world, "one") == {"one-0": 64}


def test_weight_zero_takes_a_service_out_and_back() -> None:
    world = World()
    world.serve("one", hosts="a.example")
    world.serve("two", hosts="a.example", weight="0")
    assert world.routes() == {"a.example/": "one"}
    assert set(world.snapshot().backends) == {"one"}
    world.serve("two", hosts="a.example")
    assert world.routes() == {"a.example/": "one:two"}
    world.serve("one", hosts="a.example", weight="0")
    assert world.routes() == {"a.example/": "two"}


def test_only_weights_of_zero_leave_a_route_without_backend() -> None:
    world = World()
    world.serve("one", hosts="a.example", weight="0")
    assert world.route("a.example") == Route("a.example", "/", "")
    assert world.snapshot().backends == {}


def test_a_pending_task_already_has_the_weight_that_its_service_gets_with_it() -> None:
    world = World()
    world.serve("one", hosts="a.example", weight="50")
    world.put(service("two", spec(labels(port="80", hosts="a.example", weight="50")), created=2))
    world.put(task("t-two-0", "two", TaskState.STARTING))
    before = weights(world, "one:two")
    world.put(task("t-two-0", "two", version=2))
    assert weights(world, "one:two") == before == {"one-0": 256, "two-0": 256}


# ---------------------------------------------------------------- canaries


def test_a_canary_is_a_backend_of_its_own_that_never_holds() -> None:
    world = World()
    world.serve("web", hosts="a.example")
    world.serve("next", 2, 2, hosts="a.example", weight="0", canary_header="X-Lane=next", canary_cookie="lane")
    assert world.route("a.example").backend == "web"
    assert world.route("a.example").canaries == (
        Canary("next.canary", "header", "x-lane", "next"),
        Canary("next.canary", "cookie", "lane"),
    )
    canary = world.backend("next.canary")
    assert (canary.settings.services, canary.settings.expected) == (("next",), False)
    assert {server.weight for server in canary.servers.values()} == {64}
    world.remove(Object.SERVICE, "id-next")
    assert set(world.snapshot().backends) == {"web"}


def test_a_canary_without_weight_takes_its_share_as_well() -> None:
    world = World()
    world.serve("web", hosts="a.example")
    world.serve("next", 2, hosts="a.example", canary_header="x-lane")
    assert world.route("a.example").backend == "next:web"
    assert set(world.servers("next.canary")) == {"t-next-0"}


def test_a_canary_alone() -> None:
    world = World()
    world.serve("next", hosts="a.example", weight="0", canary_cookie="lane=next")
    assert world.route("a.example") == Route(
        "a.example", "/", "", canaries=(Canary("next.canary", "cookie", "lane", "next"),)
    )


def test_a_value_is_asked_before_any_value_and_a_header_before_a_cookie() -> None:
    world = World()
    world.serve("web", hosts="a.example")
    world.serve("any", 2, hosts="a.example", weight="0", canary_header="x-lane", canary_cookie="c=z")
    world.serve("some", 3, hosts="a.example", weight="0", canary_header="x-lane=some", canary_cookie="c")
    canaries = [(each.source, each.value, each.backend) for each in world.route("a.example").canaries]
    assert canaries == [
        ("header", "some", "some.canary"),
        ("header", "", "any.canary"),
        ("cookie", "z", "any.canary"),
        ("cookie", "", "some.canary"),
    ]


def test_a_route_has_one_header_name_and_one_cookie_name() -> None:
    world = World()
    world.serve("one", 1, hosts="a.example", canary_header="x-lane=1")
    world.serve("two", 2, hosts="a.example", canary_header="x-other=2", canary_cookie="c")
    world.serve("three", 3, hosts="a.example", canary_header="x-lane=1", canary_cookie="d")
    assert [each.backend for each in world.route("a.example").canaries] == ["one.canary", "two.canary"]
    assert (told(world, "one"), told(world, "two"), told(world, "three")) == (
        set(),
        {"canary_header"},
        {"canary_header", "canary_cookie"},
    )
    [problem] = world.problems("two")
    assert "service one, created first" in problem.message
    assert not problem.fatal


# ---------------------------------------------------------------- default and TCP


def test_the_default_backend_is_that_of_the_service_created_first() -> None:
    world = World()
    world.serve("late", 2, default_backend="true")
    assert world.routes() == {"*/": "late"}
    world.serve("early", 1, default_backend="true", hosts="a.example")
    assert world.routes() == {"*/": "early", "a.example/": "early"}
    assert told(world, "late") == {"default_backend"}
    assert set(world.snapshot().backends) == {"early"}
    world.remove(Object.SERVICE, "id-early")
    assert world.routes() == {"*/": "late"}
    assert told(world, "late") == set()


def test_settings_of_a_second_default_backend_are_no_conflict_of_their_own() -> None:
    world = World()
    world.serve("one", 1, default_backend="true")
    world.serve("two", 2, default_backend="true", balance="leastconn", allow="10.0.0.0/8")
    assert told(world, "two") == {"default_backend"}


def test_tcp() -> None:
    world = World()
    world.serve("one", 1, tcp_port="5432", balance="leastconn", protocol="h2c", health_check_path="/up")
    world.serve("two", 2, tcp_port="5432", hosts="a.example")
    assert world.routes() == {":5432/": "one:two.tcp", "a.example/": "two"}
    assert world.route(":5432") == Route(":5432", "/", "one:two.tcp")
    settings = world.backend("one:two.tcp").settings
    assert (settings.tcp, settings.balance, settings.check) == (True, Balance.LEAST_CONNECTIONS, None)
    assert settings.servers == ()
    assert settings.expected


@pytest.mark.parametrize("protocol", ["http", "h2c", "https", "grpc"])
def test_raw_tcp_is_passed_on_as_it_is(protocol: str) -> None:
    world = World()
    world.serve("web", tcp_port="5432", hosts="a.example", protocol=protocol, max_connections="5")
    assert world.backend("web.tcp").settings.servers == (ServerSettings(max_connections=5),)


def test_what_is_the_same_for_raw_tcp_is_no_conflict() -> None:
    world = World()
    world.serve("early", 1, tcp_port="5432", hosts="a.example", sticky_session_cookie="sid")
    world.serve("late", 2, tcp_port="5432", ip_hash="true")
    assert told(world, "late") == set()
    world.serve("early", 1, tcp_port="5432", hosts="a.example", balance="random")
    assert told(world, "late") == {"ip_hash"}
    world.serve("late", 2, tcp_port="5432", balance="roundrobin")
    assert told(world, "late") == set()


def test_names_of_backends_never_meet() -> None:
    services = tuple(f"service-with-a-long-name-{number}" for number in range(8))
    pooled = [Pooled(names, kind) for names in (services, services[:7], ("a",), ("a", "b")) for kind in Kind]
    names = [each.name for each in pooled]
    assert len(set(names)) == len(names)
    assert backend_name(services, Kind.TCP) == backend_name(services) + ".tcp"


# ---------------------------------------------------------------- who decides


DIFFERING = {
    "balance": "leastconn",
    "sticky_session_cookie": "sid",
    "ip_hash": "true",
    "retry_on": "safe",
    "health_check_path": "/up",
    "https_redirect": "true",
    "hsts": "31536000",
    "allow": "10.0.0.0/8",
    "rate_limit": "10/s",
    "max_body_size": "1m",
    "compression": "true",
    "cors_origins": "https://x.example",
    "timeout_server": "7s",
    "timeout_tunnel": "7s",
    "timeout_connect": "2s",
    "header_request_X-A": "1",
    "header_response_X-A": "1",
}


@pytest.mark.parametrize("label", DIFFERING)
def test_each_setting_of_a_shared_route_is_that_of_the_service_created_first(label: str) -> None:
    world = World()
    world.serve("early", 1, hosts="a.example")
    plain = world.snapshot()
    world.serve("late", 2, hosts="a.example", **{label: DIFFERING[label]})
    [problem] = world.problems("late")
    assert problem.label == f"com.docker.lb.{label}"
    assert problem.value == DIFFERING[label]
    assert "service early, created first" in problem.message
    assert problem.remedy
    assert not problem.fatal
    assert world.route("a.example").rules == ""
    shared = world.backend("early:late").settings
    alone = plain.backends["early"].settings
    assert (shared.balance, shared.retry_on, shared.check) == (alone.balance, alone.retry_on, alone.check)
    world.serve("early", 1, hosts="a.example", **{label: DIFFERING[label]})
    assert world.problems("late") == []


@pytest.mark.parametrize("label", DIFFERING)
def test_what_the_first_one_wrote_needs_no_problem(label: str) -> None:
    world = World()
    world.serve("early", 1, hosts="a.example", **{label: DIFFERING[label]})
    world.serve("late", 2, hosts="a.example")
    assert world.build.problems() == ()


def test_every_kind_of_label_that_one_service_decides_is_compared() -> None:
    """A label that changes anything but the service's own part of a shared route, and is not compared, would be
    overruled without a word."""
    own = {
        "hosts", "port", "network", "context_root", "service_cluster", "redirects", "default_backend",
        "backend_mode", "tcp_port", "weight", "canary_header", "canary_cookie", "websocket_endpoints",
        "health_check_port", "health_check_interval", "health_check_rise", "health_check_fall", "slow_start",
        "max_connections", "max_fails", "fail_timeout", "drain_timeout", "protocol",
        "header_request_*", "header_response_*",
        "proxy_protocol", "ssl_backend", "ssl_backend_tls_verify", "ssl_backend_ca", "ssl_backend_name",
        "ssl_backend_cert", "ssl_backend_key",
    }  # fmt: skip
    by_host = {"ssl_cert", "ssl_key", "acme", "ssl_client_ca", "ssl_client_verify", "ssl_passthrough"}
    supported = {label.name for label in TABLE.values()}
    assert supported == own | by_host | set(POLICY) | set(RULES)
    assert not own & (set(POLICY) | set(RULES))


def test_the_long_timeout_of_grpc_is_the_routes() -> None:
    world = World()
    world.serve("early", 1, hosts="a.example")
    world.serve("late", 2, hosts="a.example", protocol="grpc")
    [problem] = world.problems("late")
    assert problem.label == "com.docker.lb.protocol"
    assert "does not raise timeout_server on a.example/" in problem.message
    world.serve("early", 1, hosts="a.example", timeout_server="1h")
    assert world.problems("late") == []


def test_only_what_differs_is_told() -> None:
    world = World()
    cors = {"cors_origins": "https://x.example", "cors_max_age": "1h"}
    world.serve("early", 1, hosts="a.example", **cors)
    world.serve("late", 2, hosts="a.example", **cors, cors_methods="PUT", ip_hash="false", balance="leastconn")
    assert told(world, "late") == {"cors_methods", "balance"}
    world.serve("early", 1, hosts="a.example", balance="source")
    world.serve(
        "late", 2, hosts="a.example", ip_hash="true", cors_credentials="true", cors_origins="https://y.example"
    )
    assert told(world, "late") == {"cors_credentials", "cors_origins"}


def test_one_problem_names_all_routes() -> None:
    world = World()
    hosts = " ".join(f"{number}.example" for number in range(5))
    world.serve("early", 1, hosts=hosts)
    world.serve("late", 2, hosts=hosts, compression="true")
    [problem] = world.problems("late")
    assert "0.example/, 1.example/, 2.example/ and 2 more" in problem.message


def test_a_backend_follows_the_service_that_decides() -> None:
    world = World()
    world.serve("late", 2, hosts="a.example", balance="leastconn", health_check_path="/late", rate_limit="1/s")
    world.serve("early", 1, hosts="a.example")
    assert world.backend("early:late").settings.balance is Balance.ROUND_ROBIN
    changed = {"balance": "random", "health_check_path": "/up", "allow": "10.0.0.0/8"}
    delta = world.serve("early", 1, hosts="a.example", **changed)
    settings = world.backend("early:late").settings
    assert (settings.balance, settings.check) == (Balance.RANDOM, HealthCheck("/up"))
    assert world.route("a.example").rules == "early"
    assert world.snapshot().rules == {"early": Rules("early", allow=("10.0.0.0/8",))}
    [change] = delta[""].changes.backends
    assert (change.settings, change.servers) == (settings, ())
    world.remove(Object.SERVICE, "id-early")
    assert world.backend("late").settings.balance is Balance.LEAST_CONNECTIONS
    assert set(world.snapshot().rules) == {"late"}


def test_of_services_created_at_once_the_smaller_id_decides() -> None:
    world = World()
    for name in ("b", "a"):
        world.serve(name, 1, hosts="a.example", allow=f"10.{ord(name)}.0.0/16")
    assert world.route("a.example").rules == "a"


def test_a_service_with_weight_zero_does_not_decide() -> None:
    world = World()
    world.serve("early", 1, hosts="a.example", weight="0", canary_header="x", balance="first", allow="10.0.0.0/8")
    world.serve("late", 2, hosts="a.example", balance="leastconn", compression="true")
    assert world.route("a.example").rules == "late"
    assert world.backend("late").settings.balance is Balance.LEAST_CONNECTIONS
    assert world.backend("early.canary").settings.balance is Balance.FIRST
    assert told(world, "early") == {"allow"}
    assert told(world, "late") == set()


def test_what_a_canary_hashes_is_the_routes_affair() -> None:
    world = World()
    world.serve("early", 1, hosts="a.example", sticky_session_cookie="sid")
    world.serve("late", 2, hosts="a.example", weight="0", canary_header="x", sticky_session_cookie="other")
    assert told(world, "late") == {"sticky_session_cookie"}
    world.serve("late", 2, hosts="a.example", weight="0", canary_header="x", balance="leastconn")
    assert told(world, "late") == set()


def test_each_service_keeps_the_settings_of_its_own_servers() -> None:
    world = World()
    world.serve("one", 1, hosts="a.example", max_connections="5")
    world.serve("two", 2, hosts="a.example", protocol="h2c")
    assert world.backend("one:two").settings.servers == (
        ServerSettings(max_connections=5),
        ServerSettings(protocol=Protocol.H2C),
    )
    assert world.build.problems() == ()


def test_rules_exist_while_a_route_refers_to_them() -> None:
    world = World()
    delta = world.serve("web", hosts="a.example b.example", compression="true", sticky_session_cookie="sid")[""]
    rules = Rules("web", compression=True, hash_key=HashKey(HashSource.COOKIE, "sid"))
    assert delta.changes.rules == (rules,)
    assert world.snapshot().rules == {"web": rules}
    delta = world.serve("web", hosts="a.example", compression="true", sticky_session_cookie="sid")[""]
    assert (delta.changes.rules, delta.changes.removed_rules) == ((), ())
    delta = world.serve("web", hosts="a.example", compression="true")[""]
    assert delta.changes.rules == (Rules("web", compression=True),)
    assert delta.changes.routes == ()
    delta = world.serve("web", hosts="a.example")[""]
    assert delta.changes.removed_rules == ("web",)
    assert world.snapshot().rules == {}


def test_retries_travel() -> None:
    world = World()
    world.serve("web", hosts="a.example", retry_on="all")
    assert world.backend("web").settings.retry_on is RetryOn.ALL


# ---------------------------------------------------------------- redirects


def test_a_redirect_needs_no_host_of_its_own() -> None:
    world = World()
    world.serve("web", hosts="new.example", redirects="http://old.example,https://new.example")
    assert world.route("old.example") == Route(
        "old.example", "/", "", redirect=Redirect("http", "https://new.example")
    )


def test_a_route_may_redirect_one_scheme_and_forward_the_rest() -> None:
    world = World()
    world.serve("web", hosts="a.example", redirects="http://a.example,https://a.example", compression="true")
    assert world.route("a.example") == Route(
        "a.example", "/", "web", rules="web", redirect=Redirect("http", "https://a.example")
    )


def test_two_redirects_of_a_host_the_older_service_decides() -> None:
    world = World()
    world.serve("late", 2, redirects="o.example,http://late.example")
    world.serve("early", 1, redirects="o.example,http://early.example")
    assert world.route("o.example").redirect == Redirect("", "http://early.example")
    assert (told(world, "late"), told(world, "early")) == ({"redirects"}, set())


def test_a_younger_service_redirects_no_host_that_another_answers() -> None:
    world = World()
    world.serve("owner", 1, hosts="a.example")
    world.serve("thief", 2, redirects="a.example,http://evil.example")
    assert world.route("a.example") == Route("a.example", "/", "owner")
    assert (told(world, "thief"), told(world, "owner")) == ({"redirects"}, set())


def test_who_claims_a_host_that_an_older_service_redirects_is_told() -> None:
    world = World()
    world.serve("older", 1, redirects="a.example,http://b.example")
    world.serve("web", 2, hosts="a.example")
    assert world.route("a.example") == Route("a.example", "/", "web", redirect=Redirect("", "http://b.example"))
    assert told(world, "web") == {"hosts"}


def test_redirects_of_two_services_that_go_in_circles() -> None:
    world = World()
    world.serve("one", 1, redirects="a.example,http://b.example")
    world.serve("two", 2, redirects="b.example,http://a.example;c.example,http://d.example")
    assert set(world.snapshot().routes) == {("a.example", "/"), ("c.example", "/")}
    assert (told(world, "one"), told(world, "two")) == (set(), {"redirects"})
    world.serve("one", 1, redirects="a.example,http://e.example")
    assert set(world.snapshot().routes) == {("a.example", "/"), ("b.example", "/"), ("c.example", "/")}
    assert world.build.problems() == ()


def test_a_client_arrives_where_a_deeper_path_is_answered() -> None:
    """Whether it goes in circles depends on a service that redirects nothing."""
    world = World()
    world.serve("one", 1, redirects="a.example,http://b.example/app")
    world.serve("two", 2, redirects="b.example,http://a.example")
    assert set(world.snapshot().routes) == {("a.example", "/")}
    world.serve("app", 3, hosts="b.example", context_root="/app")
    assert set(world.snapshot().routes) == {("a.example", "/"), ("b.example", "/"), ("b.example", "/app")}
    assert world.build.problems() == ()
    world.remove(Object.SERVICE, "id-app")
    assert set(world.snapshot().routes) == {("a.example", "/")}
    assert told(world, "two") == {"redirects"}


def test_a_host_that_asks_for_https_is_not_sent_back_to_http() -> None:
    world = World()
    world.serve("back", 1, redirects="https://a.example,http://a.example", hosts="b.example")
    world.serve("web", 2, hosts="a.example")
    assert world.route("a.example").redirect is not None
    world.serve("web", 2, hosts="a.example", https_redirect="true")
    assert world.route("a.example") == Route("a.example", "/", "web", rules="web")
    assert told(world, "back") == {"redirects"}


def test_only_what_may_close_a_circle_makes_redirects_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.serve("one", 1, redirects="a.example,http://b.example", hosts="b.example")
    world.serve("two", 2, hosts="c.example")
    monkeypatch.setattr("l7.circles.circles", None)
    world.serve("one", 1, 3, redirects="a.example,http://b.example", hosts="b.example")
    world.serve("one", 1, 3, redirects="a.example,http://b.example", hosts="b.example", compression="true")
    world.serve("two", 2, hosts="d.example")
    assert len(world.servers("one")) == 3


def test_of_many_redirects_only_those_that_have_to_do_with_a_change_are_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed: list[set[str]] = []

    def circles(redirects: list[tuple[tuple[str, str], Redirect]], *more: object) -> frozenset[tuple[str, str]]:
        followed.append({host for (host, _), _ in redirects})
        return frozenset()

    world = World()
    for number in range(5):
        world.serve(f"s{number}", 1, redirects=f"old{number}.example,http://new{number}.example")
    monkeypatch.setattr("l7.circles.circles", circles)
    world.serve("s1", 1, redirects="old1.example,http://old2.example")
    assert followed.pop() == {"old1.example", "old2.example"}
    world.remove(Object.SERVICE, "id-s1")
    assert followed.pop() == {"old2.example"}
    world.serve("other", 2, hosts="new3.example")
    assert followed.pop() == {"old3.example"}
    world.serve("any", 2, hosts="*.example")
    assert followed.pop() == {"old0.example", "old2.example", "old3.example", "old4.example"}
    assert followed == []


def test_a_circle_by_way_of_a_wildcard() -> None:
    world = World()
    world.serve("one", 1, redirects="a.example,http://b.other")
    world.serve("two", 2, redirects="*.other,http://a.example")
    assert told(world, "two") == {"redirects"}
    world.serve("web", 3, hosts="b.other")
    assert told(world, "two") == set()
    world.remove(Object.SERVICE, "id-web")
    assert told(world, "two") == {"redirects"}
    world.remove(Object.SERVICE, "id-one")
    assert world.build.problems() == ()
