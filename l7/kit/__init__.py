"""Small leaf modules that every part may use: errors, logs, tasks, backoff, TLS, metrics, HTTP, gRPC channels."""
