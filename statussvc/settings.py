"""Settings of statussvc."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator
from sqlalchemy import make_url

from pipeline.settings import Settings


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class StatusSettings(Settings):
    """Where the database is, and the limits of runs and rows."""

    database_url: str = Field(
        "sqlite:///tilewright-data/tilewright.sqlite3",
        description="SQLAlchemy URL: sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
    )
    database_reserve_bytes: int = Field(
        16 * 1024**2,
        ge=0,
        description=(
            "Free bytes on a SQLite file's volume below which nothing new is accepted, so that what was accepted can "
            "still be completed: a row takes a few kilobytes."
        ),
    )
    search_seconds: float = Field(
        3.0,
        gt=0,
        le=4.0,
        description=(
            "Seconds that a search (`q`) may take before it ends as search_too_slow. It is refused if it has to wait "
            "that long for its turn. Both together stay below the 10 seconds that an rpc may take."
        ),
    )
    grpc_host: str = Field(
        "127.0.0.1",
        description="Address to listen on. The service has no authentication, hence loopback.",
    )
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    lease_seconds: float = Field(
        10.0,
        gt=0,
        description="Seconds without a heartbeat after which a run counts as dead: twenty missed heartbeats.",
    )
    crash_limit: int = Field(
        3,
        ge=1,
        description="Dead runs after which a dataset fails as worker_died: it is then likely to be the cause.",
    )
    retry_limit: int = Field(
        5, ge=0, description="Automatic retries of a failed stage. With the delays below they take about a minute."
    )
    retry_base_seconds: float = Field(
        2.0, gt=0, description="Seconds before the first automatic retry; doubled for each further one."
    )
    retry_cap_seconds: float = Field(
        300.0,
        gt=0,
        description="Longest delay before a retry, in seconds. A longer Retry-After of a source costs no retry.",
    )
    retry_after_cap_seconds: float = Field(
        86400.0,
        gt=0,
        description=(
            "Longest Retry-After of a source that is waited for, in seconds: a day. Others of its host wait too."
        ),
    )
    source_fresh_seconds: float = Field(
        0.0,
        ge=0,
        description=(
            "Seconds after its download for which the stored file of a dataset that is ready is used for another one "
            "of the same URL without asking the server whether it has changed. 0: always ask, because who submits a "
            "URL again may have replaced the file. Raise it for servers that send neither ETag nor Last-Modified."
        ),
    )
    publish_lease_seconds: float = Field(
        15.0,
        gt=0,
        description=(
            "Seconds for which one publisher has a wake-up; if it dies, another one publishes it after that time. "
            "Longer than a publish may block (10); if shorter, a wake-up may be published twice, which does no harm."
        ),
    )
    lost_after_seconds: float = Field(
        60.0,
        gt=0,
        description=(
            "Seconds after which a published wake-up that no worker took counts as lost, if its queue is empty or "
            "later ones were taken. It is published again. Far longer than a broker takes; a duplicate does no harm."
        ),
    )
    keep_sources_days: Annotated[float | None, Field(ge=0), BeforeValidator(_none_if_empty)] = Field(
        None,
        description=(
            "Days for which the source of a dataset that is ready, failed or cancelled is kept; a later retry "
            "downloads it again. Empty: for ever, because its server may no longer have it."
        ),
    )
    keep_versions: int = Field(
        1,
        ge=1,
        le=100,
        description=(
            "How many versions of a dataset are kept when refreshes replace its pyramid, the present one included. 1: "
            "only the present one, because each takes the disk space of its tiles."
        ),
    )
    version_grace_seconds: float = Field(
        3600.0,
        ge=0,
        description=(
            "Seconds for which a replaced pyramid is kept in any case: viewers that were opened before go on that long."
        ),
    )
    purge_days: float = Field(
        30.0,
        ge=0,
        description=(
            "Days after which the rows of deleted datasets, and of runs and changes that later ones followed, are "
            "removed. Long enough to find out what happened. 0: never."
        ),
    )
    slot_rate: float = Field(
        1024.0**2,
        ge=0,
        description=(
            "Bytes a second with which a download keeps its slot however long others wait: a gigabyte in a quarter of "
            "an hour. Slower downloads give way and continue later; nothing counts against them. 0: none gives way."
        ),
    )
    slot_seconds: float = Field(
        5.0,
        gt=0,
        description=(
            "Seconds that a dataset waits for a slot before the slowest download gives way. A download keeps its slot "
            "at least that long, so that its rate can be measured."
        ),
    )
    abandon_runs: Literal["no", "released", "expired"] = Field(
        "no",
        description=(
            "At start, end all runs, as released (nothing counts against their datasets) or as expired (a crash each), "
            "and publish all waiting rows again. Only for stacks in which no worker outlives statussvc: `up` sets it."
        ),
    )

    @field_validator("database_url")
    @classmethod
    def _has_a_file(cls, url: str) -> str:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ValueError("SQLite needs a file: sqlite:///PATH. A database in memory is lost with the process.")
        return url
