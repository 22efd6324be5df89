"""Published configurations as Docker config objects: their names and labels, and which to make and remove. Pure.

A *revision* is what operators and users decided; of each, the newest *version* is kept, which differs from the
one before by the tasks that there were. A version is one object, or several parts of it; in file mode there is one
more for each file that proxies are run from, as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from l7.deploy.names import FLEET, MANAGED
from l7.kit.errors import ProtocolError
from l7.labels.table import PROXY_CLUSTER
from l7.model import StoredSecret
from l7.publication import Deployment, Publication, deployment_of

NAME = "com.docker.interlock.proxy."
REVISION = "com.docker.l7.revision"
STATE = "com.docker.l7.state"
CONTENT = "com.docker.l7.content"
PUBLISHED = "com.docker.l7.published"
PART = "com.docker.l7.part"
SIZE = "com.docker.l7.size"
COUNTS = "com.docker.l7.counts"
SOFTWARE = "com.docker.l7.software"
DEPLOYMENT = "com.docker.l7.deployment"
"""On the first part: how proxies run with it, JSON (`l7.publication`)."""
FILE = "com.docker.l7.file"
"""On a file of file mode: its number and how many there are, as PART has it."""
MOUNT = "com.docker.l7.mount"
"""On the same: where proxies find it."""

LONGEST_PART = 1_023_999
"""Bytes of a config object: Docker refuses 1,024,000."""
MOST_PARTS = 8
KEPT = 20
"""Revisions of a cluster that stay, if they have no more than KEPT_BYTES, and LEAST_KEPT in any case: a list of
configs brings the content of all, and Swarm keeps them in memory."""
KEPT_BYTES = 16_000_000
LEAST_KEPT = 3
RETURN = 2
"""Versions before the newest one that stay in file mode, of whatever revision, besides those that services are seen
to need: Swarm goes back to one by itself, and protects only what a service refers to now."""


@dataclass(frozen=True, slots=True)
class Part:
    """A config object to be made."""

    name: str
    data: bytes
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it is stored. `published`: when it was the newest, RFC 3339. `parts` in order; `size` in bytes;
    `files`: those of file mode, by the paths in proxies; `whole`: none of all is missing."""

    cluster: str
    revision: str
    content: str
    published: str
    parts: tuple[StoredSecret, ...]
    size: int
    whole: bool
    files: tuple[tuple[str, StoredSecret], ...] = ()

    @property
    def objects(self) -> tuple[StoredSecret, ...]:
        """All that there is of it in Swarm."""
        return (*self.parts, *(config for _, config in self.files))

    @property
    def deployment(self) -> Deployment | None:
        """How proxies run with it; None: they don't, or that can't be read."""
        try:
            return deployment_of(self.labels[DEPLOYMENT]) if DEPLOYMENT in self.labels else None
        except ProtocolError:
            return None

    @property
    def labels(self) -> dict[str, str]:
        """Those of its first part."""
        return dict(self.objects[0].labels)


@dataclass(frozen=True, slots=True)
class Plan:
    """In this order: clear what is not whole, make, mark as the newest (None: it is anyway), remove."""

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
    ) + tuple(_files(publication, labels))


def _files(publication: Publication, labels: Mapping[str, str]) -> Iterator[Part]:
    """A file that is mounted in two places is two objects: each says where."""
    mounts = publication.deployment.mounts if publication.deployment is not None else ()
    own = {key: text for key, text in labels.items() if key != DEPLOYMENT}
    for number, (path, file) in enumerate(mounts, 1):
        place = {FILE: f"{number}/{len(mounts)}", MOUNT: path}
        yield Part(f"{_name(publication, 1, 1)}.file.{number}", publication.files[file], own | place)


def too_large(archive: bytes) -> str:
    """Why an archive can't be stored, "" when it can."""
    if len(archive) <= MOST_PARTS * LONGEST_PART:
        return ""
    return f"is {len(archive):,} bytes long, compressed, and at most {MOST_PARTS * LONGEST_PART:,} can be stored"


def too_large_to_mount(publication: Publication) -> str:
    """Which file of file mode can't be a config object, "" for none."""
    for path, file in publication.deployment.mounts if publication.deployment is not None else ():
        if len(publication.files[file]) > LONGEST_PART:
            return f"has {path}, {len(publication.files[file]):,} bytes long, and Docker takes {LONGEST_PART:,}"
    return ""


def versions(configs: Iterable[StoredSecret], cluster: str) -> tuple[Version, ...]:
    """What is stored for a cluster, the newest first."""
    found: dict[tuple[str, str], list[StoredSecret]] = {}
    for config in configs:
        labels = dict(config.labels)
        ours = config.name.startswith(NAME) and labels.get(MANAGED) == FLEET
        if ours and labels.get(PROXY_CLUSTER) == cluster and (_place(labels)[0] or _place(labels, FILE)[0]):
            found.setdefault((labels.get(REVISION, ""), labels.get(CONTENT, "")), []).append(config)
    every = (_version(cluster, key, parts) for key, parts in found.items())
    return tuple(sorted(every, key=lambda each: (each.published, each.content), reverse=True))


def newest(found: Iterable[Version]) -> Version | None:
    """The one to start from."""
    return next((each for each in found if each.whole), None)


def plan(found: Collection[Version], wanted: tuple[Part, ...], pinned: str, held: Collection[str] = ()) -> Plan:
    """What makes `wanted` the newest, and leaves what is to be kept. `pinned`: a revision, "" for none; `held`: ids
    of objects that services need, whose versions stay as a whole in file mode.

    What services refer to stays anyway: Docker refuses to remove it. What is left of a version so is completed when
    it comes back.
    """
    labels = wanted[0].labels
    same = next((each for each in found if each.content == labels[CONTENT]), None)
    others = [each for each in found if each is not same]
    whole = [each for each in others if each.whole]
    kept = _kept(labels, whole, pinned, held)
    clear = tuple(part for each in others if not each.whole for part in each.objects)
    remove = tuple(part for each in whole if each not in kept for part in each.objects)
    if same is None:
        return Plan(clear, wanted, None, remove)
    if not _complete(same.parts, PART):
        return Plan((*clear, *same.parts), _lacking(same, wanted, archive=False), None, remove)
    mark = None if same is newest(found) else same.parts[0]
    return Plan(clear, _lacking(same, wanted, archive=True), mark, remove)


def _lacking(version: Version, wanted: Iterable[Part], archive: bool) -> tuple[Part, ...]:
    """Files are added one by one. An archive is whole or made anew: parts of two may not fit."""
    there = {config.name for _, config in version.files}
    return tuple(part for part in wanted if (part.name not in there if FILE in part.labels else not archive))


def _kept(
    labels: Mapping[str, str], others: Iterable[Version], pinned: str, held: Collection[str]
) -> list[Version]:
    """Beside the one with these labels. Another version of a revision that is kept already is not."""
    kept: list[Version] = []
    revisions, size = {labels[REVISION]}, int(labels[SIZE])
    mounted = DEPLOYMENT in labels
    for place, each in enumerate(others):
        if mounted and (place < RETURN or _is_held(each, held)):
            kept.append(each)
            continue
        if each.revision in revisions:
            continue
        fits = len(revisions) < LEAST_KEPT or (len(revisions) < KEPT and size + each.size <= KEPT_BYTES)
        if fits or is_pinned(each.revision, pinned):
            kept.append(each)
            revisions.add(each.revision)
            size += each.size
    return kept


def _is_held(version: Version, held: Collection[str]) -> bool:
    return any(config.id in held for config in version.objects)


def is_pinned(revision: str, pin: str) -> bool:
    """Whether a pin means this revision: it may be shortened."""
    return bool(pin) and revision.startswith(pin)


# ---------------------------------------------------------------- one object


def _name(publication: Publication, number: int, total: int) -> str:
    name = f"{NAME}{publication.revision[:12]}.{publication.content[:8]}"
    return name if total == 1 else f"{name}.{number}"


def _labels(publication: Publication, size: int, now: str) -> dict[str, str]:
    deployment = publication.deployment
    return ({} if deployment is None else {DEPLOYMENT: deployment.text()}) | {
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


def _place(labels: Mapping[str, str], key: str = PART) -> tuple[int, int]:
    """(number of the part, how many there are); (0, 0) when that makes no sense."""
    number, _, total = labels.get(key, "").partition("/")
    if not (number.isdecimal() and total.isdecimal() and 0 < int(number) <= int(total)):
        return 0, 0
    return int(number), int(total)


def _version(cluster: str, key: tuple[str, str], configs: list[StoredSecret]) -> Version:
    parts, files = _numbered(configs, PART), _numbered(configs, FILE)
    labels = dict((parts or files)[0].labels)
    size = labels.get(SIZE, "")
    mounted = tuple((dict(config.labels).get(MOUNT, ""), config) for config in files)
    whole = _complete(parts, PART) and len(files) == _mounts(labels) and (not files or _complete(files, FILE))
    size_of = int(size) if size.isdecimal() else 0
    return Version(cluster, *key, labels.get(PUBLISHED, ""), parts, size_of, whole, mounted)


def _numbered(configs: Iterable[StoredSecret], key: str) -> tuple[StoredSecret, ...]:
    """Those that have a number of this kind, in order."""
    places = ((_place(dict(config.labels), key)[0], config) for config in configs)
    return tuple(config for _, config in sorted((each for each in places if each[0]), key=lambda each: each[0]))


def _complete(configs: Collection[StoredSecret], key: str) -> bool:
    places = [_place(dict(config.labels), key) for config in configs]
    return bool(places) and [number for number, _ in places] == list(range(1, places[0][1] + 1))


def _mounts(labels: Mapping[str, str]) -> int:
    """How many files there have to be."""
    try:
        return len(deployment_of(labels[DEPLOYMENT]).mounts) if DEPLOYMENT in labels else 0
    except ProtocolError:
        return -1
