"""Settings shared by the services: one validated object a service, read from TILEWRIGHT_… variables.

Every field has a unit and a default with its reason; `docs/settings.md` is made from them by `make docs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list given as one comma-separated variable."""


class Settings(BaseSettings):
    """What every service needs to know."""

    model_config = SettingsConfigDict(env_prefix="TILEWRIGHT_", extra="ignore", frozen=True)

    log_level: str = Field("INFO", description="Least level of what is logged: DEBUG, INFO, WARNING or ERROR.")
    log_json: bool = Field(
        False, description="One JSON object a line instead of text; compose sets it, since machines read those logs."
    )


class StatusClientSettings(Settings):
    """Where statussvc is."""

    status_address: str = Field("127.0.0.1:50051", description="HOST:PORT of statussvc's gRPC server.")


class BrokerSettings(Settings):
    """Where RabbitMQ is."""

    rabbitmq_url: str = Field(
        "amqp://guest:guest@127.0.0.1:5672/", description="AMQP URL of the broker; RabbitMQ's own default account."
    )


class StorageSettings(Settings):
    """Where sources and pyramids lie."""

    storage: Path = Field(
        Path("tilewright-data/storage"),
        description="Directory of sources, pyramids and scratch, shared by all services.",
    )
    disk_reserve_bytes: int = Field(
        1024**3,
        ge=0,
        description=(
            "Bytes that are left free on the storage's volume: a job that would take them fails as out_of_disk. A "
            "gigabyte, since a brimful volume stops the database, the logs and all other jobs, too."
        ),
    )


class SourceSettings(Settings):
    """Which sources are accepted."""

    allow_sources: CommaSeparated = Field(
        (),
        description=(
            "Comma-separated hosts or CIDRs that may be fetched from although they are private or loopback. "
            "Empty: a stranger's URL must not reach the operator's own network."
        ),
    )


class WorkerSettings(StatusClientSettings, BrokerSettings, StorageSettings):
    """What both kinds of worker need."""

    stage_time_limit: float = Field(
        6 * 3600.0,
        gt=0,
        description="Seconds one run of a stage may take: a terabyte at 50 MB/s takes under six hours.",
    )
    stage_progress_limit: float = Field(
        300.0, gt=0, description="Seconds a run may go without any progress: far above any decoder's silent phase seen."
    )
