"""Options of every gRPC channel and server. This module does not load gRPC: containers' health checks use it, too."""

from __future__ import annotations

MAX_MESSAGE = 16 * 1024**2
"""Most bytes of a response: the catalogue's largest page, 200 datasets with the longest texts, takes about ten
million."""

MAX_REQUEST = 1024**2
"""Most bytes of a request: the longest texts of a dataset take a twentieth of it. The event loop parses it in one
step."""

KEEPALIVE_TIME = 3
"""Seconds without data after which a peer is pinged, even if there are no calls."""

KEEPALIVE_TIMEOUT = 3
"""Seconds to wait for the peer's response to a ping. Then the connection counts as lost, and the next call makes a new
one. Together with KEEPALIVE_TIME this is less than a lease, so that a lost connection does not end a run. TCP alone
would take 15 minutes to notice."""

_KEEPALIVE: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT * 1000),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT * 1000),  # overrides gRPC's default of 60 s
    # Otherwise the first calls after a quiet time would wait for their deadlines on a lost connection.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # Reconnect to a restarted statussvc within a second, not after gRPC's default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Several stacks on one machine must not share one process-wide connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Calls within the stack must not go through an http_proxy of the environment.
    ("grpc.enable_http_proxy", 0),
    *_KEEPALIVE,
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST),
    # Vanished clients are detected in the same way, and their watches end.
    *_KEEPALIVE,
    # By default, gRPC closes connections that are pinged more often than every five minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME * 1000 // 2),
)


def bracketed(host: str) -> str:
    """Return a host as in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def reachable(host: str) -> str:
    """Return the host, as in a URL, with which processes on this machine reach a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(bracketed(host), bracketed(host))  # noqa: S104  compared only
