"""The ingest worker as it runs in the farm: `dramatiq ingest.worker`, on a real RabbitMQ and a real statussvc."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.messages import make_broker, publish
from pipeline.storage.directory import DirectoryStorage, source_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.network import answers
from tests.support.network.sources import serve
from tests.support.rigs.status_rig import Status, running
from tests.support.rigs.waiting import until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100_000)
PATIENCE = 60.0
"""Seconds for what happens in another process."""


def watch(status: Status, dataset_id: str, until: int) -> None:
    """Waits for a state, by the watch that users have."""
    request = pb.WatchDatasetRequest(dataset_id=dataset_id)
    for change in status.users.WatchDataset(request, timeout=PATIENCE):
        if change.status.state == until:
            return
    pytest.fail(f"the watch ended before {pb.State.Name(until)}")  # type: ignore[arg-type]  # enums are ints in messages


def test_a_worker_fetches_wakes_the_tiler_and_hands_back_what_a_stop_interrupts(
    tmp_path: Path, rabbitmq_url: str
) -> None:
    with serve() as server, running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        producer = make_broker(rabbitmq_url)

        def submit(url: str) -> str:
            request = pb.CreateDatasetRequest(name="Earth", url=url)
            dataset_id = status.users.CreateDataset(request).dataset.dataset_id
            publish(producer, pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST))
            return dataset_id

        # Given a worker of the farm
        environment = os.environ | {
            "TILEWRIGHT_RABBITMQ_URL": rabbitmq_url,
            "TILEWRIGHT_STATUS_ADDRESS": status.address,
            "TILEWRIGHT_STORAGE": str(tmp_path / "storage"),
            "TILEWRIGHT_ALLOW_SOURCES": f"127.0.0.1:{server.port}",
        }
        command = [sys.executable, "-m", "dramatiq", "ingest.worker", "--processes", "1", "--threads", "2"]
        with (tmp_path / "log").open("wb") as log:
            worker = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        try:
            # When it is woken for a picture, then the picture is stored
            fetched = submit(server.on("/a.png", answers.whole(PNG)))
            watch(status, fetched, pb.STATE_DOWNLOADED)
            assert DirectoryStorage(tmp_path / "storage").size(source_key(fetched, 1)) == len(PNG)
            # And when it is stopped in the middle of another
            interrupted = submit(server.on("/b.png", answers.gated(PNG, 100, threading.Event())))
            server.wait_for("/b.png")
            worker.send_signal(signal.SIGTERM)
            # Then that one waits for another worker, and this one has ended well
            watch(status, interrupted, pb.STATE_QUEUED)
            assert worker.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
        finally:
            worker.kill()
            worker.wait()
        # And the tiler's one wake-up waits in its own queue: publishing it made no consumer of the ingest worker
        assert producer.get_queue_message_counts("tiler")[0] == 1
        assert producer.get_queue_message_counts("ingest")[0] == 0
        producer.close()


def test_what_a_killed_worker_has_fetched_is_not_fetched_again(tmp_path: Path, rabbitmq_url: str) -> None:
    data = PNG + hashlib.shake_128(b"rest").digest(3_000_000)
    held_up, gate = threading.Event(), threading.Event()
    with serve() as server, running(f"sqlite:///{tmp_path}/rows.sqlite3", lease_seconds=5.0) as status:

        def hold_up() -> None:
            held_up.set()
            server.wait_at(gate)

        url = server.on("/a.png", answers.sequence(answers.gated_part(data, hold_up), answers.ranges(data)))
        producer = make_broker(rabbitmq_url)
        environment = os.environ | {
            "TILEWRIGHT_RABBITMQ_URL": rabbitmq_url,
            "TILEWRIGHT_STATUS_ADDRESS": status.address,
            "TILEWRIGHT_STORAGE": str(tmp_path / "storage"),
            "TILEWRIGHT_ALLOW_SOURCES": f"127.0.0.1:{server.port}",
            "TILEWRIGHT_SOURCE_CONNECTIONS": "1",
            "TILEWRIGHT_PREFLIGHT_MIN_BYTES": "1000000000",
        }
        command = [sys.executable, "-m", "dramatiq", "ingest.worker", "--processes", "1", "--threads", "1"]
        with (tmp_path / "log").open("wb") as log:
            first = subprocess.Popen(command, env=environment, stderr=log, stdout=log, start_new_session=True)
            second = None
            try:
                # Given a worker in the middle of a download, whose first million bytes are noted
                dataset_id = status.users.CreateDataset(
                    pb.CreateDatasetRequest(name="Earth", url=url)
                ).dataset.dataset_id
                publish(producer, pb.WakeUp(dataset_id=dataset_id, attempt=1, stage=pb.STAGE_INGEST))
                assert held_up.wait(PATIENCE)
                until(lambda: list((tmp_path / "storage/scratch").glob("*/source.json")), "a note of what is there")
                # When it is killed, and another takes its place
                os.killpg(first.pid, signal.SIGKILL)
                watch(status, dataset_id, pb.STATE_QUEUED)
                publish(producer, pb.WakeUp(dataset_id=dataset_id, attempt=2, stage=pb.STAGE_INGEST))
                second = subprocess.Popen(command, env=environment, stderr=log, stdout=log, start_new_session=True)
                watch(status, dataset_id, pb.STATE_DOWNLOADED)
            finally:
                gate.set()
                for worker in filter(None, (first, second)):
                    # The command forks: its children outlive a kill of it alone.
                    with suppress(ProcessLookupError):
                        os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
        producer.close()
        # Then the other has asked for the rest only, and has the whole
        assert [headers["Range"] for headers in server.headers["/a.png"]] == ["bytes=0-", "bytes=1000000-"]
        storage = DirectoryStorage(tmp_path / "storage")
        assert storage.get_range(source_key(dataset_id, 2), 0, len(data) + 1) == data
        assert list(storage.list_prefix("scratch")) == ["scratch/"]
