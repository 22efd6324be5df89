"""The HAProxy extension of l7: a sidecar beside each HAProxy, and one extension service per cluster.

It has no Docker API. It knows the core by the generated protobuf only (`l7.v1`), shares the fast path and
the small leaf modules of `l7.kit`, and is the only package that knows how HAProxy is spoken to.
"""
