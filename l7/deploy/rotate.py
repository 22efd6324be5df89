"""What `l7 pki rotate` does: a new CA takes the place of the old one, while everything goes on.

 1. A new generation of all secrets is made: the new CA with the old one beside it, its key, identities signed by
    it. They carry the new CA's certificate signed by the old one, so that who knows only the old CA accepts them.
 2. Core and the extension services are given the new secrets, start-first. Proxies that run renew their identities
    when they hear from core that there is another CA.
 3. Proxies get the new secrets when their tasks are replaced anyway, or by `--proxies` now.
 4. `--finish`, when no task runs with an older generation: one more generation, with the new CA alone, goes to core
    and the extension services, and the secrets that nothing refers to are removed.

Where it got to is in Swarm: which secrets there are (the CA is made last, so a generation that has one is
complete), and which ones services refer to. So it can be broken off anywhere and run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from l7.deploy import pki
from l7.deploy.init import identity
from l7.deploy.references import CORE_ROLE, PROXY_ROLE, Json, Part, parts, referred, with_generation
from l7.deploy.secrets import PkiStore
from l7.deploy.stored import ACME_ACCOUNT, CA, CA_KEY, EXTENSION, PROXY, Stored, named, newest
from l7.kit.errors import ConfigError, Unavailable
from l7.labels.table import STACK

_TRIES = 5
"""How often a service is read again because somebody else changed it meanwhile."""
_PATIENCE = 60.0
"""Seconds that core's new task may take to run."""
_POLL = 0.5


class Swarm(PkiStore, Protocol):
    """What is done to Swarm, see `l7.deploy.secrets.Swarm`."""

    def core_names(self) -> tuple[str, ...]:
        """DNS names of core's identity. Raises ConfigError when it cannot be read from here."""

    def remove(self, secret: Stored) -> None:
        """Raises Rejected while a service refers to it."""

    def services(self) -> list[Json]:
        """As the Engine API has them."""

    def tasks(self) -> list[Json]:
        """Those that Swarm wants to run."""

    def update(self, service: Json) -> None:
        """Raises Unavailable when somebody else was faster."""


@dataclass(slots=True)
class Rotation:
    """One run. `said` is what it did, or (`dry`) would do; `left` what is still to be done before the end."""

    swarm: Swarm
    dry: bool = False
    said: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def rotate(self) -> None:
        """Steps 1 and 2; run again, it goes on where it was. Raises L7Error."""
        secrets = self.swarm.stored()
        generation = newest(secrets)
        if not any(each.base == CA for each in secrets):
            raise ConfigError(CA, "there is none: `l7 pki init` makes it")
        if not is_rotating(secrets):
            generation = self._make(secrets, generation + 1, finish=False)
        self._move(generation, CORE_ROLE, EXTENSION)
        self._look(generation)
        self._tell_of_stack(generation)
        self.left.append("then `l7 pki rotate --finish`")

    def move_proxies(self) -> None:
        """Step 3, now: Swarm replaces the proxies' tasks, as it does at any update. Raises L7Error."""
        generation = newest(self.swarm.stored())
        self._move(generation, PROXY_ROLE)
        self._look(generation)

    def finish(self) -> None:
        """Step 4; run again, it goes on where it was. Raises L7Error."""
        secrets = self.swarm.stored()
        generation = newest(secrets)
        if generation == 1:
            raise ConfigError(CA, "no rotation is under way: `l7 pki rotate` begins one")
        if is_rotating(secrets):
            self._look(generation)
            if self.left:
                return
            generation = self._make(secrets, generation + 1, finish=True)
        self._move(generation, CORE_ROLE, EXTENSION)
        if not self.dry:
            self._remove_unused(generation)
        self._tell_of_stack(generation)

    # ------------------------------------------------------------ step 1

    def _make(self, secrets: Sequence[Stored], generation: int, *, finish: bool) -> int:
        """All secrets of the generation before it, the CA last; the generation."""
        before = [each for each in secrets if each.generation == generation - 1 and each.base != ACME_ACCOUNT]
        texts = self._texts(before, generation - 1, finish)
        # What an earlier run left half-made: nobody knows its key any more.
        self._remove([each for each in secrets if each.generation >= generation])
        for base in sorted(texts, key=lambda base: (base == CA, base)):
            self.said.append(f"make {named(base, generation)}")
            if not self.dry:
                self.swarm.create(base, generation, texts[base])
        return generation

    def _texts(self, before: Iterable[Stored], current: int, finish: bool) -> dict[str, bytes]:
        old, names = self.swarm.authority(), self.swarm.core_names()
        if self.swarm.expected(current) not in ("", pki.fingerprint(old.certificate)):
            raise ConfigError(CA, "core on this node does not use the newest CA yet: wait for its new task")
        # At the end the CA stays, and goes without the word of the one before it.
        authority = pki.Authority(old.certificate, old.key)
        trusted = old.certificate
        if not finish:
            authority = pki.cross_signed(pki.new_authority(), old)
            trusted = authority.certificate + old.certificate
        bases = {each.base for each in before} - {CA, CA_KEY}
        texts = {base: identity(authority, base, cluster_of(base), names) for base in bases}
        return texts | {CA: trusted, CA_KEY: authority.key}

    # ------------------------------------------------------------ step 2

    def _move(self, generation: int, *roles: str) -> None:
        """Core first: who asks it for a renewal is to get one of the new CA."""
        for role in roles:
            names = [part.name for part in self._parts() if part.role == role and part.oldest < generation]
            for name in names:
                self.said.append(f"give {name} the secrets of generation {generation}")
                if not self.dry:
                    self._give(name, generation)
            if role == CORE_ROLE and not self.dry:
                self._await_core(generation)

    def _give(self, name: str, generation: int) -> None:
        for last in (*[False] * (_TRIES - 1), True):
            secrets = self.swarm.stored()
            service = next((part.service for part in self._parts() if part.name == name), None)
            if service is None:
                return
            try:
                self.swarm.update(with_generation(service, secrets, generation))
            except Unavailable:
                if last:
                    raise
            else:
                return

    def _await_core(self, generation: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while any(part.role == CORE_ROLE and part.outdated(generation) for part in self._parts()):
            if time.monotonic() > deadline:
                raise Unavailable(f"core's task was not replaced in {_PATIENCE:.0f} s: run this again when it is")
            time.sleep(_POLL)

    # ------------------------------------------------------------ what is left

    def _look(self, generation: int) -> None:
        """Fills `left` with who does not use the generation."""
        for part in self._parts():
            if part.role == PROXY_ROLE and part.oldest < generation:
                self.left.append(
                    f"{part.name} refers to secrets of generation {part.oldest}: it gets those of generation "
                    f"{generation} when its tasks are replaced anyway, or now by `l7 pki rotate --proxies`"
                )
            elif part.outdated(generation):
                self.left.append(f"{part.name} still has tasks with older secrets: {part.outdated(generation)}")

    def _tell_of_stack(self, generation: int) -> None:
        """The stack's file would give core the secrets of before again."""
        if any(STACK in (part.service["Spec"].get("Labels") or {}) for part in self._parts()):
            self.left.append(f"from now on, `docker stack deploy` with L7_PKI={suffix(generation)}")

    def _remove_unused(self, generation: int) -> None:
        """Those of before that neither a service nor a task refers to."""
        secrets = self.swarm.stored()
        old = [each for each in secrets if each.generation < generation and each.base != ACME_ACCOUNT]
        used = referred(self.swarm.services(), self.swarm.tasks())
        self._remove([each for each in old if each.id not in used])
        if kept := sorted(each.name for each in old if each.id in used):
            self.left.append(f"still in use: {', '.join(kept)}; run this again later to remove them")

    def _remove(self, secrets: Iterable[Stored]) -> None:
        for each in secrets:
            self.said.append(f"remove {each.name}")
            if not self.dry:
                self.swarm.remove(each)

    def _parts(self) -> list[Part]:
        return parts(self.swarm.services(), self.swarm.tasks(), self.swarm.stored())


def is_rotating(secrets: Iterable[Stored]) -> bool:
    """Whether the newest CA has the one before it beside it."""
    secrets = tuple(secrets)
    generation = newest(secrets)
    return any(len(each.authorities) > 1 for each in secrets if each.base == CA and each.generation == generation)


def suffix(generation: int) -> str:
    """What names of secrets end with, as the variable of deploy/stack.yml has it."""
    return "" if generation == 1 else f".{generation}"


def cluster_of(base: str) -> str | None:
    """The cluster of an identity by its secret's name, "" the default one; None: it is none of a cluster."""
    for role in (PROXY, EXTENSION):
        if base == role or base.startswith(f"{role}-"):
            return base.removeprefix(role).removeprefix("-")
    return None
