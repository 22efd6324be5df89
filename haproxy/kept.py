"""Certificates and CAs that HAProxy has taken, as files on tmpfs: what it starts from, and what goes on where the
newest content is missing or bad."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from haproxy import state, tls
from haproxy.model import ClientCertificate
from haproxy.settings import AUTHORITIES, CERTIFICATES, CERTIFICATES_LIST, DEFAULT_LIST, IDENTITIES, Settings
from haproxy.tls import ANY, Entry, Stores

TLS = "tls"
"""What has all the other directories."""

_LINE = re.compile(r"(?P<store>\S+) (?:\[verify (?P<verify>\w+) ca-file (?P<ca>\S+)\] )?(?P<host>\S+)")
_VERIFY = {
    None: ClientCertificate.NONE,
    "optional": ClientCertificate.OPTIONAL,
    "required": ClientCertificate.REQUIRED,
}


class Kept:
    """Files below `<run_dir>/tls`, mode 0600 in directories of mode 0700. `stores` is what is there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        for directory in (TLS, CERTIFICATES, AUTHORITIES, IDENTITIES):
            Path(settings.file(directory)).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stores = Stores(
            dict(self._read(CERTIFICATES)), dict(self._read(AUTHORITIES)), dict(self._read(IDENTITIES)),
            tuple(self._entries()),
        )  # fmt: skip

    def save(self, stores: Stores) -> None:
        """From now on these, and nothing else."""
        before, now = tls.files(self._settings, self.stores), tls.files(self._settings, stores)
        for name in before.keys() - now.keys():
            Path(self._settings.file(name)).unlink(missing_ok=True)
        for name, content in now.items():
            if before.get(name) != content:
                state.write(Path(self._settings.file(name)), content)
        self.stores = stores

    def written(self, stores: Stores) -> None:
        """Somebody has written these; what was there besides goes."""
        before, now = tls.files(self._settings, self.stores), tls.files(self._settings, stores)
        for name in before.keys() - now.keys():
            Path(self._settings.file(name)).unlink(missing_ok=True)
        self.stores = stores

    def _read(self, directory: str) -> Iterator[tuple[str, bytes]]:
        for path in Path(self._settings.file(directory)).iterdir():
            if path.suffix == ".pem":
                yield str(path), path.read_bytes()
            else:
                path.unlink()  # a draft of a writer that was killed

    def _entries(self) -> Iterator[Entry]:
        """Lines of ours; what cannot be read is missing, and made anew."""
        for name, default in ((CERTIFICATES_LIST, False), (DEFAULT_LIST, True)):
            for line in self._lines(name):
                found = _LINE.fullmatch(line)
                if found is not None and found["verify"] in _VERIFY:
                    host = ANY if default else found["host"]
                    yield Entry(found["store"], host, _VERIFY[found["verify"]], found["ca"] or "")

    def _lines(self, name: str) -> list[str]:
        try:
            return Path(self._settings.file(name)).read_text().splitlines()
        except FileNotFoundError:
            return []
