"""What the build reads of the state of Swarm, and of a change to it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from l7.model import Network, Node, Service, StoredSecret, Task


class CacheView(Protocol):
    """What build reads of the cache of Swarm's state. `tasks_of`: by id, those of one service; `secrets` and
    `configs` by name."""

    @property
    def services(self) -> Mapping[str, Service]: ...
    @property
    def tasks(self) -> Mapping[str, Task]: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def networks(self) -> Mapping[str, Network]: ...
    @property
    def secrets(self) -> Mapping[str, StoredSecret]: ...
    @property
    def configs(self) -> Mapping[str, StoredSecret]: ...
    def tasks_of(self, service: str, /) -> Mapping[str, Task]: ...


class TouchedView(Protocol):
    """What may have changed: these services (by id), secrets and configs (by name), or all."""

    @property
    def services(self) -> AbstractSet[str]: ...
    @property
    def secrets(self) -> AbstractSet[str]: ...
    @property
    def all(self) -> bool: ...
