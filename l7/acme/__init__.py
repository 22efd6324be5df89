"""Certificates from an ACME server (RFC 8555): for which hosts, when, and how. One writer: core."""
