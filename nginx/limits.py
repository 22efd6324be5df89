"""What users ask for and NGINX can't do, by the labels that ask for it. Pure. Whatever else they say is done."""

from __future__ import annotations

from collections.abc import Iterator

from l7.v1 import sync_pb2 as pb
from nginx.options import Complaint
from nginx.state import State
from nginx.upstreams import of
from nginx.ways import is_variable

PREFIX = "com.docker.lb."
_LIVE = "run the service in a cluster of HAProxy's, or take the label away"


def problems(state: State) -> list[pb.Problem]:
    """Sorted, each once."""
    found = {
        (service, label, message): pb.Problem(service=service, label=PREFIX + label, message=message, remedy=remedy)
        for service, label, message, remedy in (*_of_backends(state), *_of_routes(state), *_of_rules(state))
    }
    return [found[key] for key in sorted(found)]


def complaints(found: tuple[Complaint, ...]) -> list[pb.Problem]:
    """About the operator's table; one for all keys without effect: they are no mistake."""
    idle = [each for each in found if each.idle]
    told = [pb.Problem(message=f"Config: {each.key} {each.message}", remedy=each.remedy)
            for each in found if not each.idle]  # fmt: skip
    if idle:
        message = f"Config: without effect: {', '.join(each.key for each in idle)}"
        told.append(pb.Problem(message=message, remedy="; ".join(f"{each.key}: {each.remedy}" for each in idle)))
    return told


_Found = tuple[str, str, str, str]


def _of_backends(state: State) -> Iterator[_Found]:
    for backend in state.backends.values():
        settings = backend.settings
        for index, service in enumerate(settings.services):
            own = of(backend, index)
            if settings.HasField("health_check"):
                remedy = "give the image a HEALTHCHECK: Swarm says then which tasks are well"
                yield service, "health_check_path", "NGINX does not check tasks by itself", remedy
            if own.slow_start_milliseconds:
                yield service, "slow_start", "NGINX gives a new task its full share at once", _LIVE
            if own.proxy_header != pb.PROXY_HEADER_UNSPECIFIED:
                yield service, "proxy_protocol", "NGINX sends tasks no PROXY header over HTTP", _LIVE
            if index and _spoken(own) != _spoken(of(backend, 0)):
                message = f"services of one route are spoken to in one way: that of {settings.services[0]}"
                yield service, "protocol", message, "label them alike"
        if settings.balance == pb.BALANCE_FIRST:
            for service in settings.services:
                yield service, "balance", "NGINX can't fill one task before the next: they take turns", _LIVE


def _spoken(own: pb.ServerSettings) -> tuple[object, ...]:
    return own.protocol, own.tls_name, own.tls_ca.id, own.tls_certificate.certificate.id


def _of_routes(state: State) -> Iterator[_Found]:
    for route in state.routes.values():
        for canary in route.canaries:
            if canary.WhichOneof("by") == "cookie" and not is_variable(canary.cookie):
                backend = state.backends.get(canary.backend)
                for service in backend.settings.services if backend is not None else ():
                    message = f"NGINX can't look at a cookie named {canary.cookie!r}: nobody is led there"
                    yield service, "canary_cookie", message, "use letters, digits and _ only"


def _of_rules(state: State) -> Iterator[_Found]:
    for name, rules in state.rules.items():
        if rules.HasField("basic_auth"):
            message = "nobody is let in: NGINX would need the passwords as hashes, in a file that is no secret"
            yield name, "basic_auth", message, _LIVE
        if rules.queue_timeout_milliseconds:
            yield name, "queue_timeout", "NGINX has no queue: who finds no free place is told so at once", _LIVE
        key = rules.hash_key
        if key.source == pb.HASH_SOURCE_COOKIE and not is_variable(key.name):
            message = f"NGINX can't look at a cookie named {key.name!r}: requests go to any task"
            yield name, "sticky_session_cookie", message, "use letters, digits and _ only"
