"""Image archives as ``docker save`` writes them, made without a daemon: ``docker load`` takes them anywhere.

Layers are plain tar files; the archive's image id depends on nothing but its layers and configuration, so all nodes
that load it agree.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

_EPOCH = "1970-01-01T00:00:00Z"


def digest_of(path: Path) -> str:
    """sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_layer(path: Path, content: Sequence[tuple[Path, str]]) -> None:
    """A layer with each source (file or directory, recursively) under its name in the image.

    Owner root, no times: the same content gives the same bytes.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for source, name in content:
            _add(tar, source, name.strip("/"))


def _add(tar: tarfile.TarFile, source: Path, name: str) -> None:
    entry = tar.gettarinfo(str(source), name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    if entry.islnk():  # a second name of a file already added: of no use with cleaned names
        entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", source.stat().st_size
    if not entry.isreg():
        tar.addfile(entry)
    else:
        with source.open("rb") as file:
            tar.addfile(entry, file)
    if entry.isdir():
        for child in sorted(source.iterdir()):
            _add(tar, child, f"{name}/{child.name}")


def write_image(path: Path, tag: str, layers: Sequence[Path], config: dict[str, Any]) -> None:
    """Writes the archive of image `tag` (``name:version``) from `layers`, lowest first.

    `config` is the image's ``config`` (Cmd, Entrypoint, Env, …).
    """
    digests = [digest_of(layer) for layer in layers]
    image = orjson.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "created": _EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created": _EPOCH}] * len(layers),
        }
    )
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = orjson.dumps([{"Config": name, "RepoTags": [tag], "Layers": names}])
    new = path.with_suffix(".new")
    with tarfile.open(new, "w") as tar:
        for layer, layer_name in zip(layers, names, strict=True):
            tar.add(layer, layer_name)
        _add_bytes(tar, name, image)
        _add_bytes(tar, "manifest.json", manifest)
    new.rename(path)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
