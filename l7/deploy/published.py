"""Published configurations as Docker config objects: their names and labels, and which to make and remove. Pure.

A *revision* is what operators and users decided; of each, the newest *version* is kept, which differs from the
one before by the tasks that there were. A version is one object, or several parts of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from l7.deploy.names import FLEET, MANAGED
from l7.labels.table import PROXY_CLUSTER
from l7.model import StoredSecret
from l7.publication import Publication

NAME = "com.docker.interlock.proxy."
REVISION = "com.docker.l7.revision"
STATE = "com.docker.l7.state"
CONTENT = "com.docker.l7.content"
PUBLISHED = "com.docker.l7.published"
PART = "com.docker.l7.part"
SIZE = "com.docker.l7.size"
COUNTS = "com.docker.l7.counts"
SOFTWARE = "com.docker.l7.software"

LONGEST_PART = 1_023_999
"""Bytes of a config object: Docker refuses 1,024,000."""
MOST_PARTS = 8
KEPT = 20
"""Revisions of a cluster that stay, if they have no more than KEPT_BYTES, and LEAST_KEPT in any case: a list of
configs brings the content of all, and Swarm keeps them in memory."""
KEPT_BYTES = 16_000_000
LEAST_KEPT = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A config object to be made."""

    name: str
    data: bytes
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it is stored. `published`: when it was the newest, RFC 3339. `parts` in order; `size` in bytes;
    `whole`: none of them is missing."""

    cluster: str
    revision: str
    content: str
    published: str
    parts: tuple[StoredSecret, ...]
    size: int
    whole: bool

    @property
    def labels(self) -> dict[str, str]:
        """Those of its first part."""
        return dict(self.parts[0].labels)


@dataclass(frozen=True, slots=True)
class Plan:
    """In this order: clear what somebody left half done, make, mark as the newest (None: it is already), remove."""

    clear: tuple[StoredSecret, ...] = ()
    make: tuple[Part, ...] = ()
    mark: StoredSecret | None = None
    remove: tuple[StoredSecret, ...] = ()


def parts_of(publication: Publication, archive: bytes, now: str) -> tuple[Part, ...]:
    """The objects that hold an archive; `now`: RFC 3339, UTC."""
    pieces = [archive[at : at + LONGEST_PART] for at in range(0, len(archive), LONGEST_PART)]
    total = len(pieces)
    labels = _labels(publication, len(archive), now)
    return tuple(
        Part(_name(publication, number, total), piece, {**labels, PART: f"{number}/{total}"})
        for number, piece in enumerate(pieces, 1)
    )


def too_large(archive: bytes) -> str:
    """Why an archive can't be stored, "" when it can."""
    if len(archive) <= MOST_PARTS * LONGEST_PART:
        return ""
    return f"is {len(archive):,} bytes long, compressed, and at most {MOST_PARTS * LONGEST_PART:,} can be stored"


def versions(configs: Iterable[StoredSecret], cluster: str) -> tuple[Version, ...]:
    """What is stored for a cluster, the newest first."""
    found: dict[tuple[str, str], list[StoredSecret]] = {}
    for config in configs:
        labels = dict(config.labels)
        ours = config.name.startswith(NAME) and labels.get(MANAGED) == FLEET
        if ours and labels.get(PROXY_CLUSTER) == cluster and _place(labels)[0]:
            found.setdefault((labels.get(REVISION, ""), labels.get(CONTENT, "")), []).append(config)
    every = (_version(cluster, key, parts) for key, parts in found.items())
    return tuple(sorted(every, key=lambda each: (each.published, each.content), reverse=True))


def newest(found: Iterable[Version]) -> Version | None:
    """The one to start from."""
    return next((each for each in found if each.whole), None)


def plan(found: Collection[Version], wanted: tuple[Part, ...], pinned: str) -> Plan:
    """What makes `wanted` the newest, and leaves what is to be kept. `pinned`: a revision, "" for none.

    What services refer to stays anyway: Docker refuses to remove it.
    """
    labels = wanted[0].labels
    whole = [each for each in found if each.whole]
    clear = tuple(part for each in found if not each.whole for part in each.parts)
    same = next((each for each in whole if each.content == labels[CONTENT]), None)
    others = [each for each in whole if each is not same]
    kept = _kept(labels, others, pinned)
    remove = tuple(part for each in others if each not in kept for part in each.parts)
    if same is None:
        return Plan(clear, wanted, None, remove)
    return Plan(clear, (), None if same is whole[0] else same.parts[0], remove)


def _kept(labels: Mapping[str, str], others: Iterable[Version], pinned: str) -> list[Version]:
    """Beside the one with these labels. Another version of a revision that is kept already is not."""
    kept: list[Version] = []
    revisions, size = {labels[REVISION]}, int(labels[SIZE])
    for each in others:
        if each.revision in revisions:
            continue
        fits = len(revisions) < LEAST_KEPT or (len(revisions) < KEPT and size + each.size <= KEPT_BYTES)
        if fits or is_pinned(each.revision, pinned):
            kept.append(each)
            revisions.add(each.revision)
            size += each.size
    return kept


def is_pinned(revision: str, pin: str) -> bool:
    """Whether a pin means this revision: it may be shortened."""
    return bool(pin) and revision.startswith(pin)


# ---------------------------------------------------------------- one object


def _name(publication: Publication, number: int, total: int) -> str:
    name = f"{NAME}{publication.revision[:12]}.{publication.content[:8]}"
    return name if total == 1 else f"{name}.{number}"


def _labels(publication: Publication, size: int, now: str) -> dict[str, str]:
    return {
        MANAGED: FLEET,
        PROXY_CLUSTER: publication.cluster,
        REVISION: publication.revision,
        STATE: publication.state,
        CONTENT: publication.content,
        PUBLISHED: now,
        SIZE: str(size),
        COUNTS: " ".join(f"{kind}={number}" for kind, number in sorted(publication.counts.items())),
        SOFTWARE: publication.software,
    }


def _place(labels: Mapping[str, str]) -> tuple[int, int]:
    """(number of the part, how many there are); (0, 0) when that makes no sense."""
    number, _, total = labels.get(PART, "").partition("/")
    if not (number.isdecimal() and total.isdecimal() and 0 < int(number) <= int(total)):
        return 0, 0
    return int(number), int(total)


def _version(cluster: str, key: tuple[str, str], configs: list[StoredSecret]) -> Version:
    places = sorted(_numbered(configs), key=lambda each: each[0])
    parts = tuple(config for _, config in places)
    labels = dict(parts[0].labels)
    size = labels.get(SIZE, "")
    whole = [number for number, _ in places] == list(range(1, _place(labels)[1] + 1))
    published = labels.get(PUBLISHED, "")
    return Version(cluster, *key, published, parts, int(size) if size.isdecimal() else 0, whole)


def _numbered(configs: Iterable[StoredSecret]) -> Iterator[tuple[int, StoredSecret]]:
    return ((_place(dict(config.labels))[0], config) for config in configs)
