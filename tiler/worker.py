"""The tiler worker: `dramatiq tiler.worker`, with settings from TILEWRIGHT_… variables.

This module must not open connections, since dramatiq's command line forks after it has imported it.
"""

from __future__ import annotations

import logging

import dramatiq

from pipeline import logs
from pipeline.identity import StorageIdentity
from pipeline.machine import raise_descriptor_limit
from pipeline.messages import make_broker, stop_signal
from pipeline.sandbox import confine as sandbox
from pipeline.status import StatusClient
from pipeline.storage import DirectoryStorage
from tiler import actor, readable_formats
from tiler.settings import TilerSettings

settings = TilerSettings()
logs.configure(settings, "tiler")
raise_descriptor_limit()
sandbox.announce(logging.getLogger(__name__), sandbox.probe())
readable_formats.announce(logging.getLogger(__name__))
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
    StorageIdentity(storage, status),
)
