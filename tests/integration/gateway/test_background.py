"""Tasks that run in the background: one that fails is logged, shown on /readyz, and restarted."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.background.janitor import Janitor
from gateway.background.relay import Relay
from gateway.background.supervisor import Background
from gateway.tiles.pyramid_cache import PyramidCache
from pipeline import logs
from pipeline.errors import StorageError
from pipeline.settings import Settings
from pipeline.status import StatusClient
from pipeline.storage.directory import DirectoryStorage
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.rigs import gateway_rig
from tests.support.rigs.status_rig import running
from tests.support.rigs.waiting import until
from tilewright.embedded.broker import EmbeddedBroker


def test_a_task_that_fails_or_ends_is_started_anew() -> None:
    async def story() -> None:
        calls: list[str] = []
        ran = asyncio.Event()

        async def fail() -> None:
            calls.append("fail")
            if len(calls) < 3:
                raise OSError(116, "Stale file handle")
            if len(calls) == 3:
                return
            ran.set()
            await asyncio.Event().wait()

        # Given a task that fails twice and ends once
        background = Background(first_pause=0.001)
        background.add("tend", fail)
        task = asyncio.create_task(background.run())
        # When it runs, then it does for the fourth time, and that it failed is still told
        await asyncio.wait_for(ran.wait(), 30)
        assert background.failures == {"tend": "tend ended; it is restarted."}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_readyz_tells_which_task_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tended: list[int] = []

    # Given a gateway whose open files turn stale in a way that nobody has thought of
    async def fail(_cache: PyramidCache) -> None:
        tended.append(1)
        raise RuntimeError("unheard of")

    monkeypatch.setattr("gateway.app.TEND_INTERVAL", 0.01)
    monkeypatch.setattr(PyramidCache, "drop_deleted", fail)
    with (
        running(f"sqlite:///{tmp_path}/rows.sqlite3") as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # When it was tended, then /readyz says so, requests are accepted, and it is tended again
        until(lambda: "tend" in gateway.get("/readyz").json()["checks"], "a failure that is told")
        answer = gateway.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "RuntimeError" in answer.json()["checks"]["tend"]
        gateway.submit()
        until(lambda: len(tended) > 1, "a second start")


class FailingStorage(DirectoryStorage):
    """Lists nothing until it is mended."""

    broken = True

    def list_prefix(self, prefix: str) -> Iterator[str]:
        if self.broken:
            raise StorageError("Stale file handle")
        return super().list_prefix(prefix)


def test_a_janitor_says_why_its_sweep_was_cut_short_until_one_is_done(tmp_path: Path) -> None:
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        # Given a janitor whose storage fails
        client, storage = StatusClient(status.address), FailingStorage(tmp_path / "storage")
        janitor = Janitor(client, storage, 0.01)
        janitor.start()
        # When it has swept, then it says so, and goes on
        until(lambda: "Stale file handle" in janitor.state(), "a failure that is told")
        storage.broken = False
        until(lambda: janitor.state() == "ok", "a sweep that is done")
        janitor.stop()
        client.close()


def test_a_thread_that_ends_by_an_error_is_logged_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service that logs
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root, lines = logging.getLogger(), io.StringIO()
    before, level = list(root.handlers), root.level
    logs.configure(Settings(), "gateway", lines)

    def fail() -> None:
        raise OSError(116, "Stale file handle")

    try:
        # When one of its threads dies
        thread = threading.Thread(target=fail, name="notes")
        thread.start()
        thread.join()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    # Then the log has it
    assert "CRITICAL gateway pipeline.logs: the thread notes ended with an error" in lines.getvalue()
    assert "Stale file handle" in lines.getvalue()


class Ending(StatusClient):
    """Ends the thread that asks it, as nothing that a loop catches would, until it is mended."""

    broken = True

    def lease_pending(self, request: pb.LeasePendingRequest) -> pb.LeasePendingResponse:
        if self.broken:
            raise SystemExit
        return super().lease_pending(request)

    def lease_garbage(self, request: pb.LeaseGarbageRequest) -> pb.LeaseGarbageResponse:
        if self.broken:
            raise SystemExit
        return super().lease_garbage(request)


@pytest.mark.parametrize("kind", ["relay", "janitor"])
def test_a_thread_that_ends_is_told_and_started_anew(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.background.restarted_thread.LONGEST_PAUSE", 0.05)
    with running(f"sqlite:///{tmp_path}/rows.sqlite3") as status:
        # Given a gateway whose relay or janitor ends
        client, broker, storage = Ending(status.address), EmbeddedBroker(), DirectoryStorage(tmp_path / "storage")
        broker.declare_queue("ingest")
        relay, janitor = Relay(client, broker), Janitor(client, storage, 0.05)
        with gateway_rig.serving(status.address, storage.root, relay, janitor) as gateway:
            worker: Relay | Janitor = relay if kind == "relay" else janitor
            worker.start()

            def told() -> str:
                checks = gateway.get("/readyz").json()["checks"]
                return str(checks["broker"] if kind == "relay" else checks.get("janitor", ""))

            # When it has ended, then /readyz and the log say so, and requests are accepted
            until(lambda: told() == f"{kind} failed (SystemExit); it is restarted.", "an end that is told")
            assert f"{kind} failed (SystemExit); restarting it" in caplog.text
            assert gateway.get("/readyz").json()["status"] == "degraded"
            gateway.submit()
            scratch = storage.scratch("9" * 32)
            # And it is at work again by itself, which is all it takes for what waits
            client.broken = False
            if kind == "relay":
                until(lambda: broker.queues["ingest"].qsize() == 1, "a message")
            else:
                until(lambda: not scratch.exists(), "a sweep")
            # And once it has run for a while, /readyz is content
            monkeypatch.setattr("gateway.background.restarted_thread.STEADY", 0.0)
            until(lambda: told() in {"ok", ""}, "an end that is forgotten")
            worker.stop()
        client.close()
