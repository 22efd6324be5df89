"""`l7 migrate`: what services with old labels are given, and Interlock 1's settings in today's words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from l7 import cli
from l7.config import parse_settings
from l7.deploy import interlock1
from l7.deploy.migration import Migration, migration, migrations
from l7.kit.errors import ConfigError
from l7.labels.table import PREFIX
from l7.model import Service, ServiceSpec

MESH = "com.docker.ucp.mesh.http"
SECRETS = frozenset({"shop.pem"})


def service(labels: dict[str, str], containers: dict[str, str] | None = None, name: str = "web") -> Service:
    spec = ServiceSpec(
        labels=tuple(sorted(labels.items())), container_labels=tuple(sorted((containers or {}).items()))
    )
    return Service(id=f"id-{name}", version=1, name=name, created=0, spec=spec, previous=None)


def migrated(labels: dict[str, str], containers: dict[str, str] | None = None) -> Migration:
    found = migration(service(labels, containers), SECRETS)
    assert found is not None
    return found


def test_interlock_1_on_service_and_containers() -> None:
    found = migrated(
        {"interlock.hostname": "shop", "interlock.domain": "example.org", "team": "a"},
        {"interlock.port": "8080", "interlock.context_root": "/a b", "other": "x"},
    )
    assert found.added == (
        (PREFIX + "context_root", "/a b", "interlock.context_root"),
        (PREFIX + "hosts", "shop.example.org", "interlock.hostname"),
        (PREFIX + "port", "8080", "interlock.port"),
    )
    assert found.old == ("interlock.domain", "interlock.hostname")
    assert found.old_on_containers == ("interlock.context_root", "interlock.port")


def test_what_is_applied_is_what_the_command_says() -> None:
    found = migrated({MESH + ".1": "external_route=http://a.x,internal_port=80", "team": "a b"})
    spec = {"Name": "web", "Labels": {MESH + ".1": "x", "team": "a b"}, "Mode": {"Replicated": {"Replicas": 3}}}
    new = {PREFIX + "hosts": "a.x", PREFIX + "port": "80"}
    assert found.applied(spec, False) == spec | {"Labels": spec["Labels"] | new}
    assert found.applied(spec, True) == spec | {"Labels": {"team": "a b"} | new}
    assert found.command(True).replace("\\\n ", "").split() == [
        "docker", "service", "update", "--detach", "--label-add", f"{PREFIX}hosts=a.x",
        "--label-add", f"{PREFIX}port=80", "--label-rm", f"{MESH}.1", "web",
    ]  # fmt: skip
    assert "--label-rm" not in found.command(False)


def test_a_value_with_blanks_is_one_word_of_the_command() -> None:
    old = {"interlock.hostname": "a", "interlock.port": "80", "interlock.websocket_endpoint": "/a'b c"}
    assert f"""--label-add '{PREFIX}websocket_endpoints=/a'"'"'b c'""" in migrated(old).command(False)


def test_what_was_done_is_not_done_again() -> None:
    old = {MESH: "external_route=http://a.x,internal_port=80"}
    first = migrated(old)
    again = migrated(first.applied({"Labels": old}, False)["Labels"])
    assert (again.added, again.problems) == ((), ())
    assert not again.wants(remove_old=False)
    assert again.wants(remove_old=True)
    assert migration(service(first.applied({"Labels": old}, True)["Labels"]), SECRETS) is None


def test_labels_of_today_stay_as_they_are() -> None:
    found = migrated({MESH: "external_route=http://a.x,internal_port=80", PREFIX + "hosts": "b.x"})
    assert found.added == ((PREFIX + "port", "80", MESH),)
    assert [(each.label, each.fatal) for each in found.problems] == [(MESH, False)]


def test_what_would_not_be_routed_is_left_as_it_is() -> None:
    found = migrated({"interlock.hostname": "a b;", "interlock.port": "80"})
    assert found.blocked
    assert not found.wants(remove_old=True)
    assert [(each.label, each.service, each.fatal) for each in found.problems] == [
        ("interlock.hostname", "web", True)
    ]


def test_a_file_that_is_no_secret_yet_is_told() -> None:
    old = {"interlock.hostname": "a", "interlock.port": "80", "interlock.ssl": "", "interlock.ssl_cert": "shop.pem"}
    assert migrated(old).problems == ()
    [problem] = migrated(old | {"interlock.ssl_cert_key": "shop.key"}).problems
    assert (problem.label, problem.value, problem.fatal) == (PREFIX + "ssl_key", "shop.key", False)
    assert "docker secret create shop.key" in problem.remedy


def test_only_services_with_old_labels_by_name() -> None:
    mesh = {MESH: "external_route=http://a.x,internal_port=80"}
    services = [service(mesh, name="b"), service(mesh, name="a"), service({PREFIX + "hosts": "c"}, name="c")]
    own = service({"interlock.ext.name": "haproxy"}, name="interlock")
    assert [each.service for each in migrations([*services, own], SECRETS)] == ["a", "b"]


# ---------------------------------------------------------------- settings of Interlock 1

ONE = """
ListenAddr = ":8080"
DockerURL = "tcp://127.0.0.1:2376"
TLSCACert = "/certs/ca.pem"
AllowInsecure = false
EnableMetrics = true
PollInterval = "3s"

[[Extensions]]
Name = "haproxy"
ConfigPath = "/usr/local/etc/haproxy/haproxy.cfg"
PidPath = ""
BackendOverrideAddress = ""
ConnectTimeout = 5000
ServerTimeout = 10500
ClientTimeout = 10000
MaxConn = 2048
Port = 8080
SSLPort = 8443
SyslogAddr = "127.0.0.1:514"
AdminUser = "admin"
AdminPass = "a\\"b"
SSLCertPath = "/certs"
SSLServerVerify = "none"
SSLProtocols = "SSLv3 TLSv1.2"
DHParamPath = "/dh.pem"

[[Extensions]]
Name = "nginx"
Port = 80

[[Extensions]]
Name = "beacon"
StatsInterval = "30s"
"""


def test_interlock_1s_settings_in_todays_words() -> None:
    written, doubts = interlock1.translate(ONE, "old.toml")
    assert tomllib.loads(written) == {
        "DockerURL": "tcp://127.0.0.1:2376",
        "TLSCACert": "/certs/ca.pem",
        "PollInterval": "3s",
        "Extensions": {
            "default": {
                "PublishedPort": 8080,
                "PublishedSSLPort": 8443,
                "Config": {
                    "ConnectTimeout": 5,
                    "ServerTimeout": 11,
                    "ClientTimeout": 10,
                    "MaxConnections": 2048,
                    "AdminUser": "admin",
                    "AdminPass": 'a"b',
                    "SSLVerify": "none",
                    "SSLProtocols": "SSLv3 TLSv1.2",
                    "SSLDefaultDHParamPath": "/dh.pem",
                },
            }
        },
    }
    for word in ("ListenAddr", "EnableMetrics", "Beacon", "ConfigPath", "10500", "SyslogAddr", "'nginx'", "SSLv3"):
        assert [doubt for doubt in doubts if word in doubt], word
    assert not [doubt for doubt in doubts if "PidPath" in doubt or "BackendOverride" in doubt]
    assert "default" in {each.extension for each in parse_settings(written).clusters.values()}


def test_nginxs_times_were_seconds_already() -> None:
    text = '[[Extensions]]\nName = "nginx"\nProxyReadTimeout = 600\nProxyConnectTimeout = 5\nUser = "www-data"\n'
    written, doubts = interlock1.translate(text, "old.toml")
    config = tomllib.loads(written)["Extensions"]["default"]["Config"]
    assert config == {"ReadTimeout": 600, "ConnectTimeout": 5, "User": "www-data"}
    assert len(doubts) == 1


@pytest.mark.parametrize("text", ["[[Extensions]", "[Extensions.default]\nProxyReplicas = 2\n", ""])
def test_what_is_not_interlock_1s_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"old\.toml"):
        interlock1.translate(text, "old.toml")


def test_the_command_prints_the_file_and_tells_doubts_apart(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text(ONE)
    result = CliRunner().invoke(cli.main, ["migrate", "--config", str(file)])
    assert result.exit_code == 0, result.output
    assert tomllib.loads(result.stdout) == tomllib.loads(interlock1.translate(ONE, "x")[0])
    assert "doubt: haproxy: SyslogAddr" in result.stderr
    assert CliRunner().invoke(cli.main, ["migrate", "--config", str(tmp_path / "none")]).exit_code == 1
