"""What statussvc says, as the JSON that users get: literal, since clients written years ago read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.api import contract, schemas
from gateway.api.contract import Links
from protos.tilewright.status.v1 import status_pb2 as pb

NOON = 1714564800  # 2024-05-01T12:00:00Z
PYRAMID = pb.Pyramid(
    tile_id="ab12",
    build="run1",
    width=43200,
    height=21600,
    tile_size=256,
    format=pb.TILE_FORMAT_JPEG,
    max_zoom=8,
    tile_count=19456,
    bytes=1 << 30,
)
TILE_INFO = {
    "tile_id": "ab12",
    "max_zoom": 8,
    "status": "completed",
    "width": 43200,
    "height": 21600,
    "tile_size": 256,
    "format": "jpg",
    "dzi": "/tiles/ab12.dzi",
    "xyz": "/tiles/ab12/{z}/{x}/{y}.jpg",
}
NOT_FOUND = pb.Failure(code="source_not_found", message="The server answered 404.", retryable=False)


def at(seconds: float) -> Timestamp:
    """A time so many seconds after noon."""
    return Timestamp(seconds=NOON + int(seconds), nanos=round(seconds % 1 * 1e9))


def sent(model: Any) -> Any:
    """What goes over the wire."""
    return json.loads(model.model_dump_json(exclude_unset=True))


def row(state: pb.State.ValueType, **fields: Any) -> pb.DatasetStatus:
    """A status with the fields that every row has."""
    return pb.DatasetStatus(
        dataset_id="custom_a1b2c3d4", state=state, attempt=1, revision=7, queue_time=at(0), **fields
    )


QUEUED = row(pb.STATE_QUEUED, percent=0.0)
DOWNLOADING = row(
    pb.STATE_DOWNLOADING,
    start_time=at(0.5),
    percent=17.04,
    eta_seconds=4.26,
    bytes_per_second=1_234_567.89,
    progress=pb.Progress(bytes_downloaded=34_990_000, bytes_total=100_000_000, stage_percent=34.99),
)
TILING = row(
    pb.STATE_TILING,
    start_time=at(0.5),
    percent=80.5,
    progress=pb.Progress(bytes_downloaded=100, bytes_total=100, tiles_done=610, tiles_total=1000, stage_percent=61.0),
    source=pb.SourceInfo(format="tiff", width=4000, height=3000, pages=2),
    preview=pb.Preview(width=1024, height=768, key="pyramids/ab/cd/preview.jpg"),
)

STATUSES: dict[str, tuple[pb.DatasetStatus, dict[str, Any]]] = {
    "queued": (
        QUEUED,
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "queued",
            "progress": "queued",
            "message": "Waiting for a worker…",
            "percent": 0.0,
            "stage_percent": None,
            "bytes_downloaded": 0,
            "bytes_total": None,
            "bytes_per_second": None,
            "tiles_done": 0,
            "tiles_total": None,
            "eta_seconds": None,
            "attempt": 1,
            "state": "QUEUED",
            "queued_at": "2024-05-01T12:00:00.000Z",
            "source": None,
            "preview": None,
            "preview_thumbnail": None,
        },
    ),
    "downloading": (
        DOWNLOADING,
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "processing",
            "progress": "downloading",
            "started_at": "2024-05-01T12:00:00.500Z",
            "message": "Downloading… 34 %",
            "percent": 17.0,
            "stage_percent": 35.0,
            "bytes_downloaded": 34_990_000,
            "bytes_total": 100_000_000,
            "bytes_per_second": 1234567.9,
            "tiles_done": 0,
            "tiles_total": None,
            "eta_seconds": 4.3,
            "attempt": 1,
            "state": "DOWNLOADING",
            "queued_at": "2024-05-01T12:00:00.000Z",
            "source": None,
            "preview": None,
            "preview_thumbnail": None,
        },
    ),
    "tiling": (
        TILING,
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "processing",
            "progress": "generating_tiles",
            "started_at": "2024-05-01T12:00:00.500Z",
            "message": "Generating tiles… 61 %",
            "percent": 80.5,
            "stage_percent": 61.0,
            "bytes_downloaded": 100,
            "bytes_total": 100,
            "bytes_per_second": None,
            "tiles_done": 610,
            "tiles_total": 1000,
            "eta_seconds": None,
            "attempt": 1,
            "state": "TILING",
            "queued_at": "2024-05-01T12:00:00.000Z",
            "source": {"format": "tiff", "width": 4000, "height": 3000, "pages": 2},
            "preview": "/api/datasets/custom_a1b2c3d4/preview",
            "preview_thumbnail": "/api/datasets/custom_a1b2c3d4/preview?size=thumbnail",
        },
    ),
    "ready": (
        row(
            pb.STATE_READY,
            start_time=at(0.5),
            finish_time=at(90),
            percent=100.0,
            pyramid=PYRAMID,
            warnings=[pb.Warning(code="image_incomplete", message="Rows 3 to 9 of 10 could not be decoded.")],
            rewritten=pb.Rewritten(rule="Dropbox", url="https://www.dropbox.com/s/k/x.tif?rlkey=a&dl=1"),
        ),
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "ready",
            "tile_info": TILE_INFO,
            "warnings": [{"code": "image_incomplete", "message": "Rows 3 to 9 of 10 could not be decoded."}],
            "rewritten": {"rule": "Dropbox", "url": "https://www.dropbox.com/s/k/x.tif?***", "note": ""},
            "stretch": None,
        },
    ),
    "failed": (
        row(pb.STATE_FAILED, finish_time=at(9), failure=NOT_FOUND),
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "failed",
            "error": {"code": "source_not_found", "message": "The server answered 404.", "retryable": False},
        },
    ),
    "cancelled": (
        row(
            pb.STATE_CANCELLED,
            finish_time=at(9),
            failure=pb.Failure(code="cancelled", message="Cancelled on request.", retryable=True),
        ),
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "failed",
            "error": {"code": "cancelled", "message": "Cancelled on request.", "retryable": True},
        },
    ),
    "cancelled, without words": (
        row(pb.STATE_CANCELLED),
        {
            "dataset_id": "custom_a1b2c3d4",
            "status": "failed",
            "error": {"code": "cancelled", "message": "The dataset was cancelled on request.", "retryable": True},
        },
    ),
}


@pytest.mark.parametrize("name", STATUSES)
def test_the_status_is_the_contracts_to_the_letter(name: str) -> None:
    given, expected = STATUSES[name]
    assert sent(contract.status(given, Links(), NOON)) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (row(pb.STATE_DOWNLOADED), "Waiting for a worker…"),
        (row(pb.STATE_DOWNLOADING), "Downloading…"),
        (row(pb.STATE_DOWNLOADING, progress=pb.Progress(bytes_downloaded=12_345_678)), "Downloading… 12.3 MB"),
        (row(pb.STATE_DOWNLOADING, progress=pb.Progress(stage_percent=99.99)), "Downloading… 99 %"),
        (row(pb.STATE_TILING, progress=pb.Progress(bytes_downloaded=12_345_678)), "Generating tiles…"),
        (row(pb.STATE_TILING, progress=pb.Progress(stage_percent=0.0)), "Generating tiles… 0 %"),
        (
            row(pb.STATE_QUEUED, retry_time=at(4.2), failure=pb.Failure(message="The server is busy.")),
            "Retrying in 5 s: The server is busy.",
        ),
        (
            row(pb.STATE_DOWNLOADED, retry_time=at(1), failure=pb.Failure(message="The worker died.")),
            "Retrying in 1 s: The worker died.",
        ),
        (row(pb.STATE_QUEUED, retry_time=at(-1), failure=pb.Failure(message="Late.")), "Waiting for a worker…"),
    ],
)
def test_the_message_says_what_is_being_done(given: pb.DatasetStatus, message: str) -> None:
    assert contract.message(given, NOON) == message


def test_a_percent_that_is_not_known_is_null() -> None:
    # Given a download whose length the server does not say
    given = row(pb.STATE_DOWNLOADING, progress=pb.Progress(bytes_downloaded=5))
    # Then nothing is made up
    answer = sent(contract.status(given, Links(), NOON))
    assert (answer["percent"], answer["stage_percent"], answer["bytes_downloaded"]) == (None, None, 5)


URLS = {
    "dzi": "/tiles/custom_a1b2c3d4.dzi",
    "xyz": "/tiles/custom_a1b2c3d4/{z}/{x}/{y}",
    "tilejson": "/tiles/custom_a1b2c3d4/tilejson.json",
    "iiif": "/iiif/custom_a1b2c3d4/info.json",
    "manifest": "/iiif/custom_a1b2c3d4/manifest.json",
    "thumbnail": "/tiles/custom_a1b2c3d4/thumbnail.jpg",
    "szi": "/tiles/custom_a1b2c3d4.szi",
    "view": "/view/custom_a1b2c3d4",
    "embed": "/embed/custom_a1b2c3d4",
}
"""The same in every state."""


def test_the_answer_to_a_post_is_the_contracts_and_has_links() -> None:
    row_ = pb.Dataset(dataset_id="custom_a1b2c3d4", status=QUEUED)
    assert sent(contract.created(row_, Links())) == {
        "success": True,
        "dataset_id": "custom_a1b2c3d4",
        "status": "processing",
        "message": "Dataset created, processing tiles",
        "status_url": "/api/datasets/custom_a1b2c3d4/status",
        "view_url": "/view/custom_a1b2c3d4",
        "urls": URLS,
    }


def dataset(status: pb.DatasetStatus) -> pb.Dataset:
    """A dataset in some state."""
    return pb.Dataset(
        dataset_id="custom_a1b2c3d4",
        name="Blue Marble",
        category="earth",
        url="https://example.org/a.jpg",
        create_time=at(0),
        status=status,
    )


DESCRIBED: dict[str, Any] = {
    "dataset_id": "custom_a1b2c3d4",
    "name": "Blue Marble",
    "description": "",
    "category": "earth",
    "subject": "",
    "url": "https://example.org/a.jpg",
    "reference": "",
    "tags": [],
    "metadata": {},
    "rights": None,
    "attribution": None,
    "created_at": "2024-05-01T12:00:00.000Z",
    "urls": URLS,
    "pixel_size": None,
    "georeference": None,
}
NO_URLS = {"dzi": None, "xyz": None, "thumbnail": None}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            QUEUED,
            {
                "status": "processing",
                "progress": "queued",
                "state": "QUEUED",
                "finished_at": None,
                "tile_urls": NO_URLS,
                "tile_info": None,
                "error": None,
                "warnings": [],
                "stretch": None,
            },
        ),
        (
            row(pb.STATE_DOWNLOADED),
            {
                "status": "processing",
                "progress": "generating_tiles",
                "state": "DOWNLOADED",
                "finished_at": None,
                "tile_urls": NO_URLS,
                "tile_info": None,
                "error": None,
                "warnings": [],
                "stretch": None,
            },
        ),
        (
            row(pb.STATE_READY, finish_time=at(90.25), pyramid=PYRAMID),
            {
                "status": "ready",
                "progress": "completed",
                "state": "READY",
                "finished_at": "2024-05-01T12:01:30.250Z",
                "tile_urls": {
                    "dzi": "/tiles/ab12.dzi",
                    "xyz": "/tiles/ab12/{z}/{x}/{y}.jpg",
                    "thumbnail": "/tiles/ab12/thumbnail.jpg",
                },
                "tile_info": TILE_INFO,
                "error": None,
                "warnings": [],
                "stretch": None,
            },
        ),
        (
            row(pb.STATE_FAILED, finish_time=at(9), failure=NOT_FOUND),
            {
                "status": "failed",
                "progress": None,
                "state": "FAILED",
                "finished_at": "2024-05-01T12:00:09.000Z",
                "tile_urls": NO_URLS,
                "tile_info": None,
                "error": {"code": "source_not_found", "message": "The server answered 404.", "retryable": False},
                "warnings": [],
                "stretch": None,
            },
        ),
    ],
)
def test_a_dataset_is_shown_with_placeholders_that_turn_real(
    status: pb.DatasetStatus, expected: dict[str, Any]
) -> None:
    assert sent(contract.dataset(dataset(status), Links())) == DESCRIBED | expected


def test_a_dataset_that_waits_for_its_retry_shows_no_error_yet() -> None:
    given = row(pb.STATE_QUEUED, retry_time=at(4), failure=NOT_FOUND)
    assert sent(contract.dataset(dataset(given), Links()))["error"] is None


def test_a_public_url_makes_links_absolute() -> None:
    links = Links("https://tiles.example.org")
    assert links.dzi(PYRAMID) == "https://tiles.example.org/tiles/ab12.dzi"
    assert links.xyz(PYRAMID) == "https://tiles.example.org/tiles/ab12/{z}/{x}/{y}.jpg"
    assert links.status("custom_1") == "https://tiles.example.org/api/datasets/custom_1/status"


@pytest.mark.parametrize(
    ("tile_format", "extension"),
    [(pb.TILE_FORMAT_JPEG, "jpg"), (pb.TILE_FORMAT_PNG, "png"), (pb.TILE_FORMAT_WEBP, "webp")],
)
def test_the_extension_follows_the_format(tile_format: pb.TileFormat.ValueType, extension: str) -> None:
    pyramid = pb.Pyramid(tile_id="ab12", tile_size=256, format=tile_format)
    info = contract.tile_info(pyramid, Links())
    assert (info.format, info.xyz) == (extension, f"/tiles/ab12/{{z}}/{{x}}/{{y}}.{extension}")


def test_every_state_has_its_words_and_every_format_its_extension() -> None:
    of_no_dataset = {pb.STATE_UNSPECIFIED, pb.STATE_REQUESTED, pb.STATE_INSPECTING}
    assert set(contract.SHOWN) == set(pb.State.values()) - of_no_dataset
    assert [words.state for words in contract.SHOWN.values()] == [
        name.removeprefix("STATE_") for name, value in pb.State.items() if value not in of_no_dataset
    ]
    assert set(contract.EXTENSION) == set(pb.TileFormat.values()) - {pb.TILE_FORMAT_UNSPECIFIED}


@pytest.mark.parametrize(
    "given",
    [
        row(99),  # type: ignore[arg-type]  # a state that this version lacks
        row(pb.STATE_READY, pyramid=pb.Pyramid(tile_id="ab12", format=99)),  # type: ignore[arg-type]  # such a format
    ],
)
def test_what_only_a_newer_statussvc_knows_is_shown_as_work_that_goes_on(given: pb.DatasetStatus) -> None:
    shown = sent(contract.status(given, Links(), NOON))
    assert (shown["status"], shown["message"]) == ("processing", "Generating tiles…")
    listed = sent(contract.dataset(pb.Dataset(dataset_id="custom_a1b2c3d4", status=given), Links()))
    assert (listed["status"], listed["tile_info"]) == ("processing", None)


def test_the_catalogues_filters_find_each_state_under_the_status_it_shows() -> None:
    for state, words in contract.SHOWN.items():
        shown = "processing" if words.status == "queued" else words.status
        assert state in contract.FILTERS[shown]
        assert state in contract.FILTERS[words.status]


def test_the_entity_tag_changes_with_the_revision_and_with_a_countdown() -> None:
    waiting = row(pb.STATE_QUEUED, retry_time=at(4))
    assert contract.etag(QUEUED, NOON) == 'W/"7"'
    assert contract.etag(waiting, NOON) == 'W/"7-4"'
    assert contract.etag(waiting, NOON + 1) == 'W/"7-3"'
    assert contract.etag(waiting, NOON + 9) == 'W/"7"'


@pytest.mark.parametrize(
    "model",
    [model for model in vars(schemas).values() if isinstance(model, type) and hasattr(model, "model_config")],
)
def test_every_example_in_the_documentation_is_one_that_could_be_sent(model: Any) -> None:
    for example in (model.model_config.get("json_schema_extra") or {}).get("examples", []):
        assert sent(model.model_validate(example)) == example
