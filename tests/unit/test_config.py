"""Interlock's TOML: what it sets, what is only told, and what is refused with line and key."""

from __future__ import annotations

import pytest

from l7.config import AcmeSettings, Cluster, Settings, parse_duration, parse_settings
from l7.host_policy import HostPolicy
from l7.kit.errors import ConfigError
from l7.kit.tls import DEFAULT_CLUSTER

FULL = """\
ListenAddr = ":9090"
dockerurl = "tcp://manager:2376"
TLSCACert = "/ca.pem"
TLSCert = "/cert.pem"
TLSKey = "/key.pem"
AllowInsecure = true
POLLINTERVAL = "1m30s"
EndpointOverride = "10.0.0.1:9090"
WatchSource = "docker"

[Extensions.default]
Networks = ["b", "a", "b"]

[Extensions.east]
ServiceCluster = "east"
"""


def test_defaults() -> None:
    assert parse_settings("") == Settings()
    assert Settings().clusters == {"": Cluster("", "default", None)}


def test_all_keys_in_any_case() -> None:
    assert parse_settings(FULL) == Settings(
        listen_addr=":9090",
        docker_url="tcp://manager:2376",
        tls_ca_cert="/ca.pem",
        tls_cert="/cert.pem",
        tls_key="/key.pem",
        allow_insecure=True,
        poll_interval=90_000,
        endpoint_override="10.0.0.1:9090",
        watch_source="docker",
        clusters={"": Cluster("", "default", ("a", "b")), "east": Cluster("east", "east", None)},
        warnings=(
            "config.toml:6: AllowInsecure: whoever answers at tcp://manager:2376 is believed, whatever its "
            "certificate",
        ),
    )


def test_an_empty_list_of_networks_is_none_given() -> None:
    assert parse_settings("[Extensions.default]\nNetworks = []").clusters[""].networks is None


def test_unknown_keys_are_told() -> None:
    text = """\
Colour = "red"
[Extensions.default]
ProxyReplicaz = 2
Nonsense = 1
[Extensions.default.Config]
User = "x"
"""
    settings = parse_settings(text, "c.toml")
    assert settings.warnings == (
        "c.toml:1: Colour: not a key that l7 knows",
        "c.toml:3: Extensions.default.ProxyReplicaz: not a key that l7 knows: did you mean ProxyReplicas?",
        "c.toml:4: Extensions.default.Nonsense: not a key that l7 knows",
    )


def test_the_extensions_own_table_is_passed_on_as_it_is() -> None:
    text = """\
[Extensions.default.Config]
ErrorPages = {503 = "<p>back soon</p>", 404 = "gone"}
ClientTimeout = 30
HideInfoHeaders = true
Odd-Key = [1.5, "x"]
[Extensions.east]
ServiceCluster = "east"
config = {A = 1}
"""
    settings = parse_settings(text)
    assert settings.clusters[""].config == (
        b'{"ClientTimeout":30,"ErrorPages":{"404":"gone","503":"<p>back soon</p>"},"HideInfoHeaders":true,'
        b'"Odd-Key":[1.5,"x"]}'
    )
    assert settings.clusters["east"].config == b'{"A":1}'
    assert settings.warnings == ()
    assert Cluster().config == b"{}"


def test_the_default_certificate_is_cores_affair_too() -> None:
    text = """\
[Extensions.default.Config]
DefaultCertificate = "wild"
defaultcertificatekey = "wild-key"
"""
    cluster = parse_settings(text).clusters[""]
    assert (cluster.default_certificate, cluster.default_key) == ("wild", "wild-key")
    assert cluster.config == b'{"DefaultCertificate":"wild","defaultcertificatekey":"wild-key"}'
    combined = parse_settings("[Extensions.default.Config]\nDefaultCertificate = 'both'").clusters[""]
    assert (combined.default_certificate, combined.default_key) == ("both", "")


def test_acme() -> None:
    assert parse_settings("").acme is None
    assert parse_settings("[ACME]\nEmail = 'a@example.org'").acme == AcmeSettings(
        "https://acme-v02.api.letsencrypt.org/directory", "a@example.org"
    )
    settings = parse_settings("[acme]\nDirectory = 'https://ca.test/dir'\ncafile = '/ca.pem'\nColour = 1")
    assert settings.acme == AcmeSettings("https://ca.test/dir", "", "/ca.pem")
    assert settings.warnings == ("config.toml:4: ACME.Colour: not a key that l7 knows",)


def test_host_policies() -> None:
    text = """\
LegacyLabels = true
[[HostPolicy]]
Hosts = ["Shop.Example.", "*.shop.example"]
Stacks = ["shop-*"]
"""
    settings = parse_settings(text)
    assert settings.legacy_labels
    assert settings.host_policies == (HostPolicy(("shop.example", "*.shop.example"), stacks=("shop-*",)),)
    more = parse_settings("[[HostPolicy]]\nhosts = ['*']\nservices = ['a', 'b']\nnetworks = ['front']\nColour = 1")
    assert more.host_policies == (HostPolicy(("*",), services=("a", "b"), networks=("front",)),)
    assert more.warnings == ("config.toml:5: HostPolicy.Colour: not a key that l7 knows",)


POLICY = "[[HostPolicy]]\nHosts = ['a']\nStacks = ['x']\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ListenAddr = ", "c.toml:1"),
        ('ListenAddr = ":1"\nPollInterval = [', "c.toml:2"),
        ('ListenAddr = ":1"\n\nListenAddr = ":2"', "c.toml:3"),
        ("PollInterval = 3", "c.toml:1: PollInterval"),
        ('PollInterval = "0s"', "c.toml:1: PollInterval"),
        ('\npollinterval = "fast"', "c.toml:2: pollinterval"),
        ('AllowInsecure = "true"', "c.toml:1: AllowInsecure"),
        ("[ACME]\nDirectory = 'http://ca.test'", "c.toml:2: ACME.Directory"),
        ("ACME = 1", "c.toml:1: ACME"),
        ("[Extensions.a.Config]\nDefaultCertificate = 1", "c.toml:2: Extensions.a.Config.DefaultCertificate"),
        (
            "[Extensions.a.Config]\nDefaultCertificateKey = 'k'",
            "c.toml:2: Extensions.a.Config.DefaultCertificateKey",
        ),
        (
            "[Extensions.a.Config]\nDefaultCertificate = 'a'\ndefaultcertificate = 'b'",
            "c.toml:3: Extensions.a.Config.defaultcertificate",
        ),
        ("ListenAddr = 8080", "c.toml:1: ListenAddr"),
        ('WatchSource = "guess"', "c.toml:1: WatchSource"),
        ('listenaddr = ":1"\nListenAddr = ":2"', "c.toml:2: ListenAddr"),
        ("Extensions = 3", "c.toml:1: Extensions"),
        ("[Extensions]\n", "c.toml:1: Extensions"),
        ("[Extensions]\ndefault = 3\n", "c.toml:2: Extensions.default"),
        ('[Extensions.a]\nNetworks = "net"', "c.toml:2: Extensions.a.Networks"),
        ("[Extensions.a]\nNetworks = [1]", "c.toml:2: Extensions.a.Networks"),
        ("[Extensions.a]\nProxyReplicas = true", "c.toml:2: Extensions.a.ProxyReplicas"),
        ('[Extensions.a]\nServiceCluster = "a b"', "c.toml:2: Extensions.a.ServiceCluster"),
        (f'[Extensions.a]\nServiceCluster = "{DEFAULT_CLUSTER}"', "c.toml:2: Extensions.a.ServiceCluster"),
        (
            '[Extensions.a]\nServiceCluster="x"\n[Extensions.b]\nServiceCluster="x"',
            "c.toml:4: Extensions.b.ServiceCluster",
        ),
        ("[Extensions.a]\n[Extensions.b]\n", "c.toml:2: Extensions.b"),
        ("[Extensions.a]\nConfig = 1", "c.toml:2: Extensions.a.Config"),
        (f"[Extensions.a.Config]\nx = {2**70}", "c.toml:1: Extensions.a.Config"),
        ("LegacyLabels = 1", "c.toml:1: LegacyLabels"),
        ("HostPolicy = 1", "c.toml:1: HostPolicy"),
        ("[HostPolicy]\nHosts = ['a']", "c.toml:1: HostPolicy"),
        ("[[HostPolicy]]\nStacks = ['a']", "c.toml:1: HostPolicy"),
        ("[[HostPolicy]]\nHosts = []\nStacks = ['a']", "c.toml:1: HostPolicy"),
        ("[[HostPolicy]]\nHosts = ['a']", "c.toml:1: HostPolicy"),
        ("[[HostPolicy]]\nHosts = ['a']\nStacks = []", "c.toml:1: HostPolicy"),
        ("[[HostPolicy]]\nHosts = ['a b']\nStacks = ['x']", "c.toml:2: HostPolicy.Hosts"),
        ("[[HostPolicy]]\nHosts = ['http://a']\nStacks = ['x']", "c.toml:2: HostPolicy.Hosts"),
        ("[[HostPolicy]]\nHosts = 'a'\nStacks = ['x']", "c.toml:2: HostPolicy.Hosts"),
        (POLICY + "[[HostPolicy]]\nHosts = 'a'", "c.toml:5: HostPolicy.Hosts"),
        (POLICY + "[[HostPolicy]]\nStacks = ['x']\nHosts = ['a b']\n" + POLICY, "c.toml:6: HostPolicy.Hosts"),
        (POLICY + "[[HostPolicy]]\nStacks = ['x']\n" + POLICY, "c.toml:4: HostPolicy"),
        (2 * POLICY.lower() + "[[ hostpolicy ]]\nhosts = 1", "c.toml:8: HostPolicy.hosts"),
        (POLICY + "[Extensions.a]\n[[HostPolicy]]\nHosts = ['a']", "c.toml:5: HostPolicy"),
        ("HostPolicy = [\n{Hosts = ['a'], Stacks = ['x']},\n{Hosts = ['a']}]", "c.toml:1: HostPolicy"),
        ("[extensions.a]\nservicecluster = 1", "c.toml:2: Extensions.a.servicecluster"),
    ],
)
def test_errors_name_line_and_key(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "c.toml")
    assert caught.value.path.startswith(place)
    assert caught.value.reason


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("3s", 3000),
        ("500ms", 500),
        ("1m30s", 90_000),
        ("1.5s", 1500),
        ("2h", 7_200_000),
        ("1us", 1),
        ("0s", 0),
        ("100000000ns", 100),
    ],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "3", "s", "-3s", "3 s", "3x", "s3", "3s ", "1e3s", "9" * 400 + "h"])
def test_durations_refused(text: str) -> None:
    assert parse_duration(text) is None


def test_ip_hash_is_cores_affair_too() -> None:
    assert parse_settings("[Extensions.default.Config]\niphash = true").clusters[""].ip_hash
    assert not Cluster().ip_hash
    with pytest.raises(ConfigError, match=r"toml:2: Extensions.default.Config.IPHash: must be true or false"):
        parse_settings("[Extensions.default.Config]\nIPHash = 1")
