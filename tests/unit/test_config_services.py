"""What Interlock's TOML says of the two services of a cluster, and what of it l7 does otherwise."""

from __future__ import annotations

from operator import attrgetter

import pytest

from l7.config import parse_settings
from l7.config.core_options import ACME, CORE, HOST_POLICY
from l7.config.extension_options import CLUSTER, EXTENSION
from l7.config.option import Option, Wrong
from l7.config.proxy_options import PROXY
from l7.config.settings import AcmeSettings, Cluster, Settings
from l7.fleet import Port, ProxyOptions, ServiceOptions
from l7.kit.errors import ConfigError

ROWS = (*CORE, *ACME, *HOST_POLICY, *CLUSTER, *EXTENSION, *PROXY)

FULL = """\
[Extensions.edge]
Image = "registry.test:5000/l7:2"
Args = ["-D"]
ServiceName = "edge-extension"
Constraints = ["node.role==worker", "node.labels.com.example.zone != b"]
PlacementPreferences = ["node.labels.rack"]
proxyimage = "registry.test:5000/l7:2-haproxy-3.0"
ProxyArgs = ["--drain-timeout", "30s"]
ProxyServiceName = "edge"
ProxyReplicas = 0
ProxyMode = "global"
ProxyStopSignal = "SIGTERM"
ProxyStopGracePeriod = "1m30s"
ProxyConstraints = ["node.platform.os==linux"]
ProxyPlacementPreferences = ["spread=node.labels.rack"]
ProxyUpdateDelay = "10s"
PublishMode = "host"
PublishedPort = 8080
TargetPort = 1080
PublishedSSLPort = 8443
TargetSSLPort = 1443
  [Extensions.edge.Labels]
    "org.example.b" = "2"
    "org.example.a" = "1"
  [Extensions.edge.ContainerLabels]
    c = "x y"
  [Extensions.edge.ProxyLabels]
    d = ""
  [Extensions.edge.ProxyContainerLabels]
    e = "1"
"""


@pytest.mark.acceptance(5)
def test_every_option_of_the_services() -> None:
    settings = parse_settings(FULL)
    assert settings.warnings == ()
    assert settings.clusters[""] == Cluster(
        extension="edge",
        extension_options=ServiceOptions(
            image="registry.test:5000/l7:2",
            args=("-D",),
            name="edge-extension",
            labels=(("org.example.a", "1"), ("org.example.b", "2")),
            container_labels=(("c", "x y"),),
            constraints=("node.role==worker", "node.labels.com.example.zone != b"),
            preferences=("spread=node.labels.rack",),
        ),
        proxy_options=ProxyOptions(
            image="registry.test:5000/l7:2-haproxy-3.0",
            args=("--drain-timeout", "30s"),
            name="edge",
            labels=(("d", ""),),
            container_labels=(("e", "1"),),
            constraints=("node.platform.os==linux",),
            preferences=("spread=node.labels.rack",),
            replicas=0,
            everywhere=True,
            stop_signal="SIGTERM",
            stop_grace_period=90_000,
            update_delay=10_000,
            publish_mode="host",
            http=Port(8080, 1080),
            tls=Port(8443, 1443),
        ),
    )


@pytest.mark.acceptance(6)
def test_every_key_may_be_left_out() -> None:
    assert parse_settings("[Extensions.default]").clusters == {"": Cluster()} == Settings().clusters
    assert ProxyOptions() == ProxyOptions(
        replicas=2,
        stop_signal="SIGQUIT",
        stop_grace_period=5000,
        update_delay=0,
        publish_mode="ingress",
        http=Port(80, 80),
        tls=Port(443, 443),
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_defaults_of_the_table_are_values(row: Option) -> None:
    assert row.default is None or not isinstance(row.read(row.default), Wrong)


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        (CORE[:10], Settings()),
        (EXTENSION, ServiceOptions()),
        (PROXY, ProxyOptions()),
        (ACME, AcmeSettings()),
    ],
)
def test_the_defaults_of_the_table_are_those_of_the_code(rows: tuple[Option, ...], value: object) -> None:
    for row in rows:
        assert not row.field or row.read(row.default) == attrgetter(row.field)(value), row.key


def test_empty_texts_and_lists_are_as_good_as_none() -> None:
    text = "\n".join(f'{row.key} = ""' for row in (*CLUSTER, *EXTENSION, *PROXY) if row.kind.text)
    settings = parse_settings(f"[Extensions.default]\n{text}\nNetworks = []\nArgs = []")
    assert settings.clusters == {"": Cluster()}
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("image", "replaced"),
    [
        ("docker/ucp-interlock-extension:3.2.5", True),
        ("registry.test:5000/mirantis/UCP-Interlock-Extension@sha256:00", True),
        ("interlock:5000/l7:1", False),
        ("l7:1", False),
    ],
)
def test_an_image_of_interlocks_extension_is_replaced(image: str, replaced: bool) -> None:
    settings = parse_settings(f'[Extensions.default]\nImage = "{image}"\nArgs = ["-D", "--more"]', "c.toml")
    options = settings.clusters[""].extension_options
    assert options == (ServiceOptions(args=("-D",)) if replaced else ServiceOptions(image, ("-D", "--more")))
    assert settings.warnings == (
        (
            "c.toml:2: Extensions.default.Image: l7's own image runs instead: Interlock's extension does not speak "
            "l7's API; Args was for it, and is left out",
        )
        if replaced
        else ()
    )


@pytest.mark.parametrize("image", ["nginx", "nginx:1.25-alpine", "r.test/x/ucp-interlock-proxy:3", "haproxy:3.0"])
def test_an_image_of_another_proxy_is_replaced(image: str) -> None:
    settings = parse_settings(f'[Extensions.default]\nProxyImage = "{image}"\nProxyArgs = ["-g"]', "c.toml")
    assert settings.clusters[""].proxy_options == ProxyOptions()
    (warning,) = settings.warnings
    assert warning.startswith("c.toml:2: Extensions.default.ProxyImage: l7's own image runs instead: ")
    assert warning.endswith("ProxyArgs was for it, and is left out")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('ProxyConfigPath = "/etc/nginx/nginx.conf"', "has no effect: the configuration is made by"),
        ('ConfigImage = "x"', "has no effect: there is no config service"),
        ('configservicename = "x"', "has no effect: there is no config service"),
        ('Constraints = ["node.labels.com.docker.ucp.orchestrator.swarm==true"]', "only MKE labels its nodes"),
    ],
)
def test_what_has_another_effect_is_told_once(line: str, says: str) -> None:
    (warning,) = parse_settings(f"[Extensions.default]\n{line}", "c.toml").warnings
    assert warning.startswith("c.toml:2: Extensions.default.")
    assert says in warning


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('Template = "my-template"', "GlobalOptions"),
        ("ProxyReplicas = -1", "0 or more"),
        ('ProxyReplicas = "2"', "must be a number"),
        ("ProxyReplicas = 2.0", "must be a number"),
        ('ProxyMode = "all"', "replicated, global"),
        ("PublishedPort = 65536", "0 to 65535"),
        ("PublishedPort = 443", "PublishedPort and PublishedSSLPort are both 443"),
        ("TargetSSLPort = 80", "TargetPort and TargetSSLPort are both 80"),
        ("TargetPort = 0", "1 to 65535"),
        ('PublishMode = "mesh"', "ingress, host"),
        ('ProxyStopSignal = "SIGNOPE"', "no signal"),
        ('ProxyStopSignal = "65"', "no signal"),
        ('ProxyStopGracePeriod = "5"', "a duration"),
        ("ProxyStopGracePeriod = 5", "a duration"),
        ('ProxyUpdateDelay = "-1s"', "a duration"),
        ('ProxyUpdateDelay = "99999h"', "a duration"),
        ('ServiceName = "a.b"', "no name of a service"),
        (f'ServiceName = "{"a" * 64}"', "no name of a service"),
        ('ProxyServiceName = "-a"', "no name of a service"),
        ("Labels = ['a']", "must be a table of strings"),
        ("Labels = { 'com.docker.l7.managed' = 'no' }", "l7's own"),
        ('Constraints = ["node.role=manager"]', "with == or !="),
        ('Constraints = ["node.roles==manager"]', "nothing that nodes have"),
        ('Constraints = ["node.role==leader"]', "manager or worker"),
        ('Constraints = ["node.labels.==x"]', "nothing that nodes have"),
        ('Constraints = ["node.hostname==a>b"]', "no value"),
        ('Constraints = ["node.hostname=="]', "no value"),
        ('Constraints = "node.role==manager"', "a list of constraints"),
        ('PlacementPreferences = ["binpack=node.labels.x"]', "no preference"),
        ('ProxyPlacementPreferences = ["node.role"]', "no preference"),
        ('Args = "-D"', "a list of strings"),
        ('HitlessServiceUpdate = "true"', "true or false"),
    ],
)
def test_what_swarm_would_not_take_is_refused(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(f"[Extensions.default]\n{line}", "c.toml")
    assert caught.value.path.startswith(f"c.toml:2: Extensions.default.{line.partition(' ')[0]}")
    assert says in caught.value.reason


@pytest.mark.parametrize("signal", ["SIGQUIT", "quit", "3", "SIGRTMIN+3", "rtmax"])
def test_signals_as_docker_takes_them(signal: str) -> None:
    settings = parse_settings(f'[Extensions.default]\nProxyStopSignal = "{signal}"')
    assert settings.clusters[""].proxy_options.stop_signal == signal


def test_ports_of_swarms_choice_may_be_equal() -> None:
    options = parse_settings("[Extensions.a]\nPublishedPort = 0\nPublishedSSLPort = 0").clusters[""].proxy_options
    assert (options.http, options.tls) == (Port(0, 80), Port(0, 443))


@pytest.mark.parametrize("key", ["Labels", "ProxyContainerLabels"])
def test_a_bad_label_is_named_with_its_line(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(f'[Extensions."my.edge"]\n[Extensions."my.edge".{key}]\na = "1"\n"b.c" = 2', "c.toml")
    assert str(caught.value) == f"c.toml:4: Extensions.my.edge.{key}.b.c: must be a string, not 2"


def test_no_two_services_of_one_name() -> None:
    text = """\
[Extensions.a]
ServiceName = "x"
[Extensions.b]
ServiceCluster = "b"
ProxyServiceName = "x"
"""
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "c.toml")
    assert str(caught.value) == "c.toml:5: Extensions.b.ProxyServiceName: 'x' is Extensions.a.ServiceName already"


def test_usual_names_count_too() -> None:
    with pytest.raises(ConfigError, match=r"Extensions.b.ServiceName: 'l7-proxy' is Extensions.a.ProxyServiceName"):
        parse_settings('[Extensions.a]\n[Extensions.b]\nServiceCluster = "b"\nServiceName = "l7-proxy"')
    with pytest.raises(ConfigError, match=r"'l7-extension-a.b' is no name of a service: give ServiceName, too"):
        parse_settings('[Extensions.a]\nServiceCluster = "a.b"')
    named = 'ServiceCluster = "a.b"\nServiceName = "x"\nProxyServiceName = "y"'
    assert parse_settings(f"[Extensions.a]\n{named}").clusters["a.b"].proxy_options.name == "y"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('DockerURL = "manager:2376"', "DockerURL: 'manager:2376' is no address"),
        ('DockerURL = "tcp://m:1"\nTLSCACert = "c"\nTLSCert = "a"', "TLSCert: needs TLSKey"),
        ('DockerURL = "tcp://m:1"\nTLSKey = "a"', "TLSKey: needs TLSCert"),
        ('TLSCACert = "a"', "TLSCACert: is for an Engine API over TLS"),
        ('EndpointOverride = "10.0.0.1"', "EndpointOverride: '10.0.0.1' is no address"),
        ("[[Extensions]]\nName = 'nginx'", "Extensions: tables by name"),
    ],
)
def test_what_cannot_be_of_core(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_settings(text)
