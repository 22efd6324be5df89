"""HAProxy versions that Debian 12 lacks, without touching the system: ``python -m testbed.haproxy_versions 3.4``.

A second, private apt (own sources, lists, cache and status) downloads the packages of newer Debian suites with the
libraries they need; they are unpacked side by side and run by their own loader. What was fetched is kept in
``.cache/haproxy/<series>/`` (``L7_CACHE`` names another cache directory): the suites move, a test run should not.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.namespace import TestbedError

DEBIAN = Path("/usr/sbin/haproxy")
MIRROR = os.environ.get("L7_DEBIAN_MIRROR", "http://deb.debian.org/debian")
SUITES = ("trixie", "sid", "experimental")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# readlink: inside an image or elsewhere the directory may have another name. --argv0: on a reload HAProxy's master
# executes argv[0] again, which must be this script, not the bare binary with the system's older libraries.
_WRAPPER = """#!/bin/sh
self=$(readlink -f "$0")
root=${{self%/*}}/root
exec "$root/{loader}" --argv0 "$self" --library-path "$root/{libraries}" "$root/usr/sbin/haproxy" "$@"
"""


def cache_directory() -> Path:
    """Where the testbed keeps what it fetched or built: ``$L7_CACHE``, else ``.cache`` of the repository."""
    default = Path(__file__).resolve().parents[1] / ".cache"
    return Path(os.environ.get("L7_CACHE", default)).resolve()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time: two test runs may start at once."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def haproxy(series: str) -> Path:
    """The executable of the newest HAProxy of `series` ("2.6", "3.4"), fetched if need be (10 to 60 s)."""
    if _series_of(DEBIAN) == series:
        return DEBIAN
    if not re.fullmatch(r"\d+\.\d+", series):
        raise TestbedError(f"{series!r} is no HAProxy series: say 2.6, 3.0, 3.2 or 3.4")
    home = cache_directory() / "haproxy"
    wrapper = home / series / "haproxy"
    if not wrapper.exists():
        with locked(home):
            if not wrapper.exists():
                _fetch(series, home)
    return wrapper


def version_of(executable: Path) -> str:
    """HAProxy's own version ("3.4.7"), as the executable says it."""
    done = subprocess.run([executable, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"HAProxy version (\d+\.\d+(\.\d+|-dev\d+))", done.stdout)
    if not found:
        raise TestbedError(f"{executable} -v does not say its version: {done.stdout or done.stderr}")
    return found[1]


def _series_of(executable: Path) -> str | None:
    return ".".join(version_of(executable).split(".")[:2]) if executable.exists() else None


class Apt:
    """A private apt, of these mirrors and suites. Its lists are fetched once; `update` renews them."""

    def __init__(self, directory: Path, sources: Sequence[tuple[str, str]]) -> None:
        self.directory = directory
        self.sources = sources
        self.environment = os.environ | {"APT_CONFIG": str(directory / "apt.conf")}

    def prepare(self) -> None:
        for name in ("lists/partial", "cache/archives/partial", "empty"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        lines = [f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for mirror, suite in self.sources]
        (self.directory / "sources.list").write_text("".join(lines))
        settings = {
            "Dir::Etc::sourcelist": "sources.list",
            "Dir::Etc::sourceparts": "empty",
            "Dir::State": "",
            "Dir::State::lists": "lists",
            "Dir::State::status": "status",
            "Dir::Cache": "cache",
        }
        text = "".join(f'{key} "{self.directory / value}";\n' for key, value in settings.items())
        (self.directory / "apt.conf").write_text(text + 'APT::Sandbox::User "root";\n')
        if not any((self.directory / "lists").glob("*_Packages*")):
            self.update()

    def update(self) -> None:
        self.run(["apt-get", "-qq", "update"])

    def run(self, command: list[str], cwd: Path | None = None) -> str:
        # Without its binary cache (container images switch it off) apt parses all lists again for each question.
        caches = [f"-oDir::Cache::{name}={self.directory}/cache/{name}.bin" for name in ("pkgcache", "srcpkgcache")]
        done = subprocess.run(
            [*command, *caches], env=self.environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise TestbedError(f"{' '.join(command[:3])} …: {done.stderr.strip()} (is {MIRROR} reachable?)")
        return done.stdout

    def newest(self, series: str) -> tuple[str, str]:
        """Version and suite of the newest haproxy package of `series`."""
        rows = [line.split("|") for line in self.run(["apt-cache", "madison", "haproxy"]).splitlines()]
        found = [(row[1].strip(), row[2].split()[1].partition("/")[0]) for row in rows if len(row) == 3]
        of_series = [pair for pair in found if pair[0].startswith(f"{series}.")]
        if not of_series:
            known = ", ".join(sorted({version for version, _ in found})) or "none"
            raise TestbedError(f"no HAProxy {series} in {', '.join(SUITES)} (there: {known})")
        return of_series[0]  # madison lists the newest first

    def libraries(self, package: str, suite: str) -> list[str]:
        """The libraries that `package` needs, directly or not, each as ``name/suite``."""
        names: list[str] = []
        wanted = [package]
        while wanted:
            shown = self.run(["apt-cache", "show", "--no-all-versions", wanted.pop()])
            for name in _depends(shown):
                if name not in names:
                    names.append(name)
                    wanted.append(f"{name}/{suite}")
        return [f"{name}/{suite}" for name in sorted(names)]


def _depends(shown: str) -> list[str]:
    """The libraries among a package's Depends and Pre-Depends; first of each set of alternatives."""
    fields = re.findall(r"^(?:Pre-)?Depends: (.*)$", shown, re.MULTILINE)
    names = [re.split(r"[ :(|]", item.strip())[0] for field in fields for item in field.split(",")]
    return [name for name in names if name.startswith("lib") or name == "zlib1g"]


def _fetch(series: str, home: Path) -> None:
    apt = Apt(home / "apt", [(MIRROR, suite) for suite in SUITES])
    apt.prepare()
    try:
        _unpack(apt, series, home)
    except TestbedError:
        apt.update()  # the suites move: the lists may name files that are gone by now
        _unpack(apt, series, home)


def _unpack(apt: Apt, series: str, home: Path) -> None:
    version, suite = apt.newest(series)
    print(f"fetching HAProxy {version} from Debian {suite}", file=sys.stderr)
    new = home / f"{series}.new"
    shutil.rmtree(new, ignore_errors=True)
    (new / "debs").mkdir(parents=True)
    base = "trixie" if suite == "trixie" else "sid"  # experimental has no libraries of its own
    packages = [f"haproxy={version}", *apt.libraries(f"haproxy={version}", base)]
    apt.run(["apt-get", "-qq", "download", *packages], cwd=new / "debs")
    for deb in sorted((new / "debs").iterdir()):
        subprocess.run(["dpkg-deb", "-x", deb, new / "root"], check=True)
    for useless in ("debs", "root/usr/share", "root/etc", "root/var", "root/lib"):
        shutil.rmtree(new / useless, ignore_errors=True)
    _write_wrapper(new)
    (new / "version").write_text(f"{version} {suite}\n")
    version_of(new / "haproxy")  # it runs, or what follows would be kept for nothing
    new.rename(home / series)


def _write_wrapper(directory: Path) -> None:
    root = directory / "root"
    loader = next(iter(sorted(root.glob("usr/lib*/ld-linux-*.so.*"))), None)
    libc = next(iter(root.glob("usr/lib/*/libc.so.6")), None)
    if loader is None or libc is None:
        raise TestbedError(f"no C library among the packages unpacked in {root}")
    text = _WRAPPER.format(loader=loader.relative_to(root), libraries=libc.parent.relative_to(root))
    (directory / "haproxy").write_text(text)
    (directory / "haproxy").chmod(0o755)


def main() -> None:
    try:
        for series in sys.argv[1:] or ["3.4"]:
            print(haproxy(series))
    except TestbedError as error:
        sys.exit(f"haproxy_versions: {error}")


if __name__ == "__main__":
    main()
