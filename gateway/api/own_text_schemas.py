"""What schemas of requests and of responses share: a client's own texts, and examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from pipeline import pixel_size
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
