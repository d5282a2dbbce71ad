"""A complete build as a message to statussvc."""

from __future__ import annotations

from pipeline.georeference import Georeference, Located, ground_size
from pipeline.pyramids import Format
from pipeline.tile_formats import NUMBERS
from protos.tilewright.status.v1 import status_pb2 as pb
from tiler.job import Built


def result_of(built: Built, place: Georeference | None, located: Located | None) -> pb.TilerResult:
    """Return what a build is.

    Parameters
    ----------
    place: where on Earth it lies, as the file says; None if it does not.
    located: the same in WGS 84; None if that is not known.
    """
    return pb.TilerResult(
        width=built.width,
        height=built.height,
        format=NUMBERS[Format(built.extension)],
        tile_count=built.tile_count,
        bytes=built.size,
        stretch=pb.Stretch(rule=built.stretch, low=built.low, high=built.high) if built.stretch else None,
        channels=_channels(built),
        pixel_size=_pixel_size(built, located),
        georeference=_georeference(place, located),
        warnings=[
            pb.Warning(code=code, message=message)
            for code, message in zip(built.warning_codes, built.warnings, strict=True)
        ],
    )


def _pixel_size(built: Built, located: Located | None) -> pb.PixelSize | None:
    """Return how large a pixel is, as the file says, or else on the ground."""
    if built.pixel_size:
        x, y = built.pixel_size
        return pb.PixelSize(x=x, y=y, unit=built.pixel_unit)
    size = ground_size(located) if located else None
    return pb.PixelSize(**size._asdict()) if size else None


def _georeference(place: Georeference | None, located: Located | None) -> pb.Georeference | None:
    if place is None:
        return None
    message = pb.Georeference(crs=place.crs, transform=place.transform)
    if located:
        message.bounds.extend(located.bounds)
        for x, y, longitude, latitude in located.points:
            message.control_points.add(x=x, y=y, longitude=longitude, latitude=latitude)
    return message


def _channels(built: Built) -> list[pb.Channel]:
    rows = zip(
        *(built.channels, built.channel_names, built.channel_colours),
        *(built.channel_rules, built.channel_lows, built.channel_highs),
        strict=True,
    )
    return [
        pb.Channel(number=number, name=name, colour=colour, stretch=pb.Stretch(rule=rule, low=low, high=high))
        for number, name, colour, rule, low, high in rows
    ]
