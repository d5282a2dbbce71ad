"""The ingest worker: `dramatiq ingest.worker`, with settings from TILEWRIGHT_… variables.

This module opens no connection, because dramatiq forks its processes after it has imported it.
"""

from __future__ import annotations

import logging
from functools import partial

import dramatiq

from ingest import actor
from ingest.settings import IngestSettings
from pipeline import logs
from pipeline.identity import StorageIdentity
from pipeline.machine import raise_descriptor_limit
from pipeline.messages import make_broker, publish, stop_signal
from pipeline.sandbox import confine as sandbox
from pipeline.status import StatusClient
from pipeline.storage import DirectoryStorage

settings = IngestSettings()
logs.configure(settings, "ingest")
raise_descriptor_limit()
sandbox.announce(logging.getLogger(__name__), sandbox.probe())
broker = make_broker(settings.rabbitmq_url)
dramatiq.set_broker(broker)
status = StatusClient(settings.status_address)
storage = DirectoryStorage(settings.storage)
actor.declare(
    broker,
    settings,
    status,
    storage,
    stop_signal(broker),
    publish=partial(publish, make_broker(settings.rabbitmq_url)),
    identity=StorageIdentity(storage, status),
)
