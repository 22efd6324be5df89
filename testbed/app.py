"""The test application's image, compiled here from ``app.c`` (see there for what it answers)."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from testbed.archive import write_image, write_layer
from testbed.haproxy_versions import cache_directory, locked
from testbed.namespace import TestbedError

SOURCE = Path(__file__).with_name("app.c")
TAG = "l7-app:dev"
PORT = 8080


def executable() -> Path:
    """The application as a static program, for tests that run it without a container."""
    return compiled(SOURCE)


def compiled(source: Path) -> Path:
    """A static program made from one C file, kept in the cache."""
    name = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = cache_directory() / source.stem / name / source.stem
    if not program.exists():
        with locked(program.parent):
            _compile(source, program)
    return program


def _compile(source: Path, program: Path) -> None:
    new = program.with_suffix(".new")
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", str(new), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TestbedError(f"cannot compile {source.name}: {done.stderr}")
    new.rename(program)


def image() -> Path:
    """An archive for `Swarm.load_image`; the image in it is `TAG`."""
    program = executable()
    archive = program.with_name("image.tar")
    with locked(program.parent):
        if not archive.exists():
            layer = program.with_name("layer.tar")
            write_layer(layer, [(program, "app")])
            write_image(archive, TAG, [layer], {"Entrypoint": ["/app"]})
    return archive
