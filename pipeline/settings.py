"""Settings shared by the services. Each service has one validated object, read from TILEWRIGHT_… variables.

The description of a field says its unit, and why its default is as it is. `make docs` writes `docs/settings.md`.
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
    """Settings of every service."""

    model_config = SettingsConfigDict(env_prefix="TILEWRIGHT_", extra="ignore", frozen=True)

    log_level: str = Field("INFO", description="Least level of logged lines: DEBUG, INFO, WARNING or ERROR.")
    log_json: bool = Field(
        False,
        description="Whether to log one JSON object a line instead of text. compose sets it for log collectors.",
    )


class StatusClientSettings(Settings):
    """The address of statussvc."""

    status_address: str = Field("127.0.0.1:50051", description="HOST:PORT of statussvc's gRPC server.")


class BrokerSettings(Settings):
    """The address of RabbitMQ."""

    rabbitmq_url: str = Field(
        "amqp://guest:guest@127.0.0.1:5672/",
        description="AMQP URL of the broker. The default is RabbitMQ's default account.",
    )


class StorageSettings(Settings):
    """The storage of sources and pyramids."""

    storage: Path = Field(
        Path("tilewright-data/storage"),
        description="Directory of sources, pyramids and scratch, shared by all services.",
    )
    disk_reserve_bytes: int = Field(
        1024**3,
        ge=0,
        description=(
            "Bytes to keep free on the storage's volume. A job that would need them fails as out_of_disk. The default "
            "is a gigabyte, since a full volume also stops the database, the logs and all other jobs."
        ),
    )


class SourceSettings(Settings):
    """Which sources are accepted."""

    allow_sources: CommaSeparated = Field(
        (),
        description=(
            "Comma-separated hosts or CIDRs that are allowed as sources although they are private or loopback. "
            "Empty by default, so that a submitted URL cannot reach the operator's network."
        ),
    )


class WorkerSettings(StatusClientSettings, BrokerSettings, StorageSettings):
    """Settings of both kinds of worker."""

    stage_time_limit: float = Field(
        6 * 3600.0,
        gt=0,
        description="Most seconds of one run of a stage. A terabyte at 50 MB/s takes less than six hours.",
    )
    stage_progress_limit: float = Field(
        300.0,
        gt=0,
        description="Most seconds of a run without progress: far more than any decoder's silent phase measured.",
    )
