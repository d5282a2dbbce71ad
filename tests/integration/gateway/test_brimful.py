"""A brimful volume under the database: a POST and /readyz say the same, at the brim and after."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from statussvc.db.repository import identity
from tests.support.rigs import gateway_rig
from tests.support.rigs.status_rig import running
from tests.support.rigs.waiting import until

MEGABYTE = 1 << 20
NEW = {"name": "x", "url": "https://example.org/earth.jpg"}


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder, and the bytes that have to stay free on its volume: a small one, where the tests may mount it."""
    path = tmp_path / "volume"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={8 * MEGABYTE}", "tmpfs", str(path)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield path, MEGABYTE
        subprocess.run(["umount", "--lazy", str(path)], check=True)
    else:
        yield path, shutil.disk_usage(path).free - 6 * MEGABYTE


@pytest.mark.parametrize("has_reserve", [True, False], ids=["by our reserve", "to the last byte"])
def test_a_post_and_readyz_agree_on_a_full_volume(
    volume: tuple[Path, int], tmp_path: Path, *, has_reserve: bool
) -> None:
    # Given a stack whose database lies on a small volume; the second time without a reserve, so that writes fail
    path, reserve = volume
    reserve = reserve if has_reserve else 0
    database = f"sqlite:///{path}/rows.sqlite3"
    with (
        running(database, database_reserve_bytes=reserve) as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        accepted = gateway.submit()
        assert gateway.get("/readyz").status_code == 200
        # When others fill the volume
        filler = path / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while shutil.disk_usage(path).free > max(0, reserve - 1):
                    file.write(bytes(min(4096 * 16, max(4096, shutil.disk_usage(path).free - reserve))))
            except OSError:
                assert not reserve
        # Then both refuse, and say why
        until(lambda: gateway.get("/readyz").status_code == 503, "a volume that is seen to be full")
        for _ in range(3):
            post, ready = gateway.post("/api/datasets", json=NEW), gateway.get("/readyz")
            assert (post.status_code, ready.status_code) == (503, 503)
            assert post.headers["Retry-After"]
            if reserve:
                assert "Free space" in ready.json()["checks"]["statussvc"]
        # But what was accepted is still told, and, where there is a reserve, goes on
        assert gateway.get(f"/api/datasets/{accepted}").status_code == 200
        if reserve:
            assert gateway.post(f"/api/datasets/{accepted}/cancel").status_code == 200
        # And when there is room again, both accept
        filler.unlink()
        assert gateway.get("/readyz").status_code == 200
        gateway.submit()


def test_many_who_ask_whether_it_is_ready_write_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a stack, and a count of its probes
    probes: list[float] = []
    real = identity.probe

    def probe(connection: Connection, now: float) -> None:
        probes.append(now)
        real(connection, now)

    monkeypatch.setattr(identity, "probe", probe)
    monkeypatch.setattr("statussvc.rpc.status_service.PROBE_INTERVAL", 3600.0)
    with (
        running(f"sqlite:///{tmp_path}/rows.sqlite3") as status,
        gateway_rig.serving(status.address, tmp_path / "storage") as gateway,
    ):
        # When many ask, then a row was written once
        assert {gateway.get("/readyz").status_code for _ in range(20)} == {200}
        assert len(probes) == 1
        # And a database that is deleted meanwhile is still seen at once
        (tmp_path / "rows.sqlite3").unlink()
        assert gateway.get("/readyz").status_code == 503
        assert gateway.post("/api/datasets", json=NEW).status_code == 503
