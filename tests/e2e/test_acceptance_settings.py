"""What operators set in the TOML file, on a real Swarm: acceptance item 98, old labels, whose host is whose."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from testbed import app, processes
from testbed.system import LABEL, toml
from tests.e2e.answers import Answer
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, carried

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

SETTINGS = """
[Extensions.default.Config]
HideInfoHeaders = true
TrustedProxies = ["10.213.0.0/24"]
TCPPorts = "20000-20003"

[[HostPolicy]]
Hosts = ["*.reserved.local"]
Services = ["owner*"]
"""
INFORMATION = {"x-request-id", "x-proxy-id", "x-server-info", "x-upstream-addr", "x-upstream-response-time"}


@pytest.fixture(scope="module", autouse=True)
def configured(installation: Installation) -> Iterator[None]:
    """Core with these settings; one reload of each proxy there, and one back, and no failed request."""
    l7 = installation
    file = l7.swarm.directory / "config.toml"
    file.write_text(f"LegacyLabels = true\n{toml(l7.settings())}{SETTINGS}")
    l7.cli("config", "create", "l7-settings", str(file))
    given = ("--config-add=source=l7-settings,target=/l7.toml", "--env-add=L7_CONFIG=/l7.toml")
    with l7.load(WITNESS) as reports:
        change(l7, *given)
        yield
        change(l7, "--config-rm=l7-settings", "--env-add=L7_CONFIG=/config.toml")
    assert carried(reports)
    l7.cli("config", "rm", "l7-settings")


def change(l7: Installation, *options: str) -> None:
    """Gives core other settings; each proxy has them with one reload more."""
    wanted = [reloads + 1 for _, reloads in l7.workers()]
    l7.restart_core(*options)
    l7.until("the reload", lambda: [reloads for _, reloads in l7.workers()] == wanted)
    l7.converged()


def told(answer: Answer) -> dict[str, str]:
    """The headers of the request that the application saw."""
    return {name.lower(): value for name, value in orjson.loads(answer.body)["headers"]}


@pytest.mark.acceptance(98)
def test_headers_are_hidden_and_trusted_proxies_believed(l7: Installation) -> None:
    sent = {"X-Request-ID": "request-98", "X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
    for proxy, answer in enumerate(l7.ask(WITNESS, "/echo", headers=sent)):
        seen = told(answer)
        assert not answer.headers.keys() & INFORMATION
        assert (seen["x-request-id"], seen["x-real-ip"]) == ("request-98", "198.51.100.7")
        assert seen["x-forwarded-proto"] == "https"
        logged(l7, proxy, "request-98")
    for answer in l7.ask("nobody98.local"):
        assert not answer.headers.keys() & INFORMATION
        assert answer.error == "unknown-host"


def logged(l7: Installation, proxy: int, request: str) -> None:
    """Waits until the proxy's log has this request."""
    l7.until(f"{request} in the log", lambda: f'"request_id":"{request}"' in l7.log_of(l7.services[proxy]))


def test_labels_of_old_are_understood(l7: Installation, create: Create) -> None:
    """Those of Interlock 1, on containers, and those of UCP's routing mesh."""
    one = {"hostname": "one", "domain": "legacy.local", "alias_domain.1": "alias.local", "port": str(app.PORT)}
    one |= {"context_root": "/app", "context_root_rewrite": "", "ssl_cert": "one.pem"}
    create("one", "", 1, *(f"--container-label=interlock.{key}={value}" for key, value in one.items()))
    route = f"external_route=http://mesh.local,internal_port={app.PORT},sticky_sessions=session"
    mesh = {"mesh.http": route, "mesh.http.2": "external_route=http://old.local,redirect=http://mesh.local"}
    create("mesh", "", 3, *(f"--label=com.docker.ucp.{key}={value}" for key, value in mesh.items()))
    for name, replicas in (("one", 1), ("mesh", 3)):
        l7.running(name, replicas)
    for host in ("one.legacy.local", "alias.local"):
        answers = l7.answered(host, "/app/echo")
        assert {orjson.loads(each.body)["request"] for each in answers} == {"GET /echo HTTP/1.1"}
    problem = l7.problem("one")
    assert problem["label"] == f"{LABEL}ssl_cert"
    assert "one.pem" in problem["value"] + problem["message"], "the secret is called as the file was"
    l7.reach("mesh.local", l7.task_ids("mesh"))
    assert len({each.instance for each in l7.ask("mesh.local", times=9, headers={"Cookie": "session=1"})}) == 1
    redirected = l7.answered("old.local", "/x?y", status=302)
    assert {each.headers["location"] for each in redirected} == {"http://mesh.local/x?y"}


def test_a_host_that_others_may_claim(l7: Installation, create: Create) -> None:
    """The rest of what the service asks for is done."""
    create("owner", "a.reserved.local")
    create("stranger", "b.reserved.local,free.local")
    l7.published("owner", "a.reserved.local")
    l7.published("stranger", "free.local")
    problem = l7.problem("stranger", "hosts")
    assert "b.reserved.local" in problem["message"] + problem["value"]
    assert "HostPolicy" in problem["message"] + problem["remedy"]
    l7.refused("b.reserved.local")
    l7.solved("owner")


def reached(l7: Installation, port: int, name: str) -> None:
    """Waits until each proxy leads from this port of its own to a task of the service."""
    (task,) = l7.task_ids(name)
    proxies = range(len(l7.series))

    def all_lead_there() -> bool:
        return all(task.encode() in processes.get_tcp(l7.proxy_pid(proxy), port, "/") for proxy in proxies)

    l7.until(f"{name} on port {port}", all_lead_there)


def test_raw_tcp_on_a_declared_port(l7: Installation, create: Create) -> None:
    create("tcp", labels={"tcp_port": "20001", "port": str(app.PORT)})
    l7.running("tcp", 1)
    reached(l7, 20001, "tcp")
    l7.solved("tcp")


@pytest.mark.acceptance(99)
def test_raw_tcp_on_any_other_takes_one_reload(installation: Installation) -> None:
    """For the first service that wants the port; going, and coming back, takes none."""
    l7 = installation
    before = [reloads for _, reloads in l7.workers()]
    with l7.load(WITNESS) as reports:
        for _ in range(2):
            l7.create("undeclared", labels={"tcp_port": "5432", "port": str(app.PORT)})
            l7.running("undeclared", 1)
            reached(l7, 5432, "undeclared")
            l7.remove("undeclared")
            l7.until("it to be forgotten", lambda: ":5432" not in l7.hosts())
            l7.converged()
    assert carried(reports)
    assert [reloads for _, reloads in l7.workers()] == [each + 1 for each in before]
    for proxy in range(len(l7.series)):
        metrics = l7.proxy_metrics(proxy)
        assert metrics['l7_reloads_total{reason="first-use"}'] == 1
        assert metrics['l7_last_reload_success{reason="first-use"}'] == 1
