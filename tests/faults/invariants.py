"""What has to hold after every fault: nothing lost, nothing stuck, nothing left behind."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from gateway.background.janitor import Janitor
from pipeline.identity import StorageIdentity
from pipeline.pyramids.geometry import FILES, PARTS, SZI, Geometry
from pipeline.pyramids.index import Index
from pipeline.status import FINAL
from pipeline.storage.directory import pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.faults.farm import Farm
from tests.support.images.pictures import decode
from tests.support.rigs.waiting import until

LIKE = 25.0
"""Mean difference, of 255, between a picture and its tiles: JPEG costs this one 14, and upside down it is 105 off."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How a dataset has to have ended. `picture`: the source's bytes, where it is to be ready."""

    picture: bytes = b""
    state: pb.State.ValueType = pb.STATE_READY
    code: str = ""
    attempts: int = 1
    crashes: int = 0
    retries: int = 0


def check_invariants(farm: Farm, expected: Mapping[str, Expected]) -> None:
    """Holds a farm whose datasets have all come to their end to the invariants; sweeps its storage.

    Parameters
    ----------
    expected: how each of these ended.
    """
    farm.await_ready()
    until(lambda: _queues(farm) == {0}, f"empty queues{farm.queues()}")
    assert sum(sum(counts) for name, counts in farm.queues().items() if name.endswith(".XQ")) == farm.dead_letters
    for row in farm.rows():
        assert row["deleted_at"] or (row["finished_at"] and row["run_id"] is None), f"not final: {row}"
    assert all(run["ended_at"] for run in farm.rows("runs")), "a run has no end"
    until(lambda: not list(children(farm)), "the end of all children")
    # The gateway's own janitor may be at work on what it has leased.
    until(lambda: sweep(farm) == 0 and _stored(farm) == _referred(farm), "a storage that holds what is referred to", 30)
    ready = [row for row in farm.rows() if row["state"] == "READY" and not row["deleted_at"]]
    built = {row["tile_id"] for row in farm.rows("pyramids") if not row["deleting"]}
    # An inspection is a row, too, and ready without a pyramid.
    unbuilt = [row for row in ready if row["kind"] == "dataset" and row["tile_id"] not in built]
    assert not unbuilt, f"ready without a pyramid: {unbuilt}"
    for dataset_id, wanted in expected.items():
        _check_dataset(farm, dataset_id, wanted)


def _queues(farm: Farm) -> set[int]:
    return {sum(counts) for name, counts in farm.queues().items() if not name.endswith(".XQ")}


def sweep(farm: Farm) -> int:
    """Has the janitor sweep until nothing is left for it. Returns how many things it removed."""
    with farm.status() as status:
        janitor = Janitor(status, farm.storage, 3600.0, StorageIdentity(farm.storage, status))
        removed = total = janitor.sweep()
        while removed:
            removed = janitor.sweep()
            total += removed
    return total


def children(farm: Farm) -> Iterator[psutil.Process]:
    """The tiler's children that work in this farm's storage."""
    for process in psutil.process_iter():
        try:
            if "tiler.child" in process.cmdline() and process.cwd().startswith(str(farm.storage.root)):
                yield process
        except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError):
            continue


def _stored(farm: Farm) -> set[str]:
    return {key for kind in ("sources", "pyramids", "scratch") for key in keys(farm, kind)}


def _referred(farm: Farm) -> set[str]:
    """What has to be stored, and nothing else may be: so much for leftovers, doubles and losses."""
    sources = {row["source_key"] for row in farm.rows() if not row["deleted_at"]} - {None}
    return sources | {
        pyramid_key(row["tile_id"], row["build"], name) for row in farm.rows("pyramids") for name in FILES
    }


def keys(farm: Farm, kind: str) -> Iterator[str]:
    """All that is stored of a kind, empty folders too."""
    return (key for key in farm.storage.list_prefix(kind) if key != f"{kind}/")


def _check_dataset(farm: Farm, dataset_id: str, wanted: Expected) -> None:
    row = farm.row(dataset_id)
    found = (row["state"], row["error_code"] or "", row["attempt"], row["crashes"], row["retries"])
    state = pb.State.Name(wanted.state).removeprefix("STATE_")
    assert found == (state, wanted.code, wanted.attempts, wanted.crashes, wanted.retries), farm.last_words()
    _check_watch(farm.watches[dataset_id].statuses)
    told = farm.get(f"/api/datasets/{dataset_id}/status")
    if wanted.state == pb.STATE_READY:
        assert told["status"] == "ready"
        tile_id = told["tile_info"]["tile_id"]
        pyramid = farm.users.GetPyramid(pb.GetPyramidRequest(tile_id=tile_id)).pyramid
        check_pyramid(farm, pyramid, wanted.picture)
    else:
        assert (told["status"], told["error"]["code"]) == ("failed", wanted.code)


def _check_watch(statuses: list[pb.DatasetStatus]) -> None:
    """Revisions rise, percent does not go back within an attempt, and the last is final, the only final one."""
    for before, after in pairwise(statuses):
        assert before.revision <= after.revision
        if before.attempt == after.attempt and before.HasField("percent") and after.HasField("percent"):
            assert before.percent <= after.percent, statuses
    assert [status.state in FINAL for status in statuses] == [False] * (len(statuses) - 1) + [True]


def check_pyramid(farm: Farm, pyramid: pb.Pyramid, picture: bytes) -> None:
    """Every tile of the index is there, whole, and served; the largest level shows the picture."""
    geometry = Geometry(pyramid.width, pyramid.height, pyramid.tile_size)
    folder = farm.storage.root / pyramid_key(pyramid.tile_id, pyramid.build)
    index = Index((folder / "tiles.idx").read_bytes())
    assert len(index) == geometry.tile_count + geometry.edge_count
    sums = _checksums(folder / SZI)
    assert len(sums) == geometry.tile_count
    shown = np.zeros((geometry.height, geometry.width, 3), np.uint8)
    size = geometry.tile_size
    for number, level in enumerate(geometry.levels):
        for y in range(level.rows):
            for x in range(level.columns):
                tile = _tile(folder, index, geometry.deep_zoom_position(number, x, y))
                assert zlib.crc32(tile) == sums[number, x, y]
                assert served(farm, f"/tiles/{pyramid.tile_id}_files/{number}/{x}_{y}.jpg") == tile
                if number == geometry.max_level:
                    shown[y * size : (y + 1) * size, x * size : (x + 1) * size] = decode(tile)
    for zoom, x, y in geometry.edges():
        tile = _tile(folder, index, geometry.xyz_position(zoom, x, y))
        assert decode(tile).shape[:2] == (size, size)
        assert served(farm, f"/tiles/{pyramid.tile_id}/{zoom}/{x}/{y}.jpg") == tile
    assert float(np.abs(shown.astype(np.int16) - decode(picture)).mean()) < LIKE


def _checksums(szi: Path) -> dict[tuple[int, int, int], int]:
    found = {}
    with zipfile.ZipFile(io.BytesIO(szi.read_bytes())) as archive:
        for info in archive.infolist():
            *_, level, name = info.filename.split("/")
            if level.isdigit():
                x, y = os.path.splitext(name)[0].split("_")  # noqa: PTH122  a name in a zip is no path
                found[int(level), int(x), int(y)] = info.CRC
    return found


def _tile(folder: Path, index: Index, position: int) -> bytes:
    entry = index.entry(position)
    with (folder / PARTS[entry.part]).open("rb") as file:
        return os.pread(file.fileno(), entry.length, entry.offset)


def served(farm: Farm, path: str) -> bytes:
    """What the gateway serves there."""
    answer = farm.session.get(f"{farm.url}{path}", timeout=60)
    assert answer.status_code == 200, (path, answer.status_code)
    return answer.content
