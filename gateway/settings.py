"""Settings of the gateway, from TILEWRIGHT_… variables."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator

from gateway.http import MAX_BODIES, MAX_UNSENT
from pipeline.settings import BrokerSettings, CommaSeparated, SourceSettings, StatusClientSettings, StorageSettings
from pipeline.sources import Allowed

PRIVATE_NETWORKS = ("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""Loopback and private networks: RFC 1918, RFC 4193."""


def _base_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise ValueError("has to be an http or https URL without a query, such as https://tiles.example.org")
    return value.rstrip("/")


class GatewaySettings(StatusClientSettings, BrokerSettings, StorageSettings, SourceSettings):
    """Where the gateway listens, who may use it, and its limits."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Loopback by default, because the gateway has no accounts or passwords.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 for any free port.")
    public_url: Annotated[str, BeforeValidator(_base_url)] = Field(
        "",
        description=(
            "Base URL at which users reach the gateway. If empty, links in responses are relative to the root, which "
            "works behind any proxy."
        ),
    )
    allowed_hosts: CommaSeparated = Field(
        (),
        description=(
            "Host names at which users reach the gateway, comma-separated, without ports; `*` or 0.0.0.0 for any. "
            "Requests for other hosts get 421: otherwise any web page could reach a gateway on this machine through a "
            "host name that resolves to it (DNS rebinding). Loopback names and TILEWRIGHT_PUBLIC_URL's are always "
            "allowed. If empty, a gateway on a loopback address allows only those, and any other gateway allows all."
        ),
    )
    allowed_origins: CommaSeparated = Field(
        (),
        description=(
            "Origins whose pages may change data through the API, comma-separated, such as https://viewer.example; `*` "
            "for any. Pages of all origins may read."
        ),
    )
    trusted_proxies: CommaSeparated = Field(
        PRIVATE_NETWORKS,
        description=(
            "Addresses or networks of proxies, comma-separated. Their header Forwarded or X-Forwarded-Proto tells the "
            "scheme, http or https, of absolute addresses in responses. Default: loopback and private networks."
        ),
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        description=(
            "Maximum simultaneous connections; further ones get 503. Default: 10,000, or fewer if the limit of open "
            "files is too low."
        ),
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds for a request's headers to arrive. A client has them ready when it connects.",
    )
    body_timeout: float = Field(
        60.0,
        gt=0,
        description=(
            "Seconds for a request's body, at most 256 KiB, to arrive. Also the time after which a client that reads "
            "nothing of its response is disconnected."
        ),
    )
    max_unsent_bytes: int = Field(
        MAX_UNSENT,
        ge=1,
        description=(
            "Maximum bytes of responses that are kept in memory for clients that have not read them yet, over all "
            "connections. Beyond it, the connections with the most of them are closed. 25 KiB for each of 10,000 "
            "connections; a client that reads leaves nothing there for long."
        ),
    )
    max_bodies_bytes: int = Field(
        MAX_BODIES,
        ge=1,
        description=(
            "Maximum bytes of request bodies, and of pipelined requests that wait, in memory over all connections. "
            "Beyond it, the requests with the largest get 503, or are cut off if their body has arrived. An ordinary "
            "body has a few hundred bytes."
        ),
    )
    idle_timeout: float = Field(
        60.0,
        ge=1,
        description="Seconds to keep an idle connection: four times the longest Retry-After for polling.",
    )
    adopt_storage: bool = Field(
        False,
        description=(
            "Use the storage although it does not belong to the database, and remove everything from it that the "
            "database does not know. For a single start, after a loss or a restore: see operations.md."
        ),
    )
    max_wait: float = Field(
        300.0,
        ge=0,
        description="Maximum seconds of `Prefer: wait=N` for a POST. Proxies give up on longer requests.",
    )
    sweep_interval: float = Field(
        300.0,
        gt=0,
        description=(
            "Seconds between two sweeps of storage; a deletion also starts one. Rare, because a sweep lists the whole "
            "storage, and files left over from crashes only cost space."
        ),
    )
    queue_check_interval: float = Field(
        30.0,
        gt=0,
        description=(
            "Seconds between two checks for empty RabbitMQ queues, which detect lost messages: half of "
            "TILEWRIGHT_LOST_AFTER_SECONDS."
        ),
    )
    iiif_max_area: int = Field(
        4 << 20,
        ge=1 << 20,
        description=(
            "Maximum pixels of an image that the IIIF service makes on request, at least 1,048,576. The default is "
            "2,048 x 2,048: a large screen, and a fifth of a second of work."
        ),
    )
    iiif_workers: int | None = Field(
        None,
        ge=1,
        description=(
            "Maximum child processes that make IIIF images, each with up to 64 MiB and 20 bytes for each pixel of the "
            "largest. Default: one a core, at most 4."
        ),
    )
    iiif_time_limit: float = Field(
        20.0,
        gt=0,
        description="Maximum seconds to make one IIIF image, a hundred times what the largest takes; 503 beyond.",
    )
    iiif_cache: Path | None = Field(
        None,
        description=(
            "Directory in which IIIF images that were made are kept. Default: `iiif-cache` beside TILEWRIGHT_STORAGE. "
            "A local disk is best; each gateway has a folder of its own in it."
        ),
    )
    iiif_cache_bytes: int = Field(
        1 << 30,
        ge=0,
        description=(
            "Maximum bytes of that directory for each gateway: 20,000 thumbnails of 50 kB. 0: nothing is kept. Those "
            "that were not requested for the longest time are removed first."
        ),
    )
    stop_timeout: int = Field(
        5, ge=0, description="Seconds for open requests to finish on a stop: half of what a whole stack has."
    )

    @field_validator("allowed_hosts", "allowed_origins")
    @classmethod
    def _as_browsers_write_them(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(entry.lower().rstrip("/") for entry in entries)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            ipaddress.ip_network(entry)
        return entries

    @field_validator("allow_sources")
    @classmethod
    def _can_be_read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        Allowed(entries)
        return entries
