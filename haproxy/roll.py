"""File mode in the extension service: HAProxy itself checks what proxies would be run from, before it is published.

What HAProxy refuses is not published: the last good configuration stays with the proxies, and a Problem says why.
The next change is another try.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from haproxy import file_mode, state
from haproxy.file_mode import FileMode
from haproxy.material import Material
from haproxy.model import Desired
from haproxy.process import CONFIG, alerts
from haproxy.publication import FileSet
from l7.kit.errors import ConfigError
from l7.v1 import sync_pb2 as pb

TIMEOUT = 60.0
"""Seconds for HAProxy to check a configuration."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one try. `files` None: HAProxy refuses them. `lacking`: a secret is not there yet."""

    files: FileSet | None
    problems: tuple[pb.Problem, ...]
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class Roller:
    """`secrets`: directory of the secrets, files named by id; `run_dir`: on tmpfs; `binary`: the HAProxy that
    checks."""

    mode: FileMode
    secrets: Path
    run_dir: Path
    binary: str = "haproxy"

    def render(self, keyed: Desired) -> Outcome:
        """The newest state as files. Raises ConfigError when HAProxy can't be run."""
        material = file_mode.material_of(self.mode.settings, keyed, self._content, time.time())
        problems = file_mode.problems(keyed, material)
        lacking = any(True for _ in material.lacks)
        if words := self._refusal(keyed, material):
            problems.append(_refused(words))
            return Outcome(None, tuple(problems), lacking)
        return Outcome(file_mode.file_set(self.mode, keyed, material), tuple(problems), lacking)

    def _content(self, id_: str) -> bytes | None:
        try:
            return (self.secrets / id_).read_bytes()
        except FileNotFoundError:
            return None

    def _refusal(self, keyed: Desired, material: Material) -> str:
        """What HAProxy says against it, "" for nothing."""
        with tempfile.TemporaryDirectory(prefix="check-", dir=self.run_dir) as directory:
            for name, content in file_mode.checked_at(self.mode.settings, directory, keyed, material).items():
                path = Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                state.write(path, content)
            return self._words(directory)

    def _words(self, directory: str) -> str:
        command = [self.binary, "-c", "-f", str(Path(directory, CONFIG))]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError("haproxy binary", f"{self.binary} cannot be run: {error}") from error
        said = (done.stdout + done.stderr).decode(errors="replace").replace(f"{directory}/", "")
        return alerts(said) if done.returncode else ""


def _refused(words: str) -> pb.Problem:
    return pb.Problem(
        message=f"HAProxy refuses the configuration, the one before stays: {words}",
        remedy="change what it names, or the extension's Config: the next change is tried by itself",
    )
