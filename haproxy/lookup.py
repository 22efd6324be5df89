"""File mode: tasks that came since the files were written, as Docker's DNS knows them. Text and pure.

A roll takes seconds, in which a service may be updated as a whole. So behind a backend's servers stands one for
each of its services, by the name that Docker resolves to the tasks that serve now, on the networks that the proxy
is on. HAProxy uses it where no server that the file names is up, and the placeholder where that name is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from haproxy import policy
from haproxy.capabilities import Capabilities
from haproxy.model import Backend
from haproxy.settings import Settings

DNS = "127.0.0.11:53"
"""Docker's, in each container."""
SECTION = "l7.dns"
NAMES_A_SECOND = 100
"""HAProxy asks for each name all the time, whether requests need it or not."""


def sections(settings: Settings, backends: int) -> tuple[str, ...]:
    """What names are looked up by, if they are. Of many backends, each is asked for less often.

    Docker says that its answers are good for ten minutes, which HAProxy does not heed; it asks every `timeout
    resolve` (configuration manual, section 5.3.2). What it got before counts for nothing as soon as it gets another
    answer, and for as long as three questions when it gets none.
    """
    if not settings.name_server:
        return ()
    pause = 1000 * max(1, backends // NAMES_A_SECOND)
    return (
        f"resolvers {SECTION}\n"
        f"  nameserver docker {settings.name_server}\n"
        "  accepted_payload_size 8192\n"
        f"  timeout resolve {pause}ms\n"
        "  timeout retry 1s\n"
        "  hold nx 0s\n"
        f"  hold valid {pause}ms\n"
        "  hold obsolete 0s\n"
        f"  hold timeout {3 * pause}ms\n",
    )


def servers(
    settings: Settings, capabilities: Capabilities, backend: Backend, services: Collection[int]
) -> Iterator[str]:
    """Lines of a backend for some of its services, that with the greatest weight first: HAProxy uses the first one
    that it can. It is by a task that a port is known: where a service has none, nobody is looked up.

    Each starts without an address, as names may be unknown (section 5.2, "init-addr").
    """
    ports = {server.service: server.port for _, server in sorted(backend.servers.items())}
    known = ports.keys() & {*services} & {*range(len(backend.services))} if settings.name_server else set[int]()
    for service in sorted(known, key=lambda each: (-_weight(backend, each), each)):
        name = f"tasks.{backend.services[service]}:{ports[service]}"
        number = policy.HOLD_ID * (service + 2)
        words = policy.unchecked_keywords(settings, capabilities, backend, service)
        found = f"id {number} weight 1 backup resolvers {SECTION} resolve-prefer ipv4 init-addr none"
        yield " ".join((f"  server lookup.{service} {name} {found}", *words))


def _weight(backend: Backend, service: int) -> int:
    return sum(server.weight for server in backend.servers.values() if server.service == service)
