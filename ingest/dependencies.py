"""What a worker of ingest has at hand for each of its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ingest.http import Guard, Hosts
from ingest.settings import IngestSettings
from pipeline.sources import Allowed
from pipeline.storage import Storage


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Shared by all jobs of one process.

    Parameters
    ----------
    guard: says which addresses may be connected to.
    hosts: counts the connections to each host, whoever has them.
    """

    settings: IngestSettings
    guard: Guard
    hosts: Hosts
    storage: Storage

    @classmethod
    def of(cls, settings: IngestSettings, storage: Storage) -> Self:
        """Raises ValueError where TILEWRIGHT_ALLOW_SOURCES has an entry that is no source."""
        return cls(settings, Guard(Allowed(settings.allow_sources)), Hosts(settings.source_host_connections), storage)
