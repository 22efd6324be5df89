# cython: language_level=3
"""The fast path: what is done for every server of a cluster, compiled. No IO, no clock; bytes in, bytes out.

Each class has a plain twin in l7/fastpath_pure/, which says what it does, and property tests hold the two together.
"""

cimport cython

include "_health.pxi"
include "_table.pxi"
