"""Does what a plan of `l7.deploy.removal` says, and waits until nothing of it is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from l7.deploy.removal import Everything, Removal, Thing, removal
from l7.deploy.swarm_api import SwarmApi
from l7.deploy.waiting import Speaker
from l7.kit.errors import Rejected

_POLL = 0.5


def look(api: SwarmApi) -> Everything:
    """All that is in the Swarm."""
    return Everything(tuple(api.services()), tuple(api.networks()), tuple(api.configs()), tuple(api.secrets()))


def plan(api: SwarmApi) -> Removal:
    """What there is to take away."""
    return removal(look(api))


def run(api: SwarmApi, speaker: Speaker, timeout: float) -> tuple[str, ...]:
    """Takes away everything; what could not be, in words. Run again, it goes on where it was. Raises L7Error."""
    deadline = time.monotonic() + timeout
    first = plan(api)
    _remove(api, first.cores, speaker)
    _await_tasks(api, first.cores, speaker, deadline)
    # Core may have made something until its end.
    services = plan(api).services
    _remove(api, services, speaker)
    _await_tasks(api, services, speaker, deadline)
    left = _remove_rest(api, first.rest, speaker, deadline)
    kept = tuple(f"network {name}: {', '.join(users)} on it" for name, users in plan(api).kept)
    return (*left, *kept)


def _remove(api: SwarmApi, things: Iterable[Thing], speaker: Speaker) -> None:
    for each in things:
        api.remove(each.kind, each.id)
        speaker.say(f"removed {each}")


def _await_tasks(api: SwarmApi, services: Sequence[Thing], speaker: Speaker, deadline: float) -> None:
    """Until their tasks have ended: proxies finish what they have. Those of a node that is down are not waited for
    longer than the deadline."""
    ids = {each.id for each in services}
    while ids and (left := sum(task.get("ServiceID") in ids for task in api.tasks())):
        if time.monotonic() > deadline:
            return
        speaker.waiting(f"{left} tasks of {', '.join(each.name for each in services)} to end")
        time.sleep(_POLL)
    speaker.waiting("")


def _remove_rest(api: SwarmApi, known: Iterable[Thing], speaker: Speaker, deadline: float) -> tuple[str, ...]:
    """Until nothing of it is to be seen: Swarm lets go of what is in use a moment after the last task, and the node
    of a network a moment later. `known`: what was known for ours by services that are gone now."""
    removed: set[Thing] = set()
    while left := _left(look(api), known):
        reasons = {each: _STILL_THERE if each in removed else _try(api, each) for each in left}
        for each in (each for each in left if not reasons[each]):
            removed.add(each)
            speaker.say(f"removed {each}")
        if time.monotonic() > deadline:
            return tuple(f"{each}: {reason}" for each, reason in reasons.items() if reason)
        if waiting := [str(each) for each, reason in reasons.items() if reason]:
            speaker.waiting(f"Swarm to let go of {', '.join(waiting)}")
            time.sleep(_POLL)
    speaker.waiting("")
    return ()


def _left(found: Everything, known: Iterable[Thing]) -> list[Thing]:
    ids = {str(each.get("ID") or each.get("Id")) for each in (*found.configs, *found.secrets, *found.networks)}
    return list(dict.fromkeys([*(each for each in known if each.id in ids), *removal(found).rest]))


_STILL_THERE = "is removed, but still there on this node: a container on it has not ended"


def _try(api: SwarmApi, thing: Thing) -> str:
    """Why it can't be removed now, "" when it was."""
    try:
        api.remove(thing.kind, thing.id)
    except Rejected as error:
        return error.reply
    return ""
