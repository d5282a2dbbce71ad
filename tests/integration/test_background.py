"""Tasks that run in the background: one that fails is logged, told on /readyz, and started anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.background import Background
from gateway.pyramid_cache import PyramidCache
from tests import gateway_rig
from tests.status_rig import running
from tests.waiting import until


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
        assert background.failures == {"tend": "tend ended; it is started anew."}
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
