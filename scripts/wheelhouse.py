"""Fetches what the image is built from without network, into wheelhouse/: ``python -m scripts.wheelhouse 3.4``.

* `debs`: Debian's packages of Python, HAProxy, NGINX and the certificates of CAs, with all that they need
* `wheels`: l7 itself, compiled here, its libraries as the virtual environment has them, and pip
* `haproxy`: the HAProxy series that are named, each as an archive

For the architecture and the Debian of this machine; deploy/Dockerfile says how it is used.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from testbed import haproxy_versions, image
from testbed.archive import digest_of
from testbed.haproxy_versions import MIRROR, Apt, cache_directory
from testbed.image import SUITE, runtime_distributions
from testbed.namespace import TestbedError

HOME = Path(__file__).resolve().parents[1]
WHEELHOUSE = HOME / "wheelhouse"
PACKAGES = ("ca-certificates", "haproxy", "libnginx-mod-stream", "nginx", "python3", "usr-is-merged")
"""The last one spares us usrmerge, which does what every Debian 12 has had done."""
SOURCES = ((MIRROR, SUITE), (MIRROR, f"{SUITE}-updates"), (f"{MIRROR}-security", f"{SUITE}-security"))


def fetch_debs(directory: Path) -> None:
    """A repository of what apt would install where nothing is there: the base image may have some of it."""
    apt = Apt(cache_directory() / "wheelhouse", SOURCES)
    apt.prepare()
    apt.update()
    apt.run(["apt-get", "clean"])  # of the versions of before
    apt.run(["apt-get", "-qq", "--yes", "--download-only", "--no-install-recommends", "install", *PACKAGES])
    entries = []
    for deb in sorted((apt.directory / "cache/archives").glob("*.deb")):
        shutil.copy(deb, directory)
        control = subprocess.run(["dpkg-deb", "--field", deb], stdout=subprocess.PIPE, text=True, check=True).stdout
        entries.append(f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest_of(deb)}\n")
    (directory / "Packages").write_text("\n".join(entries))


def fetch_wheels(directory: Path) -> None:
    """Raises TestbedError with pip's own words."""
    pinned = [f"{each.name}=={each.version}" for each in runtime_distributions()]
    _pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(directory), "pip", *pinned)
    with tempfile.TemporaryDirectory() as copy:
        _copy_sources(Path(copy))  # a build leaves metadata behind, which would be taken for the installed ones
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), copy)


def _copy_sources(target: Path) -> None:
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(HOME / name, target)
    for name in image.PACKAGES:
        shutil.copytree(HOME / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HOME)
    if done.returncode:
        raise TestbedError(f"pip {words[0]}: {done.stderr.strip()[-2000:]}")


def pack_haproxy(series: str, directory: Path) -> None:
    """The files of this series, below a directory that is called like it."""
    with tarfile.open(directory / f"{series}.tar", "w") as archive:
        archive.add(haproxy_versions.haproxy(series).parent, series)


def main(series: Iterable[str]) -> None:
    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    for name in ("debs", "wheels", "haproxy"):
        (WHEELHOUSE / name).mkdir(parents=True)
    try:
        fetch_debs(WHEELHOUSE / "debs")
        fetch_wheels(WHEELHOUSE / "wheels")
        for name in series:
            if name != "2.6":
                pack_haproxy(name, WHEELHOUSE / "haproxy")
    except TestbedError as error:
        shutil.rmtree(WHEELHOUSE)
        sys.exit(f"wheelhouse: {error}")
    size = sum(each.stat().st_size for each in WHEELHOUSE.rglob("*"))
    print(f"{WHEELHOUSE} {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
