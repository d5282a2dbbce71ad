"""statussvc's enums against status.proto: every value is mapped, to the one of its name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc import enums
from statussvc.lifecycle import Stage, State


@pytest.mark.parametrize(
    ("kind", "values", "proto", "prefix"),
    [
        (State, enums.STATE_VALUES, pb.State, "STATE"),
        (Stage, enums.STAGE_VALUES, pb.Stage, "STAGE"),
        (enums.TileFormat, enums.TILE_FORMAT_VALUES, pb.TileFormat, "TILE_FORMAT"),
        (enums.Answer, enums.ANSWER_VALUES, pb.Answer, "ANSWER"),
        (enums.Change, enums.CHANGE_VALUES, pb.ChangeType, "CHANGE_TYPE"),
        (enums.Drop, enums.DROP_VALUES, pb.BeginStageResponse.Drop, "DROP"),
    ],
)
def test_every_member_has_the_value_of_its_name(
    kind: type[StrEnum], values: Mapping[StrEnum, int], proto: Any, prefix: str
) -> None:
    assert {f"{prefix}_{member.name}": value for member, value in values.items()} == {
        name: value
        for name, value in proto.items()
        if not proto.DESCRIPTOR.values_by_name[name].GetOptions().deprecated
        and (not name.endswith("_UNSPECIFIED") or "UNSPECIFIED" in kind.__members__)
    }
    assert set(values) == set(kind)


def test_stored_texts_stay_what_they_are() -> None:
    stored = (State, Stage, enums.Kind, enums.TileFormat, enums.Outcome, enums.Answer, enums.Change)
    assert {kind.__name__: " ".join(kind) for kind in stored} == {
        "State": "QUEUED DOWNLOADING DOWNLOADED TILING READY FAILED CANCELLED REQUESTED INSPECTING",
        "Stage": "INGEST TILER INSPECT",
        "Kind": "dataset inspection refresh",
        "TileFormat": " JPEG PNG WEBP",
        "Outcome": "completed failed released expired stopped",
        "Answer": "WON LOST REFUSED",
        "Change": "CREATE UPDATE DELETE",
    }
