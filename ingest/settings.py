"""Settings of the ingest worker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.settings import SourceSettings, WorkerSettings


class IngestSettings(WorkerSettings, SourceSettings):
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
    source_ca_bundle: Path | None = Field(
        None,
        description="PEM file of the certificate authorities to trust for https sources instead of the public ones.",
    )
    source_contact: str = Field(
        "",
        description="URL or e-mail address put into the User-Agent, so that a server's owner knows whom to ask.",
    )
