"""The fast path in plain Python: what `l7._fastpath` must agree with, written to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def diff(
    want: Mapping[str, tuple[Any, ...]], have: Mapping[str, tuple[Any, ...]]
) -> tuple[list[str], list[str], list[str]]:
    """(added, changed, removed), each sorted."""
    for mapping in (want, have):
        if not isinstance(mapping, Mapping):
            raise TypeError("not a mapping")
        for key, value in mapping.items():
            if type(key) is not str or type(value) is not tuple:
                raise TypeError("not a mapping of str to tuple")
    both = want.keys() & have.keys()
    return (
        sorted(want.keys() - have.keys()),
        sorted(key for key in both if want[key] is not have[key] and want[key] != have[key]),
        sorted(have.keys() - want.keys()),
    )
