"""What the published configurations of a service cluster say: which there are, and how two of them differ. Pure."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from l7.deploy.published import Version, versions
from l7.inputs import Written, from_json
from l7.kit.bundle import INPUTS, STATE, Bundle, unpack
from l7.kit.errors import ConfigError, ProtocolError
from l7.model import Snapshot
from l7.serve.wire import update_from
from l7.swarm.from_json import parse_config
from l7.v1 import sync_pb2 as pb

Json = Mapping[str, Any]
K = TypeVar("K")

CURRENT = "current"
"""Stands for the newest revision."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A revision that is stored. `bundle` None: it can't be read, as `fault` says."""

    version: Version
    bundle: Bundle | None
    fault: str = ""

    @property
    def counts(self) -> dict[str, str]:
        """How much there is in it, by kind."""
        pairs = (each.partition("=") for each in self.version.labels.get("com.docker.l7.counts", "").split())
        return {kind: number for kind, _, number in pairs}

    @property
    def state(self) -> str:
        """Core's revision of the state that it was made from."""
        return self.version.labels.get("com.docker.l7.state", "")


def entries(configs: Iterable[Json], cluster: str) -> list[Entry]:
    """Those of a cluster, the newest first. `configs` as GET /configs has them, with their content."""
    configs = list(configs)
    data = {str(each["ID"]): str(each["Spec"].get("Data", "")) for each in configs}
    found = versions(map(parse_config, configs), cluster)
    return [_entry(each, data) for each in found if each.whole]


def _entry(version: Version, data: Mapping[str, str]) -> Entry:
    try:
        archive = b"".join(base64.b64decode(data[part.id]) for part in version.parts)
        return Entry(version, unpack(archive))
    except (ValueError, ProtocolError) as error:
        return Entry(version, None, str(error))


def find(found: Iterable[Entry], text: str) -> Entry:
    """The one whose revision, or whose state's, begins so; of several versions of one, the newest. Raises
    ConfigError when there is none, or more than one revision."""
    found = list(found)
    if text == CURRENT and found:
        return found[0]
    matching = [each for each in found if each.version.revision.startswith(text) or each.state.startswith(text)]
    if not text or not matching:
        raise ConfigError(text or "REVISION", "no such revision is stored: `l7 history` shows those that are")
    if len({each.version.revision for each in matching}) > 1:
        shown = ", ".join(sorted({each.version.revision[:12] for each in matching}))
        raise ConfigError(text, f"more than one revision begins so: {shown}")
    return matching[0]


# ---------------------------------------------------------------- in numbers


def changes(older: Entry | None, newer: Entry) -> str:
    """What was changed, in numbers: "+2 -1 ~1 routes, settings"."""
    if newer.bundle is None:
        return f"can't be read: {newer.fault}"
    if older is None or older.bundle is None:
        return ""
    one, other = _snapshot(older.bundle), _snapshot(newer.bundle)
    if one is None or other is None:
        return ""
    parts = [
        _numbers("routes", one.routes, other.routes),
        _numbers("rules", one.rules, other.rules),
        _numbers("backends", _settings(one), _settings(other)),
        _numbers("certificates", one.tls_hosts, other.tls_hosts),
        "settings" if one.config != other.config else "",
    ]
    return ", ".join(filter(None, parts)) or "servers only"


def _snapshot(bundle: Bundle) -> Snapshot | None:
    try:
        update = update_from([pb.SyncResponse.FromString(bundle.files[STATE])], bundle.cluster)
    except (KeyError, DecodeError, ProtocolError):
        return None
    return update if isinstance(update, Snapshot) else None


def _settings(snapshot: Snapshot) -> dict[str, object]:
    return {name: backend.settings for name, backend in snapshot.backends.items()}


def _numbers(kind: str, one: Mapping[K, object], other: Mapping[K, object]) -> str:
    counts = {
        "+": len(other.keys() - one.keys()),
        "-": len(one.keys() - other.keys()),
        "~": sum(one[key] != other[key] for key in one.keys() & other.keys()),
    }
    told = " ".join(f"{sign}{number}" for sign, number in counts.items() if number)
    return f"{told} {kind}" if told else ""


# ---------------------------------------------------------------- in words


def difference(one: Entry, other: Entry) -> Iterator[str]:
    """Lines of a unified diff: the labels and settings that the two were made from, and HAProxy's files. Raises
    ConfigError for what can't be read."""
    before, after = _texts(one), _texts(other)
    for name in sorted(before.keys() | after.keys(), key=lambda name: (name != LABELS, name)):
        places = [f"{each.version.revision[:12]}/{name}" for each in (one, other)]
        lines = [text.get(name, "").splitlines() for text in (before, after)]
        yield from difflib.unified_diff(lines[0], lines[1], places[0], places[1], lineterm="")


LABELS = "labels"


def _texts(entry: Entry) -> dict[str, str]:
    if entry.bundle is None:
        raise ConfigError(entry.version.revision[:12], f"can't be read: {entry.fault}")
    files = dict(entry.bundle.files)
    files.pop(STATE, None)
    inputs = files.pop(INPUTS, None)
    texts = {name: content.decode(errors="replace") for name, content in files.items()}
    return texts if inputs is None else {**texts, LABELS: "\n".join(_written(inputs))}


def _written(inputs: bytes) -> Iterator[str]:
    found = from_json(inputs)
    yield f"Config = {found.config.decode(errors='replace')}"
    for name, text in sorted(found.services.items()):
        yield from (f"{name}: {key}={value}" for key, value in _lines(text))


def _lines(text: Written) -> Iterator[tuple[str, str]]:
    yield from text.labels
    yield from ((f"container {key}", value) for key, value in text.container_labels)
