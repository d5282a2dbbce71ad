"""What the gateway can be told by TILEWRIGHT_… variables."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator

from pipeline.settings import BrokerSettings, CommaSeparated, SourceSettings, StatusClientSettings, StorageSettings
from pipeline.sources import Allowed


def _base_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise ValueError("has to be an http or https URL without query, such as https://tiles.example.org")
    return value.rstrip("/")


class GatewaySettings(StatusClientSettings, BrokerSettings, StorageSettings, SourceSettings):
    """What the gateway needs to know."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Loopback: there are no accounts, so opening it is a decision."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    public_url: Annotated[str, BeforeValidator(_base_url)] = Field(
        "",
        description=(
            "Base URL under which users reach the gateway. Empty: answers carry root-relative links, "
            "which are right behind any proxy."
        ),
    )
    allowed_hosts: CommaSeparated = Field(
        (),
        description=(
            "Names under which users reach the gateway, comma-separated, without ports; `*` or 0.0.0.0 for any. "
            "Requests for other hosts are refused (421), or any page could reach a gateway on this machine by a name "
            "that leads here. Loopback names and TILEWRIGHT_PUBLIC_URL's are always allowed. Empty: only those where "
            "it listens on a loopback address, any name elsewhere."
        ),
    )
    allowed_origins: CommaSeparated = Field(
        (),
        description=(
            "Origins, such as https://viewer.example, comma-separated, whose pages may change things by the API; `*` "
            "for any. Pages of all origins may read."
        ),
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        description=(
            "Most connections at once; new ones beyond are refused with 503. Empty: 10,000, or fewer where the limit "
            "of open files leaves less."
        ),
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds in which a request's head has to arrive: a client has it ready when it connects.",
    )
    body_timeout: float = Field(
        60.0,
        gt=0,
        description=(
            "Seconds in which a request's body, at most 1 MiB, has to arrive; also those for which a client may take "
            "nothing of its answer."
        ),
    )
    idle_timeout: float = Field(
        60.0,
        ge=1,
        description="Seconds for which an unused connection is kept: four times the longest Retry-After for polling.",
    )
    adopt_storage: bool = Field(
        False,
        description=(
            "Use the storage although it is not the one that the database knows, and have removed from it what no row "
            "refers to. For one start, after a loss or a restore: see operations.md."
        ),
    )
    max_wait: float = Field(
        300.0,
        ge=0,
        description="Most seconds that `Prefer: wait=N` holds a POST: beyond it proxies give up.",
    )
    sweep_interval: float = Field(
        300.0,
        gt=0,
        description=(
            "Seconds between two sweeps of storage; a deletion starts one besides. Leftovers of crashes cost space "
            "only, and a sweep lists all of storage."
        ),
    )
    queue_check_interval: float = Field(
        30.0,
        gt=0,
        description=(
            "Seconds between two looks at whether RabbitMQ's queues are empty, which tells lost messages: half of "
            "TILEWRIGHT_LOST_AFTER_SECONDS."
        ),
    )
    stop_timeout: int = Field(
        5, ge=0, description="Seconds that open requests have to end in on a stop: half of what a whole stack has."
    )

    @field_validator("allowed_hosts", "allowed_origins")
    @classmethod
    def _as_browsers_write_them(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(entry.lower().rstrip("/") for entry in entries)

    @field_validator("allow_sources")
    @classmethod
    def _can_be_read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        Allowed(entries)
        return entries
