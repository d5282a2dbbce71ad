"""A volume that is too small: jobs fail before it is full, and nothing else does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.conftest import NewPicture, running_farm
from tests.faults.farm import Farm
from tests.faults.invariants import Expected, check_invariants, children, keys
from tests.support.network.answers import unknown_length, whole
from tests.support.network.sources import SourceServer
from tests.support.rigs import servers
from tests.support.rigs.waiting import until

MEGABYTE = 1_000_000
FAILED = Expected(state=pb.STATE_FAILED, code="out_of_disk", retries=0)


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder whose volume has some three megabytes to spare above the reserve."""

    path: Path
    reserve: int

    def spare(self) -> int:
        return shutil.disk_usage(self.path).free - self.reserve

    def fill(self, spare: int) -> Path:
        """Leaves so many bytes to spare."""
        filler = self.path / "filler"
        filler.write_bytes(bytes(self.spare() - spare))
        return filler


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A real small volume where the tests may mount one, else a reserve that leaves as little."""
    path = tmp_path / "volume"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * MEGABYTE}", "tmpfs", str(path)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield Volume(path, MEGABYTE)
        subprocess.run(["umount", "--lazy", str(path)], check=True)
    else:
        yield Volume(path, shutil.disk_usage(path).free - 3 * MEGABYTE)


@pytest.fixture
def small_farm(
    volume: Volume, tmp_path: Path, rabbitmq_server: servers.RabbitServer, rabbitmq_url: str, sources: SourceServer
) -> Iterator[Farm]:
    database = f"sqlite:///{tmp_path}/rows.sqlite3"
    variables = {"TILEWRIGHT_DISK_RESERVE_BYTES": str(volume.reserve), "TILEWRIGHT_RETRY_LIMIT": "0"}
    storage = volume.path / "storage"
    with running_farm(tmp_path, rabbitmq_server, rabbitmq_url, database, sources, storage=storage, **variables) as farm:
        yield farm


def test_a_job_fails_before_it_fills_the_volume_and_others_go_on(
    small_farm: Farm, volume: Volume, sources: SourceServer, picture: NewPicture
) -> None:
    farm, data = small_farm, picture()
    # Given a source that declares more than there is to spare, and one that does not say how much comes
    large = farm.submit(sources.on("/large.jpg", whole(data + bytes(5 * MEGABYTE))))
    unknown = farm.submit(sources.on("/unknown.jpg", unknown_length(data)))
    # When they are fetched, then they fail by the disk, and leave nothing
    for dataset_id in (large, unknown):
        assert farm.finish(dataset_id).failure.retryable
    check_invariants(farm, {large: FAILED, unknown: FAILED})

    # And given a download that fits, and then no room for its tiles
    mark = farm.tiler.arm("tiler_after_begin")
    dataset_id = farm.submit(sources.on("/fits.jpg", whole(data)))
    until(mark.exists, "a tiler that was killed")
    filler = volume.fill(200_000)
    # When it is tiled, then it fails, and the download is kept
    farm.finish(dataset_id)
    failed = Expected(state=pb.STATE_FAILED, code="out_of_disk", attempts=2, crashes=1, retries=0)
    check_invariants(farm, {dataset_id: failed})
    assert len(list(keys(farm, "sources"))) == 1
    filler.unlink()

    # And given a tiling at work when others fill the volume
    mark = farm.tiler.arm("tiler_child_mid_build", "SIGSTOP")
    assert farm.act("POST", dataset_id, "/retry") == 202
    until(mark.exists, "a frozen child")
    filler = volume.fill(-1000)
    next(children(farm)).send_signal(signal.SIGCONT)
    # Then it fails, too
    farm.finish(dataset_id)
    check_invariants(farm, {dataset_id: Expected(state=pb.STATE_FAILED, code="out_of_disk", attempts=3)})
    filler.unlink()

    # And when there is room again, a retry ends ready, from the download that was kept
    assert farm.act("POST", dataset_id, "/retry") == 202
    farm.finish(dataset_id)
    assert sources.requests["/fits.jpg"] == 1
    check_invariants(farm, {dataset_id: Expected(data, attempts=4)})
