"""Builds the image ``l7:dev`` on the spot, without a registry or a daemon: ``python -m testbed.image``.

Four kinds of layers, each made anew only when what it consists of has changed:

* the base: Debian 12 with Python, HAProxy 2.6, NGINX and certificates, by mmdebstrap
* one per further HAProxy series, in /opt/haproxy/<series>
* the libraries l7 needs at run time, as the virtual environment has them, in /opt/l7
* the packages `l7`, `haproxy` and `nginx` themselves, compiled, in /opt/l7, and the command /usr/local/bin/l7

It runs as the user ``l7`` (uid and gid 1000); core, which needs root's sockets, is given root by its service.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import importlib.metadata
import os
import py_compile
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from packaging.requirements import Requirement

from l7.deploy import healthcheck
from testbed import haproxy_versions
from testbed.archive import write_image, write_layer
from testbed.haproxy_versions import MIRROR, cache_directory, locked
from testbed.namespace import TestbedError

TAG = "l7:dev"
REPOSITORY = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
BASE_PACKAGES = (
    "ca-certificates", "haproxy", "libcap2-bin", "libnginx-mod-stream", "nginx", "procps", "python3",
)  # fmt: skip
PACKAGES = ("l7", "haproxy", "nginx")
NGINX_TAG = "l7-nginx:dev"
"""The NGINX extension: the same layers, another program."""
STOCK_TAG = "nginx:stock"
"""An image as NGINX's own is: nothing of l7's, root, and a user `nginx` for its workers."""
STOCK_HAPROXY_TAG = "haproxy:stock"
"""An image as HAProxy's own is, but for Python in it: nothing of l7's, and nobody's user."""
CONFIG: dict[str, Any] = {
    "Entrypoint": ["/usr/local/bin/l7"],
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH=/opt/l7",
        "PYTHONUNBUFFERED=1",
        "LANG=C.UTF-8",
    ],
    "User": "1000:1000",
    "WorkingDir": "/",
    "StopSignal": "SIGTERM",
    "Healthcheck": dict(healthcheck.ANY),
}

_COMMAND = """#!/usr/bin/python3
import sys

from l7.cli import main

sys.exit(main())
"""

# Files that nothing at run time reads.
_WITHOUT = tuple(f"/usr/share/{name}/*" for name in ("doc", "man", "locale", "info", "lintian"))
_HOOKS = (
    'printf "l7:x:1000:1000::/nonexistent:/usr/sbin/nologin\\n" >> "$1/etc/passwd"',
    'printf "l7:x:1000:\\n" >> "$1/etc/group"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/* "$1"/usr/share/doc "$1"/usr/share/man',
    'rm -rf "$1"/usr/share/perl "$1"/usr/lib/*/perl "$1"/usr/lib/*/libperl.so.* "$1"/usr/lib/*/gconv',
)


def build(
    series: Sequence[str] = ("3.4",), tag: str = TAG, labels: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """The archive of the image, for ``docker load`` and `Swarm.load_image`. `series` are the HAProxy versions it
    has besides Debian's own. A minute the first time, two seconds after a change of l7's code.

    `labels` besides the usual ones make it another image with the same content, such as one to upgrade to."""
    home = cache_directory() / "image"
    with locked(home):
        layers = [_base(home), *(_haproxy(home, name) for name in series), _dependencies(home), _code(home)]
        archive = home / f"{tag.replace(':', '-').replace('/', '_')}.tar"
        write_image(archive, tag, layers, CONFIG | {"Labels": {**_labels(), **labels}})
    return archive


def nginx() -> Path:
    """The archive of the NGINX extension's image."""
    home = cache_directory() / "image"
    with locked(home):
        archive = home / "l7-nginx.tar"
        config = CONFIG | {"Entrypoint": ["python3", "-m", "nginx.service"], "Labels": _labels()}
        write_image(archive, NGINX_TAG, [_base(home), _dependencies(home), _code(home)], config)
    return archive


def stock_nginx() -> Path:
    """The archive of an image like NGINX's own, out of Debian's packages."""
    home = cache_directory() / "image"
    with locked(home):
        words = ["--variant=essential", "--include=libnginx-mod-stream,nginx"]
        layer = _debian(home, "nginx", [*words, f"--customize-hook={_NGINX_USER}"])
        archive = home / "nginx-stock.tar"
        command = {"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT", "Env": CONFIG["Env"][:1]}
        write_image(archive, STOCK_TAG, [layer], command)
    return archive


def stock_haproxy(series: str) -> Path:
    """The archive of an image like HAProxy's own, with this series (2.6: Debian's)."""
    home = cache_directory() / "image"
    with locked(home):
        own = [] if series == "2.6" else [_haproxy(home, series)]
        archive = home / "haproxy-stock.tar"
        config = {
            "Cmd": ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
            "Env": [CONFIG["Env"][0].replace("PATH=", f"PATH=/opt/haproxy/{series}:")],
            "User": CONFIG["User"],
            "StopSignal": "SIGUSR1",
        }
        write_image(archive, STOCK_HAPROXY_TAG, [_base(home), *own], config)
    return archive


_NGINX_USER = (
    'printf "nginx:x:101:101::/nonexistent:/usr/sbin/nologin\\n" >> "$1/etc/passwd"; '
    'printf "nginx:x:101:\\n" >> "$1/etc/group"'
)


def _labels() -> dict[str, str]:
    """Of the OCI's image specification (annotations.md)."""
    about = importlib.metadata.metadata("l7")
    found = {"title": "l7", "description": about["Summary"], "version": about["Version"], "licenses": "Apache-2.0"}
    return {f"org.opencontainers.image.{name}": value for name, value in found.items()}


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _discard(home: Path, pattern: str) -> None:
    """Layers that a new one takes the place of."""
    for old in home.glob(pattern):
        old.unlink()


# -- the base ----------------------------------------------------------------------------------------------------


def _base(home: Path) -> Path:
    hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
    return _debian(home, "base", ["--variant=essential", f"--include={','.join(BASE_PACKAGES)}", *hooks])


def debian() -> Path:
    """The archive of an image like ``debian:bookworm-slim``, under that tag: what deploy/Dockerfile begins with."""
    home = cache_directory() / "image"
    with locked(home):
        layer = _debian(home, "debian", ["--variant=minbase", "--include=ca-certificates"])
        archive = home / "debian.tar"
        write_image(archive, f"debian:{SUITE}-slim", [layer], {"Cmd": ["bash"], "Env": CONFIG["Env"][:1]})
    return archive


def _debian(home: Path, name: str, words: Sequence[str]) -> Path:
    """A layer with Debian; `words` say to mmdebstrap what is in it."""
    layer = home / f"{name}-{_key(SUITE, MIRROR, *words, *_WITHOUT)}.tar"
    if layer.exists():
        return layer
    if not shutil.which("mmdebstrap"):
        raise TestbedError("mmdebstrap not found: run `make setup`")
    _discard(home, f"{name}-*")
    new = layer.with_suffix(".new")
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _WITHOUT]
    sources = [f"deb {MIRROR} {SUITE} main", f"deb {MIRROR}-security {SUITE}-security main"]
    command = ["mmdebstrap", "--quiet", "--format=tar", *words]
    done = subprocess.run(
        [*command, *options, SUITE, str(new), *sources],
        env=os.environ | {"SOURCE_DATE_EPOCH": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TestbedError(f"mmdebstrap: {done.stderr.strip()[-2000:]} (is {MIRROR} reachable?)")
    new.rename(layer)
    return layer


def _haproxy(home: Path, series: str) -> Path:
    directory = haproxy_versions.haproxy(series).parent
    version = (directory / "version").read_text()
    layer = home / f"haproxy-{series}-{_key(version)}.tar"
    if not layer.exists():
        _discard(home, f"haproxy-{series}-*")
        write_layer(layer, [(directory, f"opt/haproxy/{series}")])
    return layer


# -- Python ------------------------------------------------------------------------------------------------------


def runtime_distributions(name: str = "l7") -> list[importlib.metadata.Distribution]:
    """What `name` needs at run time, directly or not, without itself and without its extras."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [name]
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        for text in distribution.requires or ():
            requirement = Requirement(text)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            key = requirement.name.lower().replace("_", "-")
            if needed and key not in found:
                found[key] = importlib.metadata.distribution(requirement.name)
                wanted.append(requirement.name)
    return [found[key] for key in sorted(found)]


def _dependencies(home: Path) -> Path:
    distributions = runtime_distributions()
    layer = home / f"python-{_key(*(f'{each.name}={each.version}' for each in distributions))}.tar"
    if not layer.exists():
        _discard(home, "python-*")
        stage = _empty(home / "stage-python")
        for distribution in distributions:
            _copy_distribution(distribution, stage)
        _compile(stage)
        write_layer(layer, [(stage, "opt/l7")])
        shutil.rmtree(stage)
    return layer


def _copy_distribution(distribution: importlib.metadata.Distribution, stage: Path) -> None:
    files = distribution.files
    if files is None:
        raise TestbedError(f"{distribution.name} has no list of files: reinstall it with pip (`make setup`)")
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:  # ../../bin/…: a command
            continue
        target = stage / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)


def _code(home: Path) -> Path:
    stage = _empty(home / "stage-code")
    packages = stage / "opt/l7"
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyx", "*.c", "*.html")
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, packages / name, ignore=unwanted)
    if not list((packages / "l7").glob("_fastpath*.so")):
        raise TestbedError("l7/_fastpath is not compiled: run `make setup`")
    _write_metadata(packages)
    _compile(packages)
    command = stage / "usr/local/bin/l7"
    command.parent.mkdir(parents=True)
    command.write_text(_COMMAND)
    command.chmod(0o755)
    health = stage / healthcheck.PROGRAM.lstrip("/")
    shutil.copyfile(REPOSITORY / "l7/healthcheck.py", health)
    health.chmod(0o755)
    run = stage / "run/l7"
    run.mkdir(parents=True)
    run.chmod(0o1777)  # a tmpfs that is mounted there takes its mode, not its owner, from what it covers
    layer = home / "code.tar"
    write_layer(layer, [(packages, "opt/l7"), (command.parent, "usr/local/bin"), (run, "run/l7")])
    shutil.rmtree(stage)
    return layer


def _write_metadata(packages: Path) -> None:
    """Name, version and entry points: the extensions are found by these."""
    distribution = importlib.metadata.distribution("l7")
    directory = packages / f"l7-{distribution.version}.dist-info"
    directory.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        if text is None:
            raise TestbedError(f"l7 is installed without {name}: run `make setup`")
        (directory / name).write_text(text)


def _empty(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _compile(directory: Path) -> None:
    """Byte code beside the sources, valid whatever their times: a container starts in half the time."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        directory, quiet=2, stripdir=str(directory), prependdir="/opt/l7", invalidation_mode=unchecked, workers=1
    )


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="testbed.image", description=f"builds {TAG}")
    parser.add_argument("series", nargs="*", default=["3.4"], help="HAProxy versions besides Debian's own")
    options = parser.parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    try:
        archive = build([name for name in options.series if name != "2.6"])
    except TestbedError as error:
        sys.exit(f"image: {error}")
    print(f"{archive} {archive.stat().st_size / 1e6:.0f} MB in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
