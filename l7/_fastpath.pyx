# cython: language_level=3
"""The fast path: what is done for every server and route of a cluster, compiled. No IO, no clock, no state.

Each function has a plain twin under tests/, and property tests hold the two together.
"""

from collections import namedtuple
from collections.abc import Mapping

cimport cython
from cpython.object cimport Py_EQ, PyObject_RichCompareBool


Diff = namedtuple("Diff", ("added", "changed", "removed"))
Diff.__doc__ = "Keys that lead from one mapping to another: three sorted lists, no key in two of them."


def diff(want, have):
    """Compares what is wanted with what is there, key by key; the same input gives the same output.

    `added`: in `want` alone. `changed`: in both, with values that are not equal. `removed`: in `have` alone.
    Raises TypeError when an argument is no mapping of str to tuple.
    """
    cdef dict wanted = _checked(want)
    cdef dict there = _checked(have)
    cdef list added = []
    cdef list changed = []
    cdef list removed = []
    for key, value in wanted.items():
        if key not in there:
            added.append(key)
        elif not PyObject_RichCompareBool(value, there[key], Py_EQ):
            changed.append(key)
    for key in there:
        if key not in wanted:
            removed.append(key)
    added.sort()
    changed.sort()
    removed.sort()
    return Diff(added, changed, removed)


cdef dict _checked(object mapping):
    """As a dict, the same one where it is one already."""
    cdef dict rows
    if type(mapping) is dict:
        rows = mapping
    elif isinstance(mapping, Mapping):
        rows = dict(mapping)
    else:
        raise TypeError(f"not a mapping but {type(mapping).__name__}")
    for key, value in rows.items():
        if type(key) is not str:
            raise TypeError(f"a key must be str, not {type(key).__name__}")
        if type(value) is not tuple:
            raise TypeError(f"the value of {key!r} must be a tuple, not {type(value).__name__}")
    return rows


include "_health.pxi"
include "_table.pxi"
