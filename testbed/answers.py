"""Answers of HTTP/1, as far as a load has to read them. Pure."""

from __future__ import annotations


def parse_answer(data: bytes) -> tuple[int, bytes, bool] | None:
    """Status, body and whether the connection stays open, of an answer with Content-Length or none; None while it
    is incomplete. ValueError if it is no HTTP. (A chunked answer counts as complete with its last chunk.)"""
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise ValueError("no HTTP/1 answer")
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    lines = head.split(b"\r\n")
    status = int(lines[0].split()[1])
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(b":") for line in lines[1:])}
    keep = headers.get(b"connection", b"").lower() != b"close"
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return (status, body, keep) if body.endswith(b"0\r\n\r\n") else None
    length = int(headers.get(b"content-length", b"0"))
    return (status, body[:length], keep) if len(body) >= length else None
