"""Options of gRPC connections between core and extensions, the same on both ends."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from l7.kit import tls

Options = Sequence[tuple[str, int | str]]

PROXY = "l7-proxy"
"""Initial metadata of the Sync stream of an extension service: the oldest proxy of its cluster, as in Hello."""

_KEEPALIVE: Options = (
    # A peer whose node is gone is noticed within 15 s; overlays lose idle connections without a word.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

SERVER_OPTIONS: Options = (
    *_KEEPALIVE,
    # Without this a server ends connections whose client pings as often as ours do ("too many pings").
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Two processes on one port would share the extensions between them, silently.
    ("grpc.so_reuseport", 0),
)

CLIENT_OPTIONS: Options = (
    *_KEEPALIVE,
    # gRPC's own pause between tries grows to 2 minutes; a core that comes back is wanted sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Not a pause, whatever its name: how long a try may take, its TLS handshake included, on a busy machine or far
    # away. An address that swallows everything, as that of a core that has moved, costs as much.
    ("grpc.min_reconnect_backoff_ms", 2_000),
)


def open_channel(
    address: str, files: tls.TlsFiles | None, name: str = tls.CORE_NAME, own: bool = False
) -> grpc.aio.Channel:
    """A channel to core, or to whoever proves the DNS name `name`. Without TLS files only to loopback or a unix
    socket. `own`: with connections, and their pauses after failures, of its own. Raises ConfigError."""
    options: Options = (*CLIENT_OPTIONS, ("grpc.use_local_subchannel_pool", int(own)))
    if files is None:
        tls.require_private(address)
        return grpc.aio.insecure_channel(address, options=options)
    # A certificate names the role; at which address its holder happens to be reached is the operator's choice.
    options = (*options, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(address, tls.client_credentials(files), options=options)
