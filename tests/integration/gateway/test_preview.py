"""The small picture of a dataset, before and after its tiles are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.pyramids.geometry import PREVIEW, PREVIEW_THUMBNAIL, THUMBNAIL
from pipeline.storage.directory import pyramid_key
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.rigs import gateway_rig, status_rig
from tests.support.rigs.gateway_rig import Gateway
from tests.support.rigs.status_rig import Status

INGEST, TILER = "1" * 32, "2" * 32


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Status]:
    with status_rig.running(f"sqlite:///{tmp_path / 'rows.sqlite3'}") as rig:
        yield rig


@pytest.fixture
def gateway(status: Status, tmp_path: Path) -> Iterator[Gateway]:
    with gateway_rig.serving(status.address, tmp_path / "storage") as rig:
        yield rig


@pytest.fixture
def dataset_id(gateway: Gateway, status: Status) -> str:
    """One whose tiling has begun."""
    dataset_id = gateway.submit()
    status.begin(dataset_id, INGEST)
    status.complete_ingest(INGEST)
    status.begin(dataset_id, TILER, stage=pb.STAGE_TILER)
    return dataset_id


def stored(folder: Path, status: Status, name: str, data: bytes) -> str:
    """The key of a file of the build at work; the tile_id is the same wherever the bytes are."""
    other = status.create()
    ingest, tiler = uuid4().hex, uuid4().hex
    status.begin(other, ingest)
    status.complete_ingest(ingest)
    tile_id = status.begin(other, tiler, stage=pb.STAGE_TILER).tile_id
    key = pyramid_key(tile_id, TILER, name)
    path = folder / "storage" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return key


def test_a_preview_is_served_while_its_dataset_is_being_tiled_and_never_cached(
    gateway: Gateway, status: Status, dataset_id: str, tmp_path: Path
) -> None:
    # Given a tiling that has no preview yet
    address = f"/api/datasets/{dataset_id}/preview"
    before = gateway.get(address)
    assert (before.status_code, before.json()["code"]) == (404, "not_found")
    assert gateway.get(f"/api/datasets/{dataset_id}/status").json()["preview"] is None
    # When its run has stored one and says so
    key = stored(tmp_path, status, PREVIEW, b"a picture")
    status.pipeline.ReportProgress(
        pb.ReportProgressRequest(run_id=TILER, beat_seq=1, preview=pb.Preview(width=9, height=9, key=key))
    )
    # Then the status gives its address, and the address the picture, in the place of its thumbnail, too
    assert gateway.get(f"/api/datasets/{dataset_id}/status").json()["preview"] == address
    thumbnail = gateway.get(f"/api/datasets/{dataset_id}/status").json()["preview_thumbnail"]
    for url in (address, thumbnail):
        answer = gateway.get(url)
        assert (answer.status_code, answer.content) == (200, b"a picture")
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == ("image/jpeg", "no-store")
    # And the thumbnail itself once that is there
    stored(tmp_path, status, PREVIEW_THUMBNAIL, b"a thumbnail")
    assert (gateway.get(address).content, gateway.get(thumbnail).content) == (b"a picture", b"a thumbnail")


@pytest.mark.parametrize(("name", "size"), [(PREVIEW, "preview"), (THUMBNAIL, "preview"), (THUMBNAIL, "thumbnail")])
def test_a_ready_dataset_has_one_too(
    gateway: Gateway, status: Status, dataset_id: str, tmp_path: Path, name: str, size: str
) -> None:
    stored(tmp_path, status, name, b"a picture")
    status.complete_tiler(TILER)
    assert gateway.get(f"/api/datasets/{dataset_id}/preview?size={size}").content == b"a picture"


def test_another_size_is_refused(gateway: Gateway, dataset_id: str) -> None:
    answer = gateway.get(f"/api/datasets/{dataset_id}/preview?size=huge")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_dataset_that_is_not_there_has_none(gateway: Gateway) -> None:
    assert gateway.get("/api/datasets/custom_00000000/preview").status_code == 404
    assert gateway.get("/api/datasets/nonsense/preview").status_code == 404


def test_what_is_asked_of_the_tiles_reaches_the_worker(gateway: Gateway, status: Status) -> None:
    dataset_id = gateway.submit(tile_size=512, format="webp", quality=70, page=3, sha256="AB" * 32)
    grant = status.begin(dataset_id, INGEST)
    assert grant.options == pb.TileOptions(tile_size=512, format=pb.TILE_FORMAT_WEBP, quality=70, page=3)
    assert grant.expected_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"format": "tiff"}, "/format"),
        ({"quality": 0}, "/quality"),
        ({"quality": 101}, "/quality"),
        ({"page": -1}, "/page"),
        ({"page": 2**31}, "/page"),
        ({"sha256": "abc"}, "/sha256"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_where_it_stands(
    gateway: Gateway, wish: dict[str, object], pointer: str
) -> None:
    answer = gateway.post("/api/datasets", json={"name": "Earth", "url": "https://example.org/earth.jpg", **wish})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
