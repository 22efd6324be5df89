"""What is rendered is taken by HAProxy without a complaint, at any size, and logs what it should."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from haproxy import policy
from haproxy.cli import render
from haproxy.model import Backend, Desired, Route, Server
from haproxy.process import Process
from haproxy.render import render_files, render_static, static_files
from haproxy.settings import LUA, MAPS, Settings
from l7.kit.errors import Rejected
from tests.integration.live_haproxy import application, await_true, capabilities_of, request, running, write_files

pytestmark = pytest.mark.haproxy

ADVICE = ("as root", "the root user", "no SSL certificate specified")
"""3.4 warns of a start as root; how it is started is no matter of the configuration. All warn of a TLS listener
without a certificate, which gets its own while it runs."""


def complaints(binary: Path, *files: Path) -> list[str]:
    """Warnings and alerts of `haproxy -c`."""
    done = subprocess.run(
        [binary, "-c", *(word for file in files for word in ("-f", str(file)))], capture_output=True, text=True
    )
    lines = (done.stdout + done.stderr).splitlines()
    found = [line for line in lines if "WARNING" in line or "ALERT" in line]
    found = [line for line in found if not any(advice in line for advice in ADVICE)]
    return found if found or done.returncode == 0 else lines


def desired(backends: int, paths: int) -> Desired:
    made = {
        f"app-{n}": Backend(
            f"app-{n}", servers={"t": Server("t", 1, "10.0.0.1", 80), "u": Server("u", 2, "::1", 80)}
        )
        for n in range(backends)
    }
    routes = [Route(f"h{n}.test", f"/p{m}", f"app-{n}", m % 2 == 0) for n in range(backends) for m in range(paths)]
    return Desired("r", made, {(route.host, route.path): route for route in routes})


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(threads=2, hide_info_headers=True, bind=(":80", "[::1]:81"))]
)
def test_a_configuration_has_no_complaint(haproxy_binary: Path, tmp_path: Path, settings: Settings) -> None:
    able, wanted = capabilities_of(haproxy_binary), desired(20, 3)
    settings = replace(settings, run_dir=str(tmp_path))
    placement = policy.place(settings, able, wanted.backends)
    write_files(tmp_path, render_files(settings, able, wanted, placement, ()))
    assert complaints(haproxy_binary, tmp_path / "haproxy.cfg") == []


def test_fifty_thousand_routes(haproxy_binary: Path, tmp_path: Path) -> None:
    able, wanted = capabilities_of(haproxy_binary), desired(1000, 50)
    settings = Settings(run_dir=str(tmp_path), spare_backends=1000)
    files = render_files(settings, able, wanted, policy.place(settings, able, wanted.backends), ())
    assert files["routes.map"].count(b"\n") == 51_000
    write_files(tmp_path, files)
    assert complaints(haproxy_binary, tmp_path / "haproxy.cfg") == []


THEIRS = """\
global
  log stdout format raw local0
  maxconn 99

frontend stats
  mode http
  timeout client 1s
  bind 127.0.0.1:1
  http-request return status 200
"""


def test_the_static_part_fits_into_a_configuration_of_somebody_else(haproxy_binary: Path, tmp_path: Path) -> None:
    able, settings = capabilities_of(haproxy_binary), Settings(run_dir=str(tmp_path))
    static = {"theirs.cfg": THEIRS.encode(), "l7.cfg": render_static(settings, able).encode()}
    write_files(tmp_path, static | static_files(settings, able))
    assert complaints(haproxy_binary, tmp_path / "theirs.cfg", tmp_path / "l7.cfg") == []


def test_each_request_is_logged_as_a_line_of_json(haproxy_binary: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    with application("web") as port:
        web = Backend("web", servers={"task": Server("task", 1, "127.0.0.1", port)})
        wanted = Desired("r", {"web": web}, {("a.test", "/"): Route("a.test", "/", "web")})
        with running(haproxy_binary, tmp_path, wanted) as proxy:
            answer = request(proxy.address, '/x"y\\z?secret', "host: A.test")
            request(proxy.address, "/", 'host: b"ad')
            request(proxy.address, "/" + '"' * 3000, "host: unknown.test")
            await_true(lambda: len(lines()) == 3, "three lines")
    second, third, first = sorted(lines(), key=lambda line: (str(line["service"]), int(str(line["status"]))))
    assert (first["status"], first["service"], first["host"]) == (200, "web", "a.test")
    assert str(first["server"]).startswith("task.")
    assert first["path"] == '/x"y\\z'
    assert first["request_id"] == answer.headers["x-request-id"]
    assert (second["status"], second["service"]) == (400, "-")
    assert (third["status"], len(str(third["path"]))) == (503, 2048)


async def test_a_bad_configuration_is_refused_in_haproxys_own_words(haproxy_binary: Path, tmp_path: Path) -> None:
    settings = Settings(run_dir=str(tmp_path))
    (tmp_path / "haproxy.cfg").write_text("defaults\n  mode http\n  timeout conect 1s\n")
    with pytest.raises(Rejected) as refused:
        await Process(settings, str(haproxy_binary)).check()
    assert "timeout conect" in str(refused.value) or "'conect'" in str(refused.value), refused.value
    assert "NOTICE" not in str(refused.value)


def test_what_somebody_elses_haproxy_needs_is_written(haproxy_binary: Path, tmp_path: Path) -> None:
    arguments = ["--static", "--binary", str(haproxy_binary), "--run-dir", str(tmp_path)]
    (tmp_path / "routes.map").write_text("a.test/ web|\n")
    trusted = ["--trusted-proxies", "10.0.0.0/8, 192.0.2.1", "--proxy-protocol"]
    words = ["--prepare", "--tcp-ports", "7000-7001", *trusted]
    done = CliRunner().invoke(render, [*arguments, *words])
    assert done.exit_code == 0, done.output
    assert {each.name for each in tmp_path.iterdir()} == {LUA, "tls", *MAPS}
    assert (tmp_path / "routes.map").read_text() == "a.test/ web|\n"
    assert "bind :7001 id 7001" in done.output
    assert "expect-proxy layer4 if { src 10.0.0.0/8 192.0.2.1/32 }" in done.output
    write_files(tmp_path, {"theirs.cfg": THEIRS.encode(), "l7.cfg": done.stdout.encode()})
    assert complaints(haproxy_binary, tmp_path / "theirs.cfg", tmp_path / "l7.cfg") == []
