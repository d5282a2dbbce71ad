"""What schemas of requests and of responses share: a client's own texts, and examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from gateway.http import few
from pipeline import georeference, pixel_size
from pipeline.texts import MAX_METADATA, MAX_STATEMENT

NO_NUL = r"^[^\x00]*$"  # PostgreSQL's text type cannot hold U+0000.
NOT_BLANK = r"^[^\x00]*[^\x00\s][^\x00]*$"

OWN_TEXTS: dict[str, Any] = {
    "reference": "sheet-7",
    "tags": ["alps", "1850"],
    "metadata": {"shelf": "K 12", "scale": "1:25000"},
    "rights": {"text": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
    "attribution": {"text": "Map Library of Example", "url": "https://example.org/maps"},
}
REFERENCE = "Your own id of the image. No two datasets have the same; a deleted one gives it free."
TAGS = "Your own words to filter by."
METADATA = f"Your own keys and texts, at most {MAX_METADATA}. They can be filtered by."
RIGHTS = "Under which terms the image may be used. Viewers show it."
ATTRIBUTION = "Whom to name with the image. Viewers show it."
GEOREFERENCE = (
    "Where the full, upright image lies on Earth, if the file does not say it or is wrong: `crs` (EPSG:4326 or "
    "EPSG:3857) and `transform`, or `control_points` in degrees."
)
PIXEL_SIZE = "How large a pixel of the full, upright image is, if the file does not say it or is wrong."


def example(*values: dict[str, Any]) -> ConfigDict:
    """Return a model's configuration with examples for OpenAPI."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


class Statement(BaseModel):
    """A text for people and a link. One of them may be left out."""

    model_config = example({"text": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"})

    text: Annotated[str, StringConstraints(max_length=MAX_STATEMENT, pattern=NO_NUL)] = Field(
        default="", description="Text to show."
    )
    url: str = Field(
        default="", pattern=r"^(https?://[^\x00-\x20\x7f]+)?$", description="Page to link to: http or https."
    )


class PixelSize(BaseModel):
    """How large a pixel of the full, upright image is in the real world."""

    model_config = example({"x": 0.25, "y": 0.25, "unit": "µm"})

    x: float = Field(description="Width of a pixel, in units.")
    y: float = Field(description="Height of a pixel, in units.")
    unit: Literal["nm", "µm", "mm", "cm", "m", "km", "in"] = Field(description="Unit of both.")


def _pixel_size(given: Any) -> PixelSize | None:
    """Return a size that was given as an object, or as a text such as `0.25 µm`."""
    if given is None:
        return None
    if isinstance(given, str):
        return PixelSize(**pixel_size.parse_text(given)._asdict())
    fields: dict[str, Any] = given if isinstance(given, dict) else {}
    x, y, unit = fields.get("x"), fields.get("y", fields.get("x")), fields.get("unit")
    if x is None or y is None or not (_is_number(x) and _is_number(y) and isinstance(unit, str)):
        raise ValueError(_PIXEL_SIZE_FORMS)
    return PixelSize(**pixel_size.parse(x, y, unit)._asdict())


def _is_number(value: Any) -> bool:
    # An integer of a thousand digits is none that a float can be.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= pixel_size.MOST * 1e9


_PIXEL_SIZE_FORMS = 'The size of a pixel is an object with x, y and unit, or a text such as "0.25 µm".'
_EDGE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}

PixelSizeOption = Annotated[
    PixelSize | None,
    PlainValidator(_pixel_size),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "x": _EDGE,
                        "y": {**_EDGE, "description": "Default: x."},
                        "unit": {"enum": list(pixel_size.METRES)},
                    },
                    "required": ["x", "unit"],
                },
                {"type": "string", "pattern": f"^{pixel_size.TEXT.pattern}$"},
                {"type": "null"},
            ]
        }
    ),
]


class ControlPoint(BaseModel):
    """A pixel of the full, upright image with its place on Earth, in degrees of WGS 84."""

    x: float = Field(description="Pixels from the left edge.")
    y: float = Field(description="Pixels from the upper edge.")
    longitude: float = Field(ge=-180, le=180)
    latitude: float = Field(ge=-90, le=90)


class Georeference(BaseModel):
    """Where the full, upright image lies on Earth."""

    model_config = example(
        {
            "crs": "EPSG:3857",
            "transform": [10.0, 0.0, 1000000.0, 0.0, -10.0, 6000000.0],
            "control_points": [{"x": 0.0, "y": 0.0, "longitude": 8.983152841, "latitude": 47.357434646}],
            "bounds": [8.983152841, 47.308739214, 9.072984369, 47.357434646],
        }
    )

    crs: str = Field(description='Coordinate reference system, as "EPSG:3857" or WKT; empty if unknown.')
    transform: list[float] | None = Field(
        description="[a, b, c, d, e, f] with X = a x + b y + c and Y = d x + e y + f, from pixels, whose first has its "
        "outer corner at (0, 0), to the crs; null if there are control points alone."
    )
    control_points: list[ControlPoint] = Field(description="None if the crs could not be converted to WGS 84.")
    bounds: list[float] | None = Field(
        description="West, south, east and north in degrees of WGS 84; null if the crs could not be converted. West is "
        "greater than east if the antimeridian is between them."
    )


class PlaceOption(BaseModel):
    """Where an image lies, as a client says it."""

    crs: str = Field(default="", max_length=20)
    transform: Annotated[list[float], few(6)] = Field(default=[], max_length=6)
    control_points: Annotated[list[ControlPoint], few(georeference.MOST_POINTS)] = Field(
        default=[], max_length=georeference.MOST_POINTS
    )


def _place(given: Any) -> georeference.Georeference | None:
    """Return what was given as an object, or as a text such as `EPSG:3857 10 0 1000000 0 -10 6000000`."""
    if given is None:
        return None
    if isinstance(given, str):
        return georeference.parse_text(given[:_MOST_PLACE_TEXT])
    said = PlaceOption.model_validate(
        {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given
    )
    points = [(point.x, point.y, point.longitude, point.latitude) for point in said.control_points]
    return georeference.given(said.crs, said.transform, points)


_MOST_PLACE_TEXT = 10_000
_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 6}
_POINTS: dict[str, Any] = {
    "type": "array",
    "minItems": georeference.LEAST_POINTS,
    "maxItems": georeference.MOST_POINTS,
    "items": {
        "type": "object",
        "properties": {
            "x": {"type": "number"},
            "y": {"type": "number"},
            "longitude": {"type": "number", "minimum": -180, "maximum": 180},
            "latitude": {"type": "number", "minimum": -90, "maximum": 90},
        },
        "required": ["x", "y", "longitude", "latitude"],
    },
}

PlaceField = Annotated[
    georeference.Georeference | None,
    PlainValidator(_place),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "crs": {"enum": [georeference.DEGREES, georeference.MERCATOR]},
                        "transform": _NUMBERS,
                    },
                    "required": ["crs", "transform"],
                },
                {"type": "object", "properties": {"control_points": _POINTS}, "required": ["control_points"]},
                {"type": "string", "pattern": f"^{georeference.TRANSFORM_TEXT.pattern}$"},
                {"type": "null"},
            ]
        }
    ),
]
