"""What an extension service publishes: a rendered configuration of its cluster, as a value. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Publication:
    """`state`: revision of core's state that it was rendered from; `revision`: its own, a digest of what operators
    and users decide, hexadecimal: the same whatever tasks there are. `files` by path; `counts` by kind, for people;
    `software`: who rendered it."""

    cluster: str
    state: str
    revision: str
    files: Mapping[str, bytes] = field(repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    software: str = ""

    @property
    def content(self) -> str:
        """32 hex digits: digest of cluster, revision and files."""
        digest = hashlib.sha256(f"{self.cluster}\0{self.revision}\0".encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:32]
