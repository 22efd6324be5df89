from collections.abc import Mapping
from typing import Any, NamedTuple

class Diff(NamedTuple):
    added: list[str]
    changed: list[str]
    removed: list[str]

def diff(want: Mapping[str, tuple[Any, ...]], have: Mapping[str, tuple[Any, ...]]) -> Diff: ...
