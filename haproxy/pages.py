"""Answers of the proxy's own, as text, and the pages that an operator puts in their place. Pure.

`x-l7-error` is on every refusal and every failure that is the proxy's own, and on no other answer.
"""

from __future__ import annotations

from haproxy.settings import Settings

PLAIN = Settings()

HAPROXYS_OWN = (400, 401, 403, 404, 405, 407, 408, 410, 413, 425, 429, 500, 501, 502, 503, 504)
"""Statuses of `http-error` (configuration manual, section 4.2): what HAProxy may answer by itself."""

REPLACEABLE = frozenset((*HAPROXYS_OWN, 411))

LONGEST_PAGE = 12_000
"""Bytes: an answer of the proxy's own has to fit into a buffer (16 kB), with its head."""

_HTML = '"text/html; charset=utf-8"'


def refusal(status: int, error: str, text: str, settings: Settings = PLAIN) -> str:
    """`return` of an answer of the proxy's own: a line of text, or the operator's page."""
    page = any(each == status for each, _ in settings.error_pages)
    body = f"{_HTML} file {settings.file(_name(status))}" if page else f'text/plain string "{text}\\n"'
    return f"return status {status} content-type {body} hdr x-l7-error {error} hdr cache-control no-store"


def own_errors(settings: Settings) -> str:
    """Lines of a `defaults` section: the operator's pages in place of HAProxy's."""
    return "".join(
        f"  http-error status {status} content-type {_HTML} file {settings.file(_name(status))}"
        " hdr cache-control no-store\n"
        for status, _ in settings.error_pages
        if status in HAPROXYS_OWN
    )


def page_files(settings: Settings) -> dict[str, str]:
    """The pages by name of their files."""
    return {_name(status): body for status, body in settings.error_pages}


def _name(status: int) -> str:
    return f"page-{status}.html"
