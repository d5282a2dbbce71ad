"""How every gRPC channel and server of the stack is set up. Loads no gRPC: containers' health checks read it, too."""

from __future__ import annotations

MAX_MESSAGE = 16 * 1024**2
"""Bytes of one answer: the catalogue's largest page, 200 datasets of the longest texts, takes about ten million."""

MAX_REQUEST = 1024**2
"""Bytes of one request: the longest texts of a dataset take a twentieth of it. The event loop reads it in one go."""

KEEPALIVE_TIME = 3
"""Seconds without data after which a peer is asked for a sign of life, calls or none."""

KEEPALIVE_TIMEOUT = 3
"""Seconds that the peer may take to give it; then the connection counts as lost, and the next call makes another. With
the time above less than a lease, so that a connection lost on the way ends no run. TCP by itself takes 15 minutes."""

_KEEPALIVE: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT * 1000),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT * 1000),  # gRPC's default, 60 s, would rule otherwise
    # Else the first calls after a quiet time would each wait for their own deadline on a connection that is gone.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # A restarted statussvc is found again within a second, not after gRPC's default two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Several stacks on one machine must not share one process-wide connection.
    ("grpc.use_local_subchannel_pool", 1),
    # The stack's own calls never leave it: an http_proxy of the environment is for others.
    ("grpc.enable_http_proxy", 0),
    *_KEEPALIVE,
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST),
    # Clients that have vanished are found out likewise, and their watches end.
    *_KEEPALIVE,
    # gRPC's default ends connections that are pinged more often than every five minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME * 1000 // 2),
)


def bracketed(host: str) -> str:
    """Give a host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def reachable(host: str) -> str:
    """Give the host, in a URL's form, under which this machine's processes reach what listens there."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(bracketed(host), bracketed(host))  # noqa: S104  compared only
