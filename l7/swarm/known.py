"""Objects of listings before, by id: what still has its version is not read again. Pure.

Swarm gives an object another version with each change, and reading one takes ten times as long as a look at its
version. A version that has become lower is of a Swarm that was restored from a backup, and gives versions out a
second time: then nothing is known any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar


class Versioned(Protocol):
    """What `Known` has to know of an object."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...


Raw = TypeVar("Raw")
Object = TypeVar("Object", bound=Versioned)


class Known(Generic[Raw, Object]):
    """Of one kind. `head` gives id and version of an object as it came, `parse` reads all of it; both may raise
    ProtocolError, and what is known stays as it was."""

    def __init__(self, head: Callable[[Raw], tuple[str, int]], parse: Callable[[Raw], Object]) -> None:
        self._head = head
        self._parse = parse
        self._by_id: dict[str, Object] = {}

    def read(self, raws: Sequence[Raw], whole: bool = True) -> tuple[Object, ...]:
        """These objects; `whole`: they are all there are, others are forgotten."""
        found = self._read(raws, self._by_id)
        named = {each.id: each for each in found}
        self._by_id = named if whole else self._by_id | named
        return found

    def _read(self, raws: Sequence[Raw], known: dict[str, Object]) -> tuple[Object, ...]:
        found: list[Object] = []
        for raw in raws:
            id_, version = self._head(raw)
            object_ = known.get(id_)
            if object_ is None or object_.version != version:
                if object_ is not None and version < object_.version:
                    return self._read(raws, {})
                object_ = self._parse(raw)
            found.append(object_)
        return tuple(found)
