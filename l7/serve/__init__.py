"""Serving the desired state: `wire` converts, `session` decides what to send, `grpc_api` sends it."""
