"""The demo from its arguments to its end: ``python -m examples.demo``."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from docker.errors import DockerException
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from benchmarks.scenario.clock import Clock
from examples.demo.board import Board
from examples.demo.guest import Guest
from examples.demo.parts import (
    REPOSITORY,
    Signals,
    check_machine,
    clients,
    forwarder,
    run_child,
    worker,
    workspace,
)
from examples.demo.screen import Screen
from examples.demo.story import HOST, METHOD, SHOP_PATH, Facts, Story, delays, summary
from testbed.namespace import TestbedError
from testbed.swarm import Swarm
from testbed.system import Options, System

INTRODUCTION = """\
l7, live: a Docker Swarm, HAProxy in front of it, and 300 requests per second while services come, grow and change.
Takes about a minute; Ctrl-C ends it at any time and leaves nothing behind.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…",
        description="l7 live: a service is served, scaled, updated and joined by another, under constant traffic; "
        "on a Swarm of the demo's own, which is removed at the end.",
    )
    parser.add_argument("--once", action="store_true", help="end after the summary; status 1 if anything failed")
    parser.add_argument("--quick", action="store_true", help="without the pauses that are there for the reader")
    parser.add_argument("--port", type=int, default=8080, help="port of this machine's loopback for curl (8080)")
    parser.add_argument("--haproxy", default="2.6", help="HAProxy's series: 2.6 (Debian's own), 3.0, 3.2 or 3.4")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second (300)")
    parser.add_argument("--plain", action="store_true", help="lines only, as when the output is no terminal")
    parser.add_argument(
        "--use-swarm",
        action="store_true",
        help="on the Swarm whose manager this machine is, instead of one of its own; what is made there is removed "
        "at the end (docs/operations.md)",
    )
    return parser.parse_args()


class Demo:
    """One run. `stack` undoes, in order, what was done."""

    def __init__(self, options: argparse.Namespace, screen: Screen, stack: ExitStack, directory: Path) -> None:
        self.options = options
        self.screen = screen
        self.stack = stack
        self.directory = directory
        self.board = Board()
        self.outcome: bool | None = None
        """Whether nothing failed, once that is known."""

    def run(self) -> None:
        """All of it, until Ctrl-C or, with ``--once``, the summary."""
        listener = check_machine(self.options.port, self.options.use_swarm)
        self.screen.say(Text(INTRODUCTION, style="bold"))
        with self.screen:
            swarm = self._swarm()
            system = self._system(swarm)
            if listener is not None:
                self.stack.enter_context(forwarder(swarm, listener, self._url(system)))
            facts = self._story(system)
        self._sum_up(facts)
        docker = self._short_name(swarm)
        self._show_status(docker)
        self.outcome = not facts.wrong
        if not self.options.once:
            self._stay(docker)

    def _short_name(self, swarm: Swarm) -> str:
        """The Engine's URL, short enough to be copied."""
        link = self.directory / "docker.sock"
        link.symlink_to(swarm.node().socket)
        return f"unix://{link}"

    def _swarm(self) -> Swarm:
        series = [] if self.options.haproxy == "2.6" else [self.options.haproxy]
        with self.screen.step("building the image l7:dev (a minute the first time)") as notes:
            run_child([sys.executable, "-m", "testbed.image", *(series or ["2.6"])], self.directory)
            notes.append("the image l7:dev is built, from Debian packages")
        if self.options.use_swarm:
            return self.stack.enter_context(Guest(self.directory))
        os.environ["L7_TESTBED_DIR"] = str(self.directory)
        with self.screen.step("starting a Swarm of one node") as notes:
            swarm = self.stack.enter_context(Swarm.up())
            notes.append("a Swarm of one node runs, apart from all else on this machine")
        return swarm

    def _system(self, swarm: Swarm) -> System:
        with self.screen.step("deploying l7: pki init, docker stack deploy -c deploy/stack.yml l7") as notes:
            options = Options(haproxy=self.options.haproxy)
            if self.options.use_swarm:
                options = replace(options, port=self.options.port, tls_port=self.options.port + 363)
            system = self.stack.enter_context(System.up(swarm, options))
            notes.append(
                f"l7 runs there as a stack: core, and a proxy with HAProxy {system.proxy_status().version}"
            )
        return system

    def _url(self, system: System) -> str:
        return f"http://127.0.0.1:{self.options.port}" if self.options.use_swarm else system.url()

    def _story(self, system: System) -> Facts:
        board, before = self.board, worker(system)
        extra = system.swarm.constraints if isinstance(system.swarm, Guest) else ()
        story = Story(system, self.screen, board, 0.5 if self.options.quick else 4.0, extra)
        with ExitStack() as stack:
            clock = (
                stack.enter_context(Clock(system.swarm)) if system.swarm.node().control_socket.exists() else None
            )
            process = stack.enter_context(clients(system.swarm, self._url(system), self.options.rate, board))
            self.screen.board = board
            story.tell()
            assert process.stdin is not None
            process.stdin.close()
            board.wait("the clients to report", lambda: board.report is not None)
            self.screen.board = None
            report = board.report
            assert report is not None
            found = delays(board.first, clock.tasks.values(), report.started) if clock else []
        blog, shop = board.by_path
        return Facts(report, blog, shop, (before, worker(system)), system.proxy_status().reloads, found)

    def _sum_up(self, facts: Facts) -> None:
        say = self.screen.say
        say()
        say(Text("Summary", style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        for what, how in summary(facts):
            table.add_row(what, Text(how, style="bold"))
        say(Padding(table, (0, 0, 0, 2)))
        if facts.delays:
            say(Padding(Text(f"({METHOD})", style="dim"), (0, 0, 0, 2)))
        for what in facts.wrong:
            say(Text(f"  ✗ {what}", style="bold red"))

    def _show_status(self, docker: str) -> None:
        self.screen.say()
        self.screen.say(Text(f"$ .venv/bin/l7 status --docker-url {docker}", style="cyan"))
        command = [sys.executable, "-c", "from l7.cli import main; main()", "status", "--docker-url", docker]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=os.environ | {"COLUMNS": str(self.screen.console.width)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.screen.say(Text(done.stdout + done.stderr))

    def _stay(self, docker: str) -> None:
        say, url = self.screen.say, f"http://127.0.0.1:{self.options.port}"
        say(Text("It stays up until Ctrl-C, for you to try. From another terminal, as root:", style="bold"))
        for line in (
            f"curl -H 'Host: {HOST}' {url}/",
            f"curl -H 'Host: {HOST}' {url}{SHOP_PATH}/",
            f"docker -H {docker} service scale wordpress=5",
            f"{REPOSITORY}/.venv/bin/l7 status --docker-url {docker}",
        ):
            self.screen.console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)
        while True:
            signal.pause()


def main() -> int:
    """The exit status."""
    options = arguments()
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    live = console.is_terminal and not console.is_dumb_terminal and not options.plain
    screen = Screen(console, live)
    signals = Signals()
    demo = None
    try:
        with workspace(signals) as directory, ExitStack() as stack:
            stack.callback(setattr, signals, "cleaning", True)
            demo = Demo(options, screen, stack, directory)
            demo.run()
    except KeyboardInterrupt:
        console.print("\nended; everything is removed again")
        if demo is None or demo.outcome is None:
            return 130
    except (TestbedError, DockerException) as error:
        console.print(Text(f"\n✗ {error}", style="bold red"))
        for note in getattr(error, "__notes__", ()):
            console.print(Text(note, style="dim"))
        return 1
    return 0 if demo.outcome else 1
