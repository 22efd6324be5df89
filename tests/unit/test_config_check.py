"""`l7 config check`: what a file means, and all that is doubtful in it, with line and key."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from haproxy.config_check import check
from l7 import cli, config_check
from l7.config import examine, parse_settings

DATA = Path(__file__).parents[1] / "data/interlock"
FILES = sorted(DATA.glob("*.toml"))

WRONG = """\
PollInterval = 3
Colour = 1
dockerurl = "x"
[Extensions.a]
ProxyReplicas = -1
PublishedPort = 443
[Extensions.a.Labels]
x = 1
y = 2
[Extensions.a.Config]
ReadTimeout = "soon"
[Extensions.b]
ServiceCluster = "b"
ProxyServiceName = "l7-proxy"
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["config", "check", *map(str, arguments)])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_interlocks_own_files_run_unchanged(file: Path) -> None:
    settings, errors = examine(file.read_text(), file.name)
    assert errors == ()
    assert settings == parse_settings(file.read_text(), file.name)
    result = run(file)
    assert (result.exit_code, "error" in result.output) == (0, False)
    assert run("--strict", "--quiet", file).exit_code == 1


def test_what_interlocks_own_file_means() -> None:
    settings = parse_settings((DATA / "default.toml").read_text())
    cluster = settings.clusters[""]
    proxies = cluster.proxy_options
    assert (proxies.name, proxies.http.published, proxies.tls.published) == ("ucp-interlock-proxy", 8090, 8453)
    assert proxies.constraints == (
        "node.labels.com.docker.ucp.orchestrator.swarm==true",
        "node.platform.os==linux",
    )
    assert (cluster.extension_options.image, proxies.image) == ("", "")
    assert cluster.networks is None
    east, west = parse_settings((DATA / "clusters.toml").read_text()).clusters.values()
    assert (east.name, west.name) == ("us-east", "us-west")
    assert east.proxy_options.publish_mode == west.proxy_options.publish_mode == "host"
    assert west.proxy_options.preferences == ("spread=node.labels.rack",)
    host = parse_settings((DATA / "host.toml").read_text())
    assert host.endpoint_override == "192.0.2.17:8080"
    docker = parse_settings((DATA / "tls-docker.toml").read_text())
    assert (docker.tls_ca_cert, docker.poll_interval) == ("/certs/ca.pem", 10_000)
    assert docker.clusters[""].networks == ("apps", "intern")


def test_all_that_is_wrong_is_told_with_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(WRONG)
    result = run("--quiet", file)
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert [": ".join(line.removeprefix(f"error: {file}:").split(": ")[:2]) for line in errors] == [
        "1: PollInterval",
        "3: dockerurl",
        "5: Extensions.a.ProxyReplicas",
        "6: Extensions.a.PublishedPort",
        "8: Extensions.a.Labels.x",
        "9: Extensions.a.Labels.y",
        "14: Extensions.b.ProxyServiceName",
    ]
    assert f"warning: {file}:2: Colour: not a key that l7 knows" in result.output
    assert f"warning: {file}:11: Extensions.a.Config.ReadTimeout: is no time" in result.output
    assert "7 errors, 2 warnings" in result.output


def test_bad_syntax_is_told_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("A = 1\nB = [")
    result = run(file)
    assert result.exit_code == 1
    assert f"error: {file}:2: " in result.output
    assert run(tmp_path / "none.toml").exit_code == 1


def test_the_deliberate_difference_is_told(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    for text, told in (("", True), ("[Extensions.a]\nhitlessserviceupdate = true", False)):
        file.write_text(text)
        result = run("--strict", file)
        assert result.exit_code == 0
        assert ("note: HitlessServiceUpdate is not given: true" in result.output) is told
        assert "nothing is doubtful" in result.output


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_eighty_columns_are_enough(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_check, "console", lambda: Console(width=80, highlight=False))
    output = run(file).output
    tables = [line for line in output.splitlines() if not line.startswith(("warning: ", "note: "))]
    assert max(map(len, tables)) <= 80
    assert "…" not in output
    assert "ProxyReplicas" in output


def test_effective_values_are_written_as_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'PollInterval = "90s"\n[Extensions.a]\nServiceCluster = "x"\nProxyMode = "global"\n'
        'ProxyUpdateDelay = "1500ms"\n'
        '[Extensions.a.ProxyLabels]\n"a.b" = "c"\n[Extensions.a.Config]\nReadTimeout = 90\n'
        '[ACME]\nEmail = "a@b"\n[[HostPolicy]]\nHosts = ["h"]\nStacks = ["s"]\n'
    )
    lines = [line for line in run(file).output.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    found = {key: (value, default) for key, value, default in rows}
    assert found["PollInterval"] == ('"90s"', "")
    assert found["ProxyMode"] == ('"global"', "")
    assert found["ProxyUpdateDelay"] == ('"1500ms"', "")
    assert found["ProxyLabels"] == ('{ "a.b" = "c" }', "")
    assert found["ProxyServiceName"] == ("l7-proxy-x", "default")
    assert found["ProxyStopGracePeriod"] == ('"5s"', "default")
    assert found["ServerTimeout"] == ("90", "")
    assert found["Email"] == ('"a@b"', "")
    assert found["Hosts"] == ("h", "")


def test_extensions_say_what_their_table_means() -> None:
    assert [entry.load() for entry in entry_points(group=config_check.CHECKS, name="haproxy")] == [check]
    checked = check(b'{"Nonsense": 1}', ())
    assert [each.key for each in checked.complaints] == ["Nonsense"]
    assert checked.refusals == ()
    assert ("MaxConnections", "20000", False) in checked.settings
