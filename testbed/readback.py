"""What an HAProxy of a `System` really does, by its own word and read by nothing of l7, beside what core wants."""

from __future__ import annotations

from testbed.system import System

_CONFIG_MAINT = 4  # "disabled" in the file that HAProxy started from: stays when the server is enabled


def served(system: System, proxy: int = 0) -> dict[str, set[str]]:
    """Backend (core's name) -> address:port of the servers that take requests."""
    names = _map(system, "backends.map", proxy)
    found: dict[str, set[str]] = {physical: set() for _, physical in names}
    for line in system.haproxy("show servers state", proxy).splitlines()[2:]:
        if not line:
            continue
        columns = line.split()
        _, backend, _, server, address, operational, administrative = columns[:7]
        out = int(administrative) & ~_CONFIG_MAINT
        if backend in found and server != "hold" and operational != "0" and not out:
            found[backend].add(f"{address}:{columns[18]}")
    return {logical: found[physical] for logical, physical in names}


def wanted(system: System) -> dict[str, set[str]]:
    """The same as core wants it."""
    return {
        backend["name"]: {
            f"{server['address']}:{server['port']}" for server in backend["servers"] if server["state"] == "ready"
        }
        for backend in system.cluster()["backends"]
    }


def routed(system: System, proxy: int = 0) -> dict[str, str]:
    """Host -> path of its route that leads to a service (one of them, if there are several)."""
    keys = (key for key, value in _map(system, "routes.map", proxy) if not value.startswith("-"))
    split = (key.rstrip("/").partition("/") for key in keys)
    return {host: f"/{path}" for host, _, path in split}


def _map(system: System, name: str, proxy: int) -> list[tuple[str, str]]:
    """Rows of a map file."""
    lines = system.haproxy(f"show map /run/l7/{name}", proxy).splitlines()
    return [(key, value) for _, key, value in (line.split(None, 2) for line in lines if line)]
