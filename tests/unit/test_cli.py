"""The `l7` command: help, settings from flags, environment and file, PKI, status."""

from __future__ import annotations

import asyncio
import gc
import json
import stat
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from l7 import __version__, cli, renewal
from l7.deploy import pki
from l7.deploy.init import init
from l7.deploy.secrets import Directory
from l7.deploy.stored import proxy_secret
from l7.kit import http
from l7.kit.errors import ConfigError, L7Error
from l7.kit.metrics import Metrics
from l7.swarm.engine import Address


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.main, arguments, env=env)


def core_options(*arguments: str, env: dict[str, str] | None = None) -> Any:
    """Options that `l7 core` with these arguments would run with."""
    context = click.Context(cli.core)
    with CliRunner().isolation(env=env):
        cli.core.parse_args(context, list(arguments))
    return cli.core_options(context.params)


# ------------------------------------------------------------------------------------------- help


def test_help_teaches_the_first_installation() -> None:
    text = run("--help").output
    for line in ("l7 install", "docker service create", "com.docker.lb.hosts=", "l7 status"):
        assert line in text


@pytest.mark.parametrize(
    "command",
    [
        ("core",), ("status",), ("pki",), ("pki", "init"), ("version",), ("haproxy",), ("install",), ("uninstall",),
        ("upgrade",), ("migrate",), ("config", "apply"),
    ],
)  # fmt: skip
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_upgrade_wants_to_know_where_to() -> None:
    assert "--image NAME, or --rollback" in run("upgrade").output
    assert run("upgrade", "--image", "l7:2", "--rollback").exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("[Extensions.default\n", "l7.toml:1"), ("\n[Extensions.default]\nProxyReplicas = true\n", "l7.toml:3")],
)
def test_a_file_that_core_would_not_take_is_refused_before_docker_is_asked(
    text: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "l7.toml"
    file.write_text(text)
    for command in (("install", "--config", str(file)), ("config", "apply", str(file))):
        result = run(*command, "--docker-url", "unix:///nowhere")
        assert result.exit_code == 1
        assert words in result.output
        assert "nowhere" not in result.output


def test_a_file_says_all_that_options_do(tmp_path: Path) -> None:
    file = tmp_path / "l7.toml"
    file.touch()
    assert "--config" in run("install", "--config", str(file), "--http", "80").output


def test_every_option_of_core_is_an_environment_variable() -> None:
    for parameter in cli.core.params:
        assert isinstance(parameter, click.Option)
        assert parameter.envvar == "L7_" + parameter.opts[0].removeprefix("--").upper().replace("-", "_")
        assert parameter.show_envvar
        assert parameter.help


def test_a_command_loads_no_more_than_it_needs() -> None:
    """`l7 status` and the sidecar begin here, too."""
    code = "import sys, l7.cli; print(*sorted({*sys.modules} & {'acme', 'aiohttp', 'docker', 'grpc', 'l7.daemon'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["grpc"]


def test_version() -> None:
    assert run("version").output == f"l7 {__version__}\n"


# ------------------------------------------------------------------------------------- extensions


@pytest.mark.parametrize("value", ["no.such.module:command", "l7.cli:no_such_thing", "l7.cli:SOCKET"])
def test_an_extension_that_cannot_be_loaded_says_why_and_harms_nobody(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("squid", value, cli.EXTENSIONS)
    monkeypatch.setattr(cli, "entry_points", lambda **select: EntryPoints([entry]).select(**select))
    assert "cannot be loaded" in run("--help").output
    result = run("squid", "run", "--fast")
    assert result.exit_code == 1
    assert "squid" in result.output
    assert value in result.output
    assert run("version").exit_code == 0


# --------------------------------------------------------------------------------- settings of core


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "l7.toml"
    file.write_text('DockerURL = "tcp://file:1"\nPollInterval = "9s"\nListenAddr = "127.0.0.1:1"\n')
    env = {"L7_DOCKER_URL": "tcp://env:1", "L7_LISTEN": "127.0.0.1:2"}
    options = core_options("--config", str(file), "--listen", "127.0.0.1:3", env=env)
    assert options.listen == "127.0.0.1:3"
    assert options.settings.docker_url == "tcp://env:1"
    assert options.settings.poll_interval == 9000


def test_looks_at_everything_have_an_interval() -> None:
    assert core_options("--listen", "127.0.0.1:1").audit == 60
    assert core_options("--listen", "127.0.0.1:1", "--audit-interval", "500ms").audit == 0.5
    with pytest.raises(ConfigError, match="--audit-interval: '0s' is no duration"):
        core_options("--listen", "127.0.0.1:1", "--audit-interval", "0s")


def test_a_port_alone_is_every_address_of_both_families_and_needs_tls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pki init"):
        core_options("--listen", ":8080")
    options = core_options("--listen", ":8080", "--tls-ca", "ca", "--tls-identity", "id")
    assert options.listen == "[::]:8080"


@pytest.mark.parametrize(
    ("arguments", "level"),
    [(("-D", "run", "-c"), "debug"), (("run", "-c"), "info"), (("core", "--config"), "info")],
)
def test_interlocks_own_command_line(
    arguments: tuple[str, ...], level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('ListenAddr = "127.0.0.1:1"\nPollInterval = "9s"\n')
    ran: list[object] = []
    monkeypatch.setattr(cli.logs, "configure", lambda level, format: ran.append(level))

    async def run_core(file: renewal.SettingsFile, stop: asyncio.Event) -> None:
        ran.append(file.options.settings.poll_interval)

    monkeypatch.setattr(renewal, "run", run_core)
    result = run(*arguments, str(file))
    assert (result.exit_code, ran) == (0, [level, 9000]), result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "127.0.0.1:1", "--tls-ca", "ca"),
        ("--listen", "127.0.0.1:1", "--poll-interval", "soon"),
        ("--listen", "127.0.0.1:1", "--poll-interval", "0s"),
        ("--listen", "127.0.0.1:1", "--config", "/no/such/file"),
    ],
)
def test_wrong_settings_are_config_errors(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        core_options(*arguments)


def test_a_config_error_ends_the_command_with_a_message_and_no_traceback() -> None:
    result = run("core", "--listen", "0.0.0.0:1")
    assert result.exit_code == 1
    assert "Error:" in result.output
    assert "Traceback" not in result.output


# -------------------------------------------------------------------------------------------- pki


def test_pki_makes_what_is_missing_and_only_that(tmp_path: Path) -> None:
    directory = tmp_path / "pki"
    assert run("pki", "init", "--directory", str(directory)).exit_code == 0
    first = {file.name: file.read_bytes() for file in directory.iterdir()}
    made = ("l7-ca", "l7-ca-key", "l7-core", "l7-proxy", "l7-extension", "l7-acme-account")
    assert set(first) == {f"{name}.pem" for name in made}
    result = run("pki", "init", "--directory", str(directory))
    assert "nothing to do" in result.output
    result = run("pki", "init", "--directory", str(directory), "--cluster", "blue")
    assert result.output == "made l7-proxy-blue\nmade l7-extension-blue\n"
    second = {file.name: file.read_bytes() for file in directory.iterdir()}
    assert {name: second[name] for name in first} == first


def test_a_name_that_no_certificate_can_have_leaves_nothing_half_made(tmp_path: Path) -> None:
    directory = tmp_path / "pki"
    result = run("pki", "init", "--directory", str(directory), "--name", "bücher.example")
    assert result.exit_code == 1
    assert "Error: --name" in result.output
    assert not directory.exists()


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    init(Directory(tmp_path))
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_identities_name_their_holder_and_are_signed_by_the_ca(tmp_path: Path) -> None:
    init(Directory(tmp_path), ["blue"], ["front.internal"])
    ca = (tmp_path / "l7-ca.pem").read_bytes()
    names = {}
    for file in ("l7-core", "l7-proxy", "l7-proxy-blue", "l7-extension", "l7-extension-blue"):
        pem = (tmp_path / f"{file}.pem").read_bytes()
        assert pki.issued_by(pem, ca)
        alternatives = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        names[file] = {name.value for name in alternatives.value}
    assert names["l7-core"] >= {"l7://core", "core", "l7_core", "tasks.l7_core", "localhost", "front.internal"}
    assert names["l7-proxy"] == {"l7://cluster/default/proxy"}
    assert names["l7-proxy-blue"] == {"l7://cluster/blue/proxy"}
    assert names["l7-extension"] == {"l7://cluster/default/extension", "default.extension.l7.internal"}
    assert names["l7-extension-blue"] == {"l7://cluster/blue/extension", "blue.extension.l7.internal"}
    account = serialization.load_pem_private_key((tmp_path / "l7-acme-account.pem").read_bytes(), None)
    assert isinstance(account, ec.EllipticCurvePrivateKey)
    assert b"PRIVATE KEY" not in ca


def test_two_installations_do_not_trust_each_other() -> None:
    one, two = pki.new_authority(), pki.new_authority()
    assert pki.issued_by(pki.proxy_identity(one, ""), one.certificate)
    assert not pki.issued_by(pki.proxy_identity(one, ""), two.certificate)


def test_a_lost_ca_is_not_replaced_silently(tmp_path: Path) -> None:
    init(Directory(tmp_path))
    (tmp_path / "l7-ca-key.pem").unlink()
    with pytest.raises(ConfigError, match="l7-ca-key"):
        init(Directory(tmp_path), ["blue"])


@pytest.mark.parametrize("cluster", ["a/b", "-a", "a" * 60, "ä"])
def test_a_cluster_name_that_makes_no_secret_is_refused(cluster: str) -> None:
    with pytest.raises(ConfigError):
        proxy_secret(cluster)
    assert proxy_secret("") == proxy_secret("default") == "l7-proxy"


# ----------------------------------------------------------------------------------------- status

DOCUMENT: dict[str, Any] = {
    "version": "1",
    "ready": True,
    "reason": "",
    "source": {"source": "swarmkit", "connected": True},
    "clusters": [
        {
            "name": "",
            "revision": "0123456789abcdef",
            "routes": [
                {
                    "host": "a.example.org",
                    "path": "/",
                    "backend": "web",
                    "strip_path": False,
                    "rules": "",
                    "redirect": None,
                    "canaries": [],
                }
            ],
            "rules": [],
            "backends": [
                {
                    "name": "web",
                    "services": ["web"],
                    "expected": True,
                    "states": {"pending": 1},
                    "shares": {"web": 0},
                    "servers": [],
                }
            ],
            "config": {},
        }
    ],
    "problems": [
        {
            "service": "bad",
            "label": "com.docker.lb.port",
            "value": "[red]x:on:",
            "message": "no number",
            "remedy": "1-65535",
            "fatal": True,
        }
    ],
    "extensions": [],
}


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[str]:
    """Where a core serves DOCUMENT."""
    path = str(tmp_path / "admin.sock")
    async with http.listening(http.Admin(Metrics("core", "1"), lambda: "", lambda: DOCUMENT), "", path):
        yield path


async def test_status_as_json_is_cores_document(socket: str) -> None:
    assert await asyncio.to_thread(cli.fetch_status, socket, Address("")) == DOCUMENT
    result = await asyncio.to_thread(run, "status", "--admin-socket", socket, "--output", "json")
    assert json.loads(result.output) == DOCUMENT


async def test_status_as_table_names_routes_and_problems(socket: str) -> None:
    result = await asyncio.to_thread(run, "status", "--admin-socket", socket)
    assert result.exit_code == 0, result.output
    for text in ("a.example.org", "requests wait", "0123456789ab", "swarmkit", "no number", "[red]x:on:"):
        assert text in result.output


def test_status_without_core_says_so(tmp_path: Path) -> None:
    result = run("status", "--admin-socket", str(tmp_path / "none"), "--docker-url", "")
    assert result.exit_code == 1
    assert "does not run here" in result.output
    with pytest.raises(L7Error):
        cli.fetch_status(str(tmp_path / "none"), Address(""))


def test_status_without_docker_says_so(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        # The Docker SDK leaves a socket to the garbage collector when the daemon is not there.
        warnings.simplefilter("ignore", ResourceWarning)
        result = run("status", "--admin-socket", str(tmp_path / "none"), "--docker-url", f"unix://{tmp_path}/sock")
        code, output = result.exit_code, result.output
        del result
        gc.collect()
    assert code == 1
    assert "Docker" in output
