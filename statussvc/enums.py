"""Enums of rows and responses, which are stored as text, and their values in status.proto."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.lifecycle import Stage, State


class Kind(StrEnum):
    """What a row of `datasets` is."""

    DATASET = "dataset"
    INSPECTION = "inspection"
    REFRESH = "refresh"
    """Fetches the source of a dataset again. Its `owner` gets what it makes."""


class Change(StrEnum):
    """What happened to a dataset that the stream of changes tells: as in the IIIF Change Discovery API."""

    CREATE = "CREATE"
    """It was ready for the first time."""
    UPDATE = "UPDATE"
    """Its pyramid or its texts changed."""
    DELETE = "DELETE"


class TileFormat(StrEnum):
    """The image format of tiles."""

    UNSPECIFIED = ""
    """The service chooses."""
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"


class Outcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    """Its worker gave the stage back."""
    EXPIRED = "expired"
    """Its heartbeats stopped."""
    STOPPED = "stopped"
    """Its dataset was cancelled or deleted."""


class Answer(StrEnum):
    """The response to a worker that reports an outcome."""

    WON = "WON"
    """The outcome counts."""
    LOST = "LOST"
    """The stage is done, but another build of the same pyramid counts."""
    REFUSED = "REFUSED"
    """The run no longer had its stage."""


class Drop(StrEnum):
    """Why a wake-up is not granted. Never stored."""

    BUSY = "BUSY"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"
    FINISHED = "FINISHED"
    DELETED = "DELETED"
    HELD = "HELD"


class StopReason(StrEnum):
    """Why a run at work is told to stop. Sent as its text, never stored."""

    CANCELLED = "cancelled"
    DELETED = "deleted"
    SUPERSEDED = "superseded"


STATE_VALUES: Final[dict[State, pb.State.ValueType]] = {
    State.QUEUED: pb.STATE_QUEUED,
    State.DOWNLOADING: pb.STATE_DOWNLOADING,
    State.DOWNLOADED: pb.STATE_DOWNLOADED,
    State.TILING: pb.STATE_TILING,
    State.READY: pb.STATE_READY,
    State.FAILED: pb.STATE_FAILED,
    State.CANCELLED: pb.STATE_CANCELLED,
    State.REQUESTED: pb.STATE_REQUESTED,
    State.INSPECTING: pb.STATE_INSPECTING,
}

STAGE_VALUES: Final[dict[Stage, pb.Stage.ValueType]] = {
    Stage.INGEST: pb.STAGE_INGEST,
    Stage.TILER: pb.STAGE_TILER,
    Stage.INSPECT: pb.STAGE_INSPECT,
}

TILE_FORMAT_VALUES: Final[dict[TileFormat, pb.TileFormat.ValueType]] = {
    TileFormat.UNSPECIFIED: pb.TILE_FORMAT_UNSPECIFIED,
    TileFormat.JPEG: pb.TILE_FORMAT_JPEG,
    TileFormat.PNG: pb.TILE_FORMAT_PNG,
    TileFormat.WEBP: pb.TILE_FORMAT_WEBP,
}

ANSWER_VALUES: Final[dict[Answer, pb.Answer.ValueType]] = {
    Answer.WON: pb.ANSWER_WON,
    Answer.LOST: pb.ANSWER_LOST,
    Answer.REFUSED: pb.ANSWER_REFUSED,
}

CHANGE_VALUES: Final[dict[Change, pb.ChangeType.ValueType]] = {
    Change.CREATE: pb.CHANGE_TYPE_CREATE,
    Change.UPDATE: pb.CHANGE_TYPE_UPDATE,
    Change.DELETE: pb.CHANGE_TYPE_DELETE,
}

DROP_VALUES: Final[dict[Drop, pb.BeginStageResponse.Drop.ValueType]] = {
    Drop.BUSY: pb.BeginStageResponse.DROP_BUSY,
    Drop.SUPERSEDED: pb.BeginStageResponse.DROP_SUPERSEDED,
    Drop.CANCELLED: pb.BeginStageResponse.DROP_CANCELLED,
    Drop.FINISHED: pb.BeginStageResponse.DROP_FINISHED,
    Drop.DELETED: pb.BeginStageResponse.DROP_DELETED,
    Drop.HELD: pb.BeginStageResponse.DROP_HELD,
}

STATES: Final = {value: state for state, value in STATE_VALUES.items()}
STAGES: Final = {value: stage for stage, value in STAGE_VALUES.items()}
TILE_FORMATS: Final = {value: tile_format for tile_format, value in TILE_FORMAT_VALUES.items()}

MAIN_PICTURE, FIRST_PAGE = 0, -1
"""Values of a row's `page`. Older rows have 0 whether page 0 or no page was asked for, but page 0 may be a label. So 0
stands for the main picture, and -1 for page 0."""


def asked_page(options: pb.TileOptions) -> int:
    """The `page` of a row with these options."""
    return (options.page or FIRST_PAGE) if options.HasField("page") else MAIN_PICTURE
