"""What a service cluster's state is compiled from, but for what Swarm does: labels and the operator's settings.

A published configuration has it along, so that a cluster can be pinned to it: compiled from these labels, and from
the tasks that there are now. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from l7.config import Cluster
from l7.kit.errors import ProtocolError
from l7.labels.legacy import MESH, ONE
from l7.labels.table import PREFIX, STACK
from l7.model import Service, ServiceSpec

Labels = tuple[tuple[str, str], ...]
"""Sorted by key."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Written:
    """What a service's owner wrote, as far as it is read: labels of the service and of its containers; `before`:
    the same of its previous specification, where it is another."""

    labels: Labels = ()
    container_labels: Labels = ()
    before: tuple[Labels, Labels] | None = None

    @property
    def now(self) -> tuple[Labels, Labels]:
        """Without what was before."""
        return self.labels, self.container_labels


NOTHING = Written()


@dataclass(frozen=True, slots=True)
class Inputs:
    """`config`, `default_certificate`, `default_key`, `ip_hash`: as in `l7.config.Cluster`; `services` by name."""

    config: bytes = b"{}"
    default_certificate: str = ""
    default_key: str = ""
    ip_hash: bool = False
    services: Mapping[str, Written] = field(default_factory=dict)


def inputs_of(cluster: Cluster, services: Mapping[str, Written]) -> Inputs:
    """With the settings of a cluster."""
    return Inputs(cluster.config, cluster.default_certificate, cluster.default_key, cluster.ip_hash, services)


def with_settings(cluster: Cluster, inputs: Inputs) -> Cluster:
    """The cluster with those settings instead of its own."""
    return replace(
        cluster,
        config=inputs.config,
        default_certificate=inputs.default_certificate,
        default_key=inputs.default_key,
        ip_hash=inputs.ip_hash,
    )


def written(service: Service) -> Written:
    """What it says, as far as it is read."""
    spec, previous = service.spec, service.previous
    now = _read(spec.labels), _read(spec.container_labels)
    before = None if previous is None else (_read(previous.labels), _read(previous.container_labels))
    return Written(*now, None if before == now else before)


def rewritten(service: Service, text: Written) -> Service:
    """The service as if its owner had written that; all else of it is as it is."""
    previous: ServiceSpec | None = None
    if text.before is not None:
        previous = replace(service.spec, labels=text.before[0], container_labels=text.before[1])
    spec = replace(service.spec, labels=text.labels, container_labels=text.container_labels)
    return replace(service, spec=spec, previous=previous)


def _read(labels: Labels) -> Labels:
    return tuple(sorted(each for each in labels if each[0] == STACK or each[0].startswith(_PREFIXES)))


_PREFIXES = (PREFIX, ONE, MESH)


# ---------------------------------------------------------------- as bytes


def to_json(inputs: Inputs) -> bytes:
    """Same in, same bytes."""
    document = {
        "format": FORMAT,
        "config": orjson.loads(inputs.config),
        "default_certificate": inputs.default_certificate,
        "default_key": inputs.default_key,
        "ip_hash": inputs.ip_hash,
        "services": {name: _document(text) for name, text in inputs.services.items()},
    }
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def from_json(text: bytes) -> Inputs:
    """Raises ProtocolError for what is none, or of a version that is not known."""
    try:
        document = orjson.loads(text)
        if document["format"] != FORMAT:
            raise ProtocolError(f"labels of a configuration in format {document['format']}, which is not known")
        return Inputs(
            orjson.dumps(document["config"], option=orjson.OPT_SORT_KEYS),
            str(document["default_certificate"]),
            str(document["default_key"]),
            bool(document["ip_hash"]),
            {str(name): _written(each) for name, each in document["services"].items()},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"labels of a configuration can't be read: {type(error).__name__}: {error}") from error


def _document(text: Written) -> dict[str, Any]:
    document: dict[str, Any] = {"labels": dict(text.labels)}
    if text.container_labels:
        document["container_labels"] = dict(text.container_labels)
    if text.before is not None:
        document["before"] = _document(Written(*text.before))
    return document


def _written(document: Mapping[str, Any]) -> Written:
    before = _written(document["before"]).now if "before" in document else None
    return Written(_labels(document, "labels"), _labels(document, "container_labels"), before)


def _labels(document: Mapping[str, Any], key: str) -> Labels:
    pairs: Iterable[tuple[Any, Any]] = document.get(key, {}).items()
    return tuple(sorted((str(name), str(value)) for name, value in pairs))


# ---------------------------------------------------------------- pinned


def pinned_by(name: str, pins: Mapping[str, Inputs]) -> str | None:
    """The cluster whose pin has a service of this name, None: none has."""
    return next((cluster for cluster in sorted(pins) if name in pins[cluster].services), None)


def difference(now: Written, pinned: Written) -> bool:
    """Whether something that was written since waits."""
    return now.now != pinned.now
