"""The objects that all jobs of an ingest or inspect worker share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ingest.http import Guard, Hosts
from ingest.settings import IngestSettings
from pipeline.sources import Allowed
from pipeline.storage import Storage


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The objects that all jobs of one process share.

    Parameters
    ----------
    guard: decides which addresses may be connected to.
    hosts: counts all connections of the process to each host.
    """

    settings: IngestSettings
    guard: Guard
    hosts: Hosts
    storage: Storage

    @classmethod
    def of(cls, settings: IngestSettings, storage: Storage) -> Self:
        """Create them from the settings. Raises ValueError if TILEWRIGHT_ALLOW_SOURCES has an invalid entry."""
        return cls(settings, Guard(Allowed(settings.allow_sources)), Hosts(settings.source_host_connections), storage)
