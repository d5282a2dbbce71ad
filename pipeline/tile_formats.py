"""The formats of tiles, and their numbers in the proto."""

from __future__ import annotations

from typing import Final

from pipeline.pyramids import Format
from protos.tilewright.status.v1 import status_pb2 as pb

FORMATS: Final[dict[pb.TileFormat.ValueType, Format]] = {
    number: Format[name.removeprefix("TILE_FORMAT_")]
    for name, number in pb.TileFormat.items()
    if number != pb.TILE_FORMAT_UNSPECIFIED
}
"""By number. A number that is missing was sent by a newer version."""

NUMBERS: Final = {tile_format: number for number, tile_format in FORMATS.items()}
