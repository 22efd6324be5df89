"""Published configurations as one sequence of bytes: an archive that `tar xz` reads. Pure: same in, same bytes.

    manifest.json          whose configuration it is, and the SHA-256 of each file
    haproxy.cfg …          the files

Core writes it, cuts it into Docker config objects, and Swarm mounts these as files in the tasks that start from it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from l7.kit.errors import ProtocolError

MANIFEST = "manifest.json"
STATE = "state.pb"
"""A serialized l7.v1.SyncResponse: the state as one COMPLETE, from which a proxy starts."""
INPUTS = "inputs.json"
"""What core compiled the state from: see `l7.pins`."""
LARGEST = 256 * 1024 * 1024
"""Bytes of all files: past it, it is nothing that was published."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`revision`: of the configuration; `state`: core's, of the state that it was made from; `files` by path."""

    cluster: str
    revision: str
    state: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def pack(bundle: Bundle) -> bytes:
    """The archive."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, MANIFEST, _manifest(bundle))
        for name in sorted(bundle.files):
            _add(archive, name, bundle.files[name])
    return gzip.compress(plain.getvalue(), mtime=0)


def unpack(data: bytes) -> Bundle:
    """The inverse of `pack`. Raises ProtocolError for what is cut, changed, or no archive of ours."""
    try:
        files = _files(data)
        manifest = json.loads(files.pop(MANIFEST))
        digests = dict(manifest["files"])
        bundle = Bundle(str(manifest["cluster"]), str(manifest["revision"]), str(manifest["state"]), files)
    except (OSError, EOFError, zlib.error, tarfile.TarError, LookupError, ValueError, TypeError) as error:
        raise ProtocolError(f"no published configuration: {type(error).__name__}: {error}") from error
    if digests != {name: _digest(content) for name, content in files.items()}:
        raise ProtocolError("no published configuration: its files are not those of its manifest")
    return bundle


def _manifest(bundle: Bundle) -> bytes:
    digests = {name: _digest(content) for name, content in sorted(bundle.files.items())}
    document = {"cluster": bundle.cluster, "revision": bundle.revision, "state": bundle.state, "files": digests}
    return json.dumps(document, indent=1).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _files(data: bytes) -> dict[str, bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as compressed:
        plain = compressed.read(LARGEST + 1)
    if len(plain) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            found[entry.name] = content.read() if content is not None else b""
    return found
