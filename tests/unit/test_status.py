"""The parts of the status document: what is routed where, and how the proxies see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO

from rich.console import Console

from l7.fragment import wanted_id
from l7.model import Problem, TaskState
from l7.report import report
from l7.status import (
    ClusterView,
    Extension,
    Extensions,
    cluster_document,
    extension_document,
    servers_by_state,
    service_document,
    with_values,
)
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, service, spec, task


def world() -> World:
    result = World()
    result.put(service("web", spec(labels(hosts="b.example a.example", port="80", context_root="/app"))))
    result.put(task("t1", "web"), task("t2", "web", TaskState.STARTING), task("t3", "web", RUNNING, SHUTDOWN))
    return result


def test_a_cluster_says_what_is_routed_where() -> None:
    snapshot = world().snapshot()
    document = json.loads(json.dumps(cluster_document(snapshot)))
    assert (document["name"], document["revision"]) == ("", snapshot.revision)
    assert [(route["host"], route["path"], route["backend"]) for route in document["routes"]] == [
        ("a.example", "/app", "web"),
        ("b.example", "/app", "web"),
    ]
    [backend] = document["backends"]
    assert (backend["services"], backend["expected"]) == (["web"], True)
    assert backend["states"] == {"ready": 1, "pending": 1, "leaving": 1}
    assert backend["servers"][0] == {
        "task": "t1", "id": wanted_id("t1"), "address": "10.0.0.9", "port": 80, "weight": 64,
        "state": "ready", "stop_in": 0, "service": 0,
    }  # fmt: skip


def test_servers_are_counted_by_state_and_every_state_is_named() -> None:
    assert servers_by_state(world().snapshot()) == {"ready": 1, "pending": 1, "leaving": 1}
    assert servers_by_state(World().snapshot()) == {"ready": 0, "pending": 0, "leaving": 0}


def test_extensions_are_listed_while_they_are_connected() -> None:
    extensions = Extensions()
    with extensions.connected(Extension("", "b")), extensions.connected(Extension("", "a")) as number:
        extensions.update(number, applied="r1", unhealthy={("web", "t1"): "down"})
        assert [each.instance for each in extensions] == ["a", "b"]
        document = json.loads(json.dumps(extension_document(extensions[number])))
        assert document["applied"] == "r1"
        assert document["unhealthy"] == [{"backend": "web", "task": "t1", "status": "down"}]
        assert extensions.count("") == 2
    assert list(extensions) == []


# ---------------------------------------------------------------- on the screen


def screen(world: World, *extensions: Extension, width: int = 300, services: Sequence[Extension] = ()) -> str:
    """What `l7 status` prints on a terminal of that width, runs of blanks as one."""
    told = {*world.build.problems(), *(each for extension in extensions for each in extension.problems)}
    problems = [asdict(problem) for problem in sorted(told)]
    clusters = [json.loads(json.dumps(cluster_document(world.snapshot())))]
    head = {"version": "1", "ready": True, "reason": "", "source": {}}
    head["extensions"] = [json.loads(json.dumps(extension_document(each))) for each in extensions]
    head["extension_services"] = [json.loads(json.dumps(service_document(each))) for each in services]
    console = Console(width=width, highlight=False, markup=False, emoji=False, file=StringIO())
    for part in report({**head, "clusters": clusters, "problems": problems}):
        console.print(part)
    assert isinstance(console.file, StringIO)
    return "\n".join(" ".join(line.split()) for line in console.file.getvalue().splitlines())


def test_shares_and_canaries() -> None:
    shown = World()
    shown.serve("web", 1, 4, hosts="a.example", weight="90")
    shown.serve("next", 2, hosts="a.example", weight="10", canary_header="x-lane=next")
    shown.serve("dark", 3, 0, hosts="a.example", weight="0", canary_cookie="lane")
    lines = screen(shown).splitlines()
    at = lines.index("a.example / next 10%, web 90% 5 0 0")
    assert lines[at + 1] == "next 1 0 0 with header x-lane=next"
    assert lines[at + 2] == "dark 0 0 0 with cookie lane, no server: falls back"


def test_tasks_that_any_proxy_finds_down_each_counts_once() -> None:
    shown = World()
    shown.serve("web", 1, 3, hosts="a.example")
    down, two = {("web", "t-web-0"): "down"}, {("web", "t-web-0"): "down", ("web", "t-web-1"): "down"}
    proxies = Extension("", "one", unhealthy=down), Extension("", "two", unhealthy=two)
    assert "a.example / web 3 0 0 2 unhealthy" in screen(shown, *proxies).splitlines()
    assert "a.example / web 3 0 0" in screen(shown, Extension("east", "three", unhealthy=down)).splitlines()


def test_what_the_proxies_of_a_cluster_see_together() -> None:
    shown = World()
    shown.serve("web", 1, 3, hosts="a.example")
    one, two = ("web", "t-web-0"), ("web", "t-web-1")
    proxies = (
        Extension("", "one", unhealthy={one: "down"}),
        Extension("", "two", unhealthy=dict.fromkeys((one, two))),
    )
    view = ClusterView(2, 1, up=1, down=2, sessions=5, queued=1)
    service = Extension("", "ext", unhealthy=dict.fromkeys((one, two), "down"), split={two: (1, 2)}, view=view)
    lines = screen(
        shown, *proxies, services=[service, Extension("", "starts"), Extension("east", "x")]
    ).splitlines()
    seen = "1 servers up, 2 down, 0 out of rotation, as most of 2 proxies see them (1 more did not answer); "
    assert f"{seen}5 sessions, 1 of them waiting" in lines
    assert "a.example / web 3 0 0 1 unhealthy, 1 up on 1 of 2 proxies only" in lines
    both = replace(service, split={one: (1, 2), two: (1, 2)})
    assert (
        "a.example / web 3 0 0 2 up on some proxies only" in screen(shown, *proxies, services=[both]).splitlines()
    )
    nobody = replace(service, view=ClusterView(0, 2, down=2))
    assert "a.example / web 3 0 0 2 unhealthy" in screen(shown, *proxies, services=[nobody]).splitlines()


def test_redirects_default_and_tcp() -> None:
    shown = World()
    shown.serve(
        "web", 1, hosts="a.example", redirects="http://a.example,https://a.example;old.example,http://a.example"
    )
    shown.serve("all", 2, default_backend="true")
    for port in ("993", "5432"):
        shown.serve(f"tcp{port}", 3, tcp_port=port)
    text = screen(shown)
    assert "a.example / web 1 0 0 http redirected to https://a.example" in text
    assert "old.example / redirected to http://a.example" in text
    assert text.index("any other / all 1 0 0") > text.index("old.example")
    assert text.index("TCP port 5432 tcp5432 1 0 0") > text.index("TCP port 993 tcp993") > text.index("any other")


def test_certificates_and_what_is_passed_on() -> None:
    shown = World()
    shown.store("crt", "key", "ca", "users")
    given = {"ssl_cert": "crt", "ssl_key": "key", "ssl_client_ca": "ca", "basic_auth": "users"}
    shown.put(service("web", spec(labels(hosts="b.example", port="80", **given))), task("t1", "web"))
    shown.serve("app", 2, hosts="*.example", ssl_passthrough="true", ssl_only="true")
    document = json.loads(json.dumps(cluster_document(shown.snapshot())))
    assert document["tls_hosts"] == [
        {
            "host": "b.example",
            "service": "web",
            "certificate": {
                "certificate": {"id": "id-crt", "name": "crt", "config": False},
                "key": {"id": "id-key", "name": "key", "config": False},
            },
            "client_certificate": "required",
            "client_ca": {"id": "id-ca", "name": "ca", "config": False},
        }
    ]
    text = screen(shown)
    assert "*.example TLS app 1 0 0" in text
    assert "*.example / rules app, redirected to https" in text
    assert "b.example TLS ends at the proxies" in text
    assert "b.example crt key web required, of ca" in text
    assert "basic_auth users" in text
    assert "client_certificate required" in text


def test_what_nobody_answers() -> None:
    shown = World()
    shown.serve("parked", 1, hosts="a.example", weight="0")
    shown.serve("canary", 1, hosts="b.example", weight="0", canary_cookie="c")
    shown.serve("zero", 1, 0, hosts="c.example")
    shown.put(service("soon", spec(labels(hosts="d.example", port="80"))))
    text = screen(shown)
    assert "a.example / weight 0: nobody answers" in text
    assert "b.example / only by header or cookie" in text
    assert "c.example / zero 0 0 0 scaled to zero" in text
    assert "d.example / soon 0 0 0 requests wait" in text


def test_what_became_of_services_with_bad_labels() -> None:
    shown = World()
    bad, good = (spec(labels(hosts="a.example", port=port)) for port in ("abc", "80"))
    shown.put(replace(service("kept", bad), previous=good), task("t1", "kept"), service("never", bad))
    shown.serve("fine", hosts="b.example", ssl_key="x")
    text = screen(shown)
    assert "kept com.docker.lb.port abc as before is not a whole number" in text
    assert "never com.docker.lb.port abc no is not a whole number" in text
    assert "fine com.docker.lb.ssl_key x yes has no effect without ssl_cert" in text


def test_a_narrow_terminal_gets_sentences_instead_of_columns() -> None:
    shown = World()
    shown.put(service("never", spec(labels(hosts="a.example", port="abc"))))
    shown.serve("fine", hosts="b.example", ssl_key="x")
    lines = screen(shown, width=80).splitlines()
    at = lines.index("fine com.docker.lb.ssl_key=x (routed: yes)")
    assert lines[at + 1] == "has no effect without ssl_cert"
    assert lines[at + 2].startswith("to do: ")
    assert "never com.docker.lb.port=abc (routed: no)" in lines


def test_that_no_proxy_is_connected_is_said() -> None:
    shown = World()
    shown.serve("web", hosts="a.example")
    assert "Proxies\nnone is connected to this core" in screen(shown)
    assert "none is connected" not in screen(shown, Extension("", "p"))


def test_a_certificate_about_which_there_is_a_problem_says_so() -> None:
    shown = World()
    shown.store("crt", "good")
    shown.serve("web", hosts="a.example", ssl_cert="crt")
    shown.serve("fine", hosts="b.example", ssl_cert="good")
    problem = Problem("web", "com.docker.lb.ssl_cert", "", "expired", "renew")
    lines = screen(shown, Extension("", "p", problems=(problem,))).splitlines()
    assert "a.example crt web see below" in lines
    assert "b.example good fine" in lines


def test_what_proxies_say_about_a_secret_names_it() -> None:
    shown = World()
    shown.store("crt", "key", "ca", "users", "own", "tasks")
    given = {
        "ssl_cert": "crt", "ssl_key": "key", "ssl_client_ca": "ca", "basic_auth": "users", "ssl_backend": "true",
        "ssl_backend_ca": "tasks", "ssl_backend_cert": "own",
    }  # fmt: skip
    shown.serve("web", 1, hosts="a.example b.example", **given)
    snapshot = shown.snapshot()
    for name, value in {**given, "ssl_backend_key": "own", "acme": "", "ssl_backend": ""}.items():
        problem = Problem("web", f"com.docker.lb.{name}", "", "is bad", "mend it")
        assert [*with_values([problem], snapshot)] == [replace(problem, value=value)]
    other = Problem("other", "com.docker.lb.ssl_cert", "", "is bad", "mend it")
    assert [*with_values([other], snapshot)] == [other]


def test_rules_in_the_words_of_the_labels() -> None:
    shown = World()
    given = {
        "https_redirect": "true", "rate_limit": "10/m", "allow": "10.0.0.0/8 fd00::/8", "timeout_server": "90s",
        "cors_origins": "https://x.example", "header_request_X-Team": "shop", "header_response_Server": "",
        "balance": "header:x-user", "max_body_size": "1k",
    }  # fmt: skip
    shown.serve("web", hosts="a.example", **given)
    text = screen(shown)
    assert "a.example / web 1 0 0 rules web" in text
    rules = next(line for line in text.splitlines() if line.startswith("web https_redirect"))
    for part in (
        "allow 10.0.0.0/8 fd00::/8", "rate_limit 10/m", "max_body 1024", "cors https://x.example",
        "request_headers set X-Team", "response_headers remove Server", "balance header:x-user",
        "timeout_server 90s",
    ):  # fmt: skip
        assert part in rules


def test_settings_in_the_document() -> None:
    shown = World()
    given = {"balance": "leastconn", "health_check_path": "/up", "max_fails": "3", "retry_on": "safe"}
    shown.serve("web", hosts="a.example", **given)
    document = json.loads(json.dumps(cluster_document(shown.snapshot())))
    [backend] = document["backends"]
    assert (backend["balance"], backend["retry_on"], backend["tcp"]) == ("least_connections", "safe", False)
    assert backend["check"] == {"path": "/up", "host": "", "statuses": []}
    assert backend["server_settings"] == [{"max_fails": 3, "fail_timeout": 10000}]
    assert backend["shares"] == {"web": 64}
    assert document["config"] == {}


def test_the_first_line_says_when_secrets_are_not_followed() -> None:
    source = {"source": "swarmkit", "connected": True, "secrets_error": "Docker: away"}
    document = {"version": "1", "ready": True, "reason": "", "source": source}
    document |= {"clusters": [], "problems": [], "extensions": []}
    assert "secrets and configs are not followed, the last ones kept: Docker: away" in str(
        next(iter(report(document)))
    )
