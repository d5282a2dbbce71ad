"""The inspect worker: `dramatiq ingest.inspect_worker`, with the same settings as ingest's.

It is a separate process, so that an inspection never waits behind downloads. This module opens no connection, because
dramatiq forks its processes after it has imported it.
"""

from __future__ import annotations

import logging

import dramatiq

from ingest import inspection
from ingest.settings import IngestSettings
from pipeline import logs
from pipeline.identity import StorageIdentity
from pipeline.machine import raise_descriptor_limit
from pipeline.messages import make_broker, stop_signal
from pipeline.sandbox import confine as sandbox
from pipeline.status import StatusClient
from pipeline.storage import DirectoryStorage

settings = IngestSettings()
logs.configure(settings, "inspect")
raise_descriptor_limit()
sandbox.announce(logging.getLogger(__name__), sandbox.probe())
broker = make_broker(settings.rabbitmq_url)
dramatiq.set_broker(broker)
status = StatusClient(settings.status_address)
storage = DirectoryStorage(settings.storage)
inspection.declare(
    broker,
    settings,
    status,
    storage,
    stop_signal(broker),
    StorageIdentity(storage, status),
)
