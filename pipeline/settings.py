"""Settings shared by the services: one validated object a service, read from TILEWRIGHT_… variables.

Every field has a unit and a default with its reason; `docs/settings.md` is made from them by `make docs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline import machine
from pipeline.formats.libvips import UNTRUSTED_LOADERS


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


class PictureSettings(Settings):
    """Which pictures are taken: the same for whoever looks at a header first and for the tiler."""

    max_pixels: int = Field(
        100_000_000_000,
        gt=0,
        description=(
            "Pixels of the largest picture taken, judged by its header. The default takes about an hour at the "
            "40 million pixels a second that two cores reach, far inside the stage's time limit."
        ),
    )
    max_pixels_per_byte: int = Field(
        2000,
        gt=0,
        description=(
            "Pixels that each byte of a file may unpack to, above the 1,073,741,824 that any file may have. A map of "
            "all land at 43,200 x 21,600, black on white, has 500; files that are made to keep a server busy have "
            "8,000 and more. Photographs have 1 to 10."
        ),
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Bytes of memory that decoding and tiling one picture may take, the file's own pages left out; what would "
            "take more by its header is refused. 0 stands for three quarters of what the machine or the container has: "
            "the rest is for the worker and for the kernel's copies of files."
        ),
    )
    untrusted_formats: CommaSeparated = Field(
        (),
        description=(
            "Comma-separated formats that are read although libvips' authors do not hold their readers fit for "
            "strangers' files: svg. Empty, since such a reader is the likeliest to be taken over. Give ingest workers "
            "the same as tilers."
        ),
    )
    min_libvips: str = Field(
        "8.18.3",
        pattern=r"^\d+\.\d+\.\d+$",
        description=(
            "Least version of libvips that may open a stranger's file. 8.18.3 closes a heap write by a many-band "
            "TIFF (CVE-2026-69242); lower it only where the distribution has patched its own build."
        ),
    )

    @field_validator("untrusted_formats")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - set(UNTRUSTED_LOADERS):
            raise ValueError(f"no such format: {', '.join(sorted(unknown))}. There is: {', '.join(UNTRUSTED_LOADERS)}")
        return names

    @property
    def memory_limit(self) -> int:
        """Bytes that one decoding may take on this machine."""
        return self.decode_memory_bytes or machine.memory_bytes() * 3 // 4


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
