"""What NGINX proxies are run from, rendered and judged by NGINX itself (`-t`) before it is published.

What NGINX refuses is not published: the last good configuration stays with the proxies, and a Problem says why. The
next change is another try.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from l7.kit.errors import ConfigError
from l7.v1 import sync_pb2 as pb
from nginx import limits, material
from nginx.hosts import Places
from nginx.options import configured
from nginx.render import MAIN, render
from nginx.settings import Settings
from nginx.state import State
from nginx.ways import SECRETS

CONFIG_PATH = "/etc/nginx/nginx.conf"
"""Where stock images have it."""
TIMEOUT = 60.0
"""Seconds for NGINX to check a configuration."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files by name, where they are mounted, and secrets by path."""

    files: Mapping[str, bytes] = field(repr=False)
    mounts: Mapping[str, str]
    secrets: Mapping[str, pb.Secret]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one try. `files` None: NGINX refuses them. `lacking`: a secret is not there yet."""

    files: FileSet | None
    problems: tuple[pb.Problem, ...]
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class Roller:
    """`places`: of the proxies; `config_path`: where they find the main file. `secrets`: directory of the secrets
    here; `run_dir`: where this process may write; `binary`: the NGINX that checks."""

    places: Places
    config_path: str = CONFIG_PATH
    secrets: Path = Path(SECRETS)
    run_dir: Path = Path("/run/l7")
    binary: str = "nginx"

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in an image that does not know by itself."""
        return ("nginx", "-g", "daemon off;", "-c", self.config_path)

    def render(self, state: State) -> Outcome:
        """The state as files. Raises ConfigError when NGINX can't be run."""
        settings, complaints = configured(state.config)
        found = material.look(state, self.secrets)
        problems = [*limits.complaints(complaints), *limits.problems(state), *found.problems]
        if words := self._refusal(state, settings, found.certified):
            return Outcome(None, (*problems, _refused(words)), found.lacking)
        return Outcome(self._files(state, settings, found), tuple(problems), found.lacking)

    def _files(self, state: State, settings: Settings, found: material.Material) -> FileSet:
        texts = render(state, settings, self.places, found.certified)
        mounts = {name: f"{self.places.directory}/{name}" for name in texts} | {MAIN: self.config_path}
        secrets = {f"{SECRETS}/{id_}": secret for id_, secret in found.secrets.items()}
        return FileSet({name: text.encode() for name, text in texts.items()}, mounts, secrets)

    def _refusal(self, state: State, settings: Settings, certified: frozenset[str]) -> str:
        """What NGINX says against it, "" for nothing. It binds its ports even to check, so it gets sockets."""
        with tempfile.TemporaryDirectory(prefix="check-", dir=self.run_dir) as directory:
            places = replace(
                self.places, http=f"unix:{directory}/http", tls=f"unix:{directory}/https", directory=directory,
                writable=directory,
            )  # fmt: skip
            own = replace(settings, pid_path=f"{directory}/pid", user=_user(settings.user))
            for name, text in render(state, own, places, certified).items():
                Path(directory, name).write_text(text.replace(f"{SECRETS}/", f"{self.secrets}/"))
            return self._words(directory)

    def _words(self, directory: str) -> str:
        command = [self.binary, "-q", "-t", "-e", "stderr", "-c", f"{directory}/{MAIN}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError("nginx binary", f"{self.binary} cannot be run: {error}") from error
        said = done.stderr.decode(errors="replace").replace(f"{directory}/", "")
        return "; ".join(_told(line) for line in said.splitlines() if "[emerg]" in line) if done.returncode else ""


def _user(name: str) -> str:
    """A name that is known here: who checks is root in tests alone, and the image of the proxies has its own."""
    return name if os.geteuid() else "root"


def _told(line: str) -> str:
    """Without time and numbers of processes."""
    return line.partition("[emerg] ")[2].partition(": ")[2] or line


def _refused(words: str) -> pb.Problem:
    return pb.Problem(
        message=f"NGINX refuses the configuration, the one before stays: {words or 'it does not say why'}",
        remedy="change what it names, or the extension's Config: the next change is tried by itself",
    )
