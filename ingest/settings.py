"""Settings of the ingest worker."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import Field, FilePath, field_validator

from pipeline.formats.settings import PictureSettings
from pipeline.settings import SourceSettings, WorkerSettings


class IngestSettings(WorkerSettings, SourceSettings, PictureSettings):
    """Limits of downloads, and how they talk to untrusted servers."""

    source_connect_timeout: float = Field(
        10.0, gt=0, description="Seconds to resolve a host name, and again to connect to each of its addresses."
    )
    source_read_timeout: float = Field(
        30.0, gt=0, description="Seconds for which a server may send nothing. Object stores pause for a few seconds."
    )
    source_answer_timeout: float = Field(
        60.0, gt=0, description="Seconds until all headers of a response have to arrive, however slowly they come."
    )
    source_time_limit: float = Field(
        5 * 3600.0,
        gt=0,
        description=(
            "Maximum seconds of a download. Below TILEWRIGHT_STAGE_TIME_LIMIT, so that the error names the source."
        ),
    )
    source_min_rate: int = Field(
        4096,
        ge=0,
        description=(
            "Minimum bytes a second from a source, measured over TILEWRIGHT_SOURCE_RATE_WINDOW: half of what a "
            "telephone modem manages. A server that sends less only holds the connection open."
        ),
    )
    source_rate_window: float = Field(
        60.0, gt=0, description="Seconds over which a source's rate is measured. A working server pauses for less."
    )
    source_connections: int = Field(
        4,
        ge=1,
        le=32,
        description=(
            "Maximum connections of one download, if the server supports ranges. As few as a browser opens, and "
            "enough that a server's limit for one connection no longer matters."
        ),
    )
    source_max_tiles: int = Field(
        10_000,
        ge=0,
        description=(
            "Maximum tiles that are fetched of a IIIF image whose server sends it reduced otherwise: one request each, "
            "2.6 gigapixels in tiles of 512 x 512. 0: tiles are not joined."
        ),
    )
    source_host_connections: int = Field(
        8,
        ge=1,
        description=(
            "Maximum connections of one worker to one host, over all its downloads. A download waits until its host "
            "has room."
        ),
    )
    source_max_redirects: int = Field(
        5,
        ge=0,
        description="Maximum redirects to follow. More are usually a loop or a sign-in page.",
    )
    source_max_header_bytes: int = Field(
        65536,
        ge=1024,
        description="Maximum bytes of a response's headers in all: several times what servers accept in a request.",
    )
    source_ca_bundle: FilePath | None = Field(
        None,
        description=(
            "PEM file of certificates to trust for https sources, besides the public authorities: an organisation's "
            "own authority, or an intermediate certificate that a server leaves out."
        ),
    )
    source_contact: str = Field(
        "",
        max_length=200,
        # It stands in a comment of the header (RFC 9110, 5.6.5): ASCII without brackets, backslashes and line breaks.
        pattern=r"^[ -'*-\[\]-~]*$",
        description=(
            "URL or e-mail address in the User-Agent, so that a server's owner can contact you. Some servers require "
            "one, among them those of Wikimedia and OpenStreetMap. Without it, the User-Agent is only "
            "`Tilewright/VERSION`."
        ),
    )
    preflight_min_bytes: int = Field(
        1024**2,
        ge=0,
        description=(
            "Bytes of the smallest source whose header is read before the download. A smaller one is downloaded within "
            "the tenth of a second that this takes."
        ),
    )
    header_max_bytes: int = Field(
        2 * 1024**2,
        ge=65536,
        description=(
            "Maximum bytes to fetch for reading a header; for a large source a 256th of its length if that is more, up "
            "to 64 MiB. A pyramidal TIFF takes about 90 kB, and larger ones take more."
        ),
    )
    header_time_limit: float = Field(
        10.0, gt=0, description="Maximum seconds for reading a header. After that the download begins without it."
    )
    inspect_answer_timeout: float = Field(
        10.0,
        gt=0,
        description=(
            "Seconds for which a server may send nothing to an inspection. Short, because a person waits, and so do "
            "other inspections."
        ),
    )
    inspect_time_limit: float = Field(
        60.0, gt=0, description="Maximum seconds of an inspection. Short, because a person waits and it fetches little."
    )

    @field_validator("source_ca_bundle")
    @classmethod
    def _require_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ValueError(f"{path} is not a readable PEM file of certificates") from error
        return path
