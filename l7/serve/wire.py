"""Between the model and the messages of `l7.v1`: core's only converter. Pure.

Updates are cut into chunks of bounded size, so that an extension in any language can read 100,000 servers
with gRPC's default limit of 4 MB per message. Within an update removals come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from l7 import delta as deltas
from l7.kit.errors import ProtocolError
from l7.labels.grammar import printable
from l7.model import BackendChange, Changes, Delta, Problem, Server, ServerState, Snapshot
from l7.serve import wire_parts
from l7.serve.session import Ack, Counters, Health, Hello, Message, Nack, Report, Verdict
from l7.status import ClusterView
from l7.v1 import sync_pb2 as pb

CHUNK = 512 * 1024
"""Bytes of changes per message, about; a single item is never cut."""

_SERVERS = 500
"""Servers per piece of a backend: some 50 kB, so that pieces fill chunks well."""

_PROBLEMS = 10_000
_TEXT = 500
"""So many problems of a proxy are taken in, and so much of each text."""

_STATES = {
    ServerState.PENDING: pb.SERVER_STATE_PENDING,
    ServerState.READY: pb.SERVER_STATE_READY,
    ServerState.LEAVING: pb.SERVER_STATE_LEAVING,
}
_STATUS = {
    pb.HEALTH_STATUS_UP: "up",
    pb.HEALTH_STATUS_DOWN: "down",
    pb.HEALTH_STATUS_MAINTENANCE: "maintenance",
    pb.HEALTH_STATUS_GONE: "gone",
}

# ---------------------------------------------------------------- down: core to extension


def messages(update: Snapshot | Delta, limit: int = CHUNK, observed: int = 0) -> list[pb.SyncResponse]:
    """The update as messages, in order, `last` set on the last one. `limit` is bytes per chunk."""
    if isinstance(update, Snapshot):
        kind, applies_to, results_in = pb.UPDATE_KIND_COMPLETE, "", update.revision
        changes = deltas.everything(update)
    else:
        kind, applies_to, results_in = pb.UPDATE_KIND_INCREMENTAL, update.applies_to, update.results_in
        changes, observed = update.changes, update.observed
    chunks = [
        pb.SyncResponse(
            kind=kind,
            applies_to=applies_to,
            results_in=results_in,
            changes=chunk,
            observed_unix_nano=observed,
        )
        for chunk in _chunks(changes, limit)
    ]
    chunks[-1].last = True
    return chunks


def update_from(chunks: Sequence[pb.SyncResponse], cluster: str = "") -> Snapshot | Delta:
    """The update of which these are all the chunks, the inverse of `messages`.

    Raises ProtocolError when they are not one whole update.
    """
    _check_whole(chunks)
    changes = deltas.join_changes(changes_from(chunk.changes) for chunk in chunks)
    head = chunks[0]
    if head.kind == pb.UPDATE_KIND_INCREMENTAL:
        return Delta(head.applies_to, head.results_in, changes, head.observed_unix_nano)
    return deltas.snapshot_of(cluster, head.results_in, changes)


def changes_to(changes: Changes) -> pb.Changes:
    """All of the changes as one message."""
    whole = pb.Changes()
    for piece in _pieces(changes):
        whole.MergeFrom(piece)
    return whole


def changes_from(message: pb.Changes) -> Changes:
    """The inverse of `changes_to`. Raises ProtocolError for a server state that is unknown."""
    return Changes(
        backends=tuple(map(_backend_from, message.backends)),
        removed_backends=tuple(message.removed_backends),
        routes=tuple(map(wire_parts.route_from, message.routes)),
        removed_routes=tuple((key.host, key.path) for key in message.removed_routes),
        rules=tuple(map(wire_parts.rules_from, message.rules)),
        removed_rules=tuple(message.removed_rules),
        config=message.config.json if message.HasField("config") else None,
        tls_hosts=tuple(map(wire_parts.tls_host_from, message.tls_hosts)),
        removed_tls_hosts=tuple(message.removed_tls_hosts),
        challenges=tuple((each.token, each.key_authorization) for each in message.challenges),
        removed_challenges=tuple(message.removed_challenges),
        secret_sources=tuple(message.secret_sources.addresses) if message.HasField("secret_sources") else None,
    )


# ---------------------------------------------------------------- up: extension to core


def message_from(request: pb.SyncRequest) -> Message:
    """What an extension says. Raises ProtocolError for an empty message."""
    kind = request.WhichOneof("message")
    if kind == "hello":
        hello = request.hello
        serves = hello.role != pb.ROLE_EXTENSION
        return Hello(hello.cluster, hello.instance, hello.software, hello.proxy, hello.revision, serves)
    if kind == "ack":
        return Ack(request.ack.revision, request.ack.apply_microseconds)
    if kind == "nack":
        return Nack(request.nack.revision, request.nack.reason)
    if kind == "health":
        return _health_from(request.health)
    if kind == "report":
        return Report(tuple(map(_problem_from, request.report.problems[:_PROBLEMS])))
    raise ProtocolError("a SyncRequest without a message, or with one that this version does not know")


def _problem_from(message: pb.Problem) -> Problem:
    """Shown to people beside core's own, so cut and escaped like those."""
    texts = (message.service, message.label, message.message, message.remedy)
    service, label, told, remedy = (printable(text, _TEXT) for text in texts)
    return Problem(service, label, "", told, remedy, fatal=False)


def _health_from(message: pb.Health) -> Health:
    verdicts = tuple(
        Verdict(row.backend, row.task, _STATUS[row.status], row.up, row.proxies)
        for row in message.servers
        if row.status in _STATUS
    )
    counters = _counters_from(message.counters) if message.HasField("counters") else None
    return Health(verdicts, counters, _view_from(message.cluster) if message.HasField("cluster") else None)


def _counters_from(message: pb.Counters) -> Counters:
    return Counters(message.reloads, message.drift, message.held_requests, message.worker_pid)


def _view_from(message: pb.ClusterView) -> ClusterView:
    servers = (message.up, message.down, message.maintenance)
    return ClusterView(message.proxies, message.silent, *servers, message.sessions, message.queued)


# ---------------------------------------------------------------- pieces and chunks


def _chunks(changes: Changes, limit: int) -> Iterator[pb.Changes]:
    """At least one chunk, also for no changes: an update always has a last message."""
    chunk, size = pb.Changes(), 0
    for piece in _pieces(changes):
        cost = piece.ByteSize()
        if size and size + cost > limit:
            yield chunk
            chunk, size = pb.Changes(), 0
        chunk.MergeFrom(piece)
        size += cost
    yield chunk


def _pieces(changes: Changes) -> Iterator[pb.Changes]:
    """The changes in the smallest parts that are sent together, removals first."""
    yield from _removals(changes)
    if changes.config is not None:
        yield pb.Changes(config=pb.Config(json=changes.config))
    if changes.secret_sources is not None:
        yield pb.Changes(secret_sources=pb.SecretSources(addresses=changes.secret_sources))
    for token, authorization in changes.challenges:
        yield pb.Changes(challenges=[pb.Challenge(token=token, key_authorization=authorization)])
    for change in changes.backends:
        for part in _backend_parts(change):
            yield pb.Changes(backends=[part])
    for rules in changes.rules:
        yield pb.Changes(rules=[wire_parts.rules_to(rules)])
    for route in changes.routes:
        yield pb.Changes(routes=[wire_parts.route_to(route)])
    for host in changes.tls_hosts:
        yield pb.Changes(tls_hosts=[wire_parts.tls_host_to(host)])


def _removals(changes: Changes) -> Iterator[pb.Changes]:
    for name in changes.removed_backends:
        yield pb.Changes(removed_backends=[name])
    for host, path in changes.removed_routes:
        yield pb.Changes(removed_routes=[pb.RouteKey(host=host, path=path)])
    for name in changes.removed_rules:
        yield pb.Changes(removed_rules=[name])
    for host in changes.removed_tls_hosts:
        yield pb.Changes(removed_tls_hosts=[host])
    for token in changes.removed_challenges:
        yield pb.Changes(removed_challenges=[token])


def _backend_parts(change: BackendChange) -> Iterator[pb.Backend]:
    """A backend, cut where it has many servers; settings and removals go with the first part."""
    first = pb.Backend(name=change.name, removed_servers=change.removed_servers)
    if change.settings is not None:
        first.settings.CopyFrom(wire_parts.settings_to(change.settings))
    _add_servers(first, change.servers[:_SERVERS])
    yield first
    cuts = [*range(_SERVERS, len(change.servers), _SERVERS), len(change.servers)]
    for start, end in pairwise(cuts):
        part = pb.Backend(name=change.name)
        _add_servers(part, change.servers[start:end])
        yield part


def _add_servers(backend: pb.Backend, servers: Iterable[Server]) -> None:
    """Field by field, in place: a constructor takes three times as long, and there are 100,000 of these."""
    for server in servers:
        row = backend.servers.add()
        row.task, row.id = server.task, server.id
        row.address, row.port = server.address, server.port
        row.weight, row.state = server.weight, _STATES[server.state]
        row.stop_in_milliseconds, row.service = server.stop_in, server.service


def _backend_from(message: pb.Backend) -> BackendChange:
    return BackendChange(
        name=message.name,
        settings=wire_parts.settings_from(message.settings) if message.HasField("settings") else None,
        servers=tuple(_servers_from(message.servers)),
        removed_servers=tuple(message.removed_servers),
    )


def _servers_from(rows: Iterable[pb.Server]) -> Iterator[Server]:
    for row in rows:
        try:
            state = ServerState(row.state)
        except ValueError as error:
            raise ProtocolError(f"server {row.task} in unknown state {row.state}") from error
        stop_in = row.stop_in_milliseconds
        yield Server(row.task, row.id, row.address, row.port, row.weight, state, stop_in, row.service)


def _check_whole(chunks: Sequence[pb.SyncResponse]) -> None:
    if not chunks or not chunks[-1].last or any(chunk.last for chunk in chunks[:-1]):
        raise ProtocolError("not one whole update: `last` is not on the last chunk alone")
    if len({(chunk.kind, chunk.applies_to, chunk.results_in) for chunk in chunks}) != 1:
        raise ProtocolError("chunks of different updates")
    if chunks[0].kind not in (pb.UPDATE_KIND_COMPLETE, pb.UPDATE_KIND_INCREMENTAL):
        raise ProtocolError(f"update of unknown kind {chunks[0].kind}")
