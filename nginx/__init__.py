"""The NGINX extension of l7: renders what stock NGINX proxies are run from, in file mode.

A sibling of `haproxy`, on the same API (proto/l7/v1); the two never see each other. It has no Docker API.
"""
