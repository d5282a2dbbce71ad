"""Settings of the ingest worker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.formats.settings import PictureSettings
from pipeline.settings import SourceSettings, WorkerSettings


class IngestSettings(WorkerSettings, SourceSettings, PictureSettings):
    """What a fetch may cost, and how it speaks to strangers' servers."""

    max_source_bytes: int = Field(
        100 * 1024**3,
        gt=0,
        description="Bytes a source may have: above the largest scans known to us, below what fills a volume in a day.",
    )
    source_connect_timeout: float = Field(
        10.0, gt=0, description="Seconds to resolve a host's name, and again to connect to one of its addresses."
    )
    source_read_timeout: float = Field(
        30.0, gt=0, description="Seconds a server may send nothing at all: object stores pause for some at most."
    )
    source_answer_timeout: float = Field(
        60.0, gt=0, description="Seconds until a server's headers are all there, however slowly they drip in."
    )
    source_time_limit: float = Field(
        5 * 3600.0,
        gt=0,
        description="Seconds one download may take: less than TILEWRIGHT_STAGE_TIME_LIMIT, to fail by its own name.",
    )
    source_min_rate: int = Field(
        4096,
        ge=0,
        description=(
            "Bytes a second that a source has to send at least, over TILEWRIGHT_SOURCE_RATE_WINDOW: half of what the "
            "slowest telephone modem could, and enough to tell a server that only holds the connection."
        ),
    )
    source_rate_window: float = Field(
        60.0, gt=0, description="Seconds over which a source's rate is measured: longer than any pause of a good one."
    )
    source_connections: int = Field(
        4,
        ge=1,
        le=32,
        description=(
            "Connections one download may use where the server gives parts of a file: what browsers allow "
            "themselves, and where most servers' limit for one connection stops to matter."
        ),
    )
    source_host_connections: int = Field(
        8,
        ge=1,
        description=(
            "Connections one worker has to one host at a time, over all its downloads: a download whose host has no "
            "room waits for it."
        ),
    )
    source_max_redirects: int = Field(
        5,
        ge=0,
        description="Redirects that are followed: more is a loop or a sign-in, and a higher limit only tells it later.",
    )
    source_max_header_bytes: int = Field(
        65536,
        ge=1024,
        description="Bytes an answer's headers may have in all: several times what servers accept of a request.",
    )
    source_ca_bundle: Path | None = Field(
        None,
        description="PEM file of the certificate authorities to trust for https sources instead of the public ones.",
    )
    source_contact: str = Field(
        "",
        description="URL or e-mail address put into the User-Agent, so that a server's owner knows whom to ask.",
    )
    preflight_min_bytes: int = Field(
        1024**2,
        ge=0,
        description=(
            "Bytes of the least source whose header is read before the rest is fetched: a smaller one is here within "
            "the tenth of a second that this takes."
        ),
    )
    header_max_bytes: int = Field(
        2 * 1024**2,
        ge=65536,
        description=(
            "Bytes that reading a header may fetch, or the 256th part of a large source where that is more, at most 64 "
            "MiB: pyramidal TIFFs take 90 kB, and more the larger they are."
        ),
    )
    header_time_limit: float = Field(
        10.0, gt=0, description="Seconds that reading a header may take; past them the source is fetched without it."
    )
    inspect_answer_timeout: float = Field(
        10.0,
        gt=0,
        description=(
            "Seconds that a server may send nothing to an inspection: somebody waits for it, and so do those behind it."
        ),
    )
    inspect_time_limit: float = Field(
        60.0, gt=0, description="Seconds that an inspection may take: somebody waits for it, and it fetches little."
    )
