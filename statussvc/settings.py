"""Settings of statussvc."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator
from sqlalchemy import make_url

from pipeline.settings import Settings


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class StatusSettings(Settings):
    """Where the rows lie, and what a run is allowed."""

    database_url: str = Field(
        "sqlite:///tilewright-data/tilewright.sqlite3",
        description="SQLAlchemy URL: sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
    )
    database_reserve_bytes: int = Field(
        16 * 1024**2,
        ge=0,
        description=(
            "Bytes of a SQLite file's volume below which nothing new is accepted. What was accepted already can then "
            "still be written to its end: a row takes a few kilobytes."
        ),
    )
    search_seconds: float = Field(
        3.0,
        gt=0,
        le=4.0,
        description=(
            "Seconds that a search (`q`) may take before it is ended as search_too_slow, and that it may wait for its "
            "turn before it is refused. Both together stay below the ten that an rpc may take."
        ),
    )
    grpc_host: str = Field(
        "127.0.0.1",
        description="Address to listen on. The service has no log-in, so it is loopback unless told otherwise.",
    )
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    lease_seconds: float = Field(
        10.0, gt=0, description="Seconds without a new beat after which a run counts as dead: twenty missed beats."
    )
    crash_limit: int = Field(
        3,
        ge=1,
        description="At this many dead runs a dataset fails as worker_died: by then it is the dataset's own doing.",
    )
    retry_limit: int = Field(
        5, ge=0, description="Automatic retries of a failed stage; with the back-off below they span about a minute."
    )
    retry_base_seconds: float = Field(
        2.0, gt=0, description="Seconds before the first automatic retry; doubled at each."
    )
    retry_cap_seconds: float = Field(
        300.0,
        gt=0,
        description="Longest wait before a retry, in seconds; a source's Retry-After is capped to it as well.",
    )
    publish_lease_seconds: float = Field(
        15.0,
        gt=0,
        description=(
            "Seconds for which a wake-up is one publisher's; when that one has died, another publishes it after them. "
            "Longer than a publish may block (10); if shorter, a wake-up may be published twice, which does no harm."
        ),
    )
    lost_after_seconds: float = Field(
        60.0,
        gt=0,
        description=(
            "Seconds after which a wake-up that was published, and whose queue is empty or has been overtaken, counts "
            "as lost and is published again. Far above what a broker takes; a double does no harm."
        ),
    )
    keep_sources_days: Annotated[float | None, Field(ge=0), BeforeValidator(_none_if_empty)] = Field(
        None,
        description=(
            "Days for which the original of a dataset that is ready, failed or cancelled is kept; a retry after them "
            "downloads it again. Empty: for ever, since a source may be gone when it is wanted next."
        ),
    )
    purge_days: float = Field(
        30.0,
        ge=0,
        description=(
            "Days after which the rows of deleted datasets, and of runs that a later one has followed, are removed. "
            "Long enough to look into what has happened. 0: never."
        ),
    )
    slot_rate: float = Field(
        1024.0**2,
        ge=0,
        description=(
            "Bytes a second with which a download keeps its slot however long others wait: a gigabyte in a quarter of "
            "an hour. Slower ones give way, go on later and are not blamed. 0: none ever gives way."
        ),
    )
    slot_seconds: float = Field(
        5.0,
        gt=0,
        description=(
            "Seconds that a dataset waits for a slot before the slowest download gives way, and that a download has "
            "its slot at least: long enough to tell its rate."
        ),
    )
    abandon_runs: Literal["no", "released", "expired"] = Field(
        "no",
        description=(
            "At start, end all runs, as released (nobody is blamed) or as expired (a crash each), and publish all "
            "waiting rows anew. Only right where no worker outlives statussvc: the embedded stack sets it."
        ),
    )

    @field_validator("database_url")
    @classmethod
    def _has_a_file(cls, url: str) -> str:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ValueError("SQLite needs a file: sqlite:///PATH. What is in memory is lost with the process.")
        return url
