#!/usr/bin/python3 -IS
"""Whether the part of l7 in this container does its work: ``l7-health [core|proxy]``, exit status 0, or 1 and why.

Without a word it finds out which part it is. Docker runs it every other second in every task (how often, says
`l7.deploy.healthcheck`), and Swarm replaces a task that fails it for long. So it stands alone, without any package;
and HAProxy is asked, not the sidecar: a proxy that serves its last good state, while core is away or the sidecar is
started again, is to stay.
"""

import os
import socket
import sys

RUN_DIR = os.environ.get("L7_HAPROXY_RUN_DIR", "/run/l7")
ADMIN_SOCKET = os.environ.get("L7_ADMIN_SOCKET", "/run/l7/admin.sock")
PATIENCE = 5.0


class Unhealthy(Exception):
    """Its text is the reason."""


def part_of(command: list[str]) -> str:
    """ "core", "proxy", or "" for a part that has nothing to be asked. `command` is the container's, perhaps behind
    an init; Interlock's form of core's is `-D run -c FILE`."""
    words = {*command}
    if "haproxy" in words:
        return "proxy" if words & {"run", "sidecar"} else ""
    return "core" if words & {"core", "run"} else ""


def check_core() -> None:
    """Core is ready once it has seen Swarm completely, and stays so."""
    answer = ask(ADMIN_SOCKET, "GET /readyz HTTP/1.0\r\n\r\n")
    head, _, reason = answer.partition("\r\n\r\n")
    if head.split()[1:2] != ["200"]:
        raise Unhealthy(reason.strip() or f"{ADMIN_SOCKET} gives no answer")


def check_proxy() -> None:
    """HAProxy answers, and had a complete state."""
    if not os.path.exists(f"{RUN_DIR}/ready"):
        raise Unhealthy("no complete state of the cluster has been applied yet")
    if not ask(f"{RUN_DIR}/cli.sock", "show info\n").startswith("Name: HAProxy"):
        raise Unhealthy("HAProxy gives no answer")


def ask(path: str, text: str) -> str:
    """All that comes back from a unix socket. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(text.encode())
        with connection.makefile("rb") as answer:
            return answer.read().decode(errors="replace")


CHECKS = {"core": check_core, "proxy": check_proxy}


def main(words: list[str]) -> str:
    """The reason why this part is not healthy, "" when it is."""
    try:
        part = words[0] if words else part_of(_command())
        if part:
            CHECKS[part]()
    except KeyError:
        return f"{words[0]!r} is no part: say {' or '.join(CHECKS)}"
    except (Unhealthy, OSError) as error:
        return str(error)
    return ""


def _command() -> list[str]:
    with open("/proc/1/cmdline") as file:
        return file.read().split("\0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)  # a text is written to standard error, and means 1
