"""Words of the commands about certificates, CAs and the crt-list, checked. No IO.

No error here quotes a PEM.
"""

from __future__ import annotations

import re

from haproxy import ops
from haproxy.tls import crt_list_line
from l7.kit.errors import ProtocolError

_STORE = re.compile(r"/[A-Za-z0-9/._@+,=~-]{1,800}")
_SNI = re.compile(r"(?:\*\.)?[A-Za-z0-9_.-]{1,253}")
_OPTIONS = re.compile(r"(?:[A-Za-z0-9/._@+,=~ -]{1,2000})?")
_PEM = re.compile(rb"(?:(?:-----(?:BEGIN|END) [A-Z0-9 ]{1,40}-----|[A-Za-z0-9+/=]{1,100})\n)+")


def store(name: str) -> str:
    """A store or crt-list: a path without what has a meaning in a line (blanks, brackets, `:` before a number)."""
    if not _STORE.fullmatch(name):
        raise ProtocolError(f"{name[:80]!r} is no name of a store")
    return name


def entry_words(op: ops.AddCrtListEntry) -> tuple[str, str]:
    """The crt-list, and the line to insert into it."""
    if not _SNI.fullmatch(op.host):
        raise ProtocolError(f"{op.host[:80]!r} is no host of a crt-list")
    if not _OPTIONS.fullmatch(op.options):
        raise ProtocolError(f"{op.options[:80]!r} are no options of a crt-list")
    return store(op.list), crt_list_line(store(op.store), op.host, op.options)


def pem_lines(pem: bytes) -> bytes:
    """An empty line would end the payload; what follows would be taken for commands, and quoted as unknown ones."""
    if not _PEM.fullmatch(pem):
        raise ProtocolError("a PEM must be armoured lines and nothing else, with a newline at the end")
    return pem
