"""What schemas of requests and of responses share: a client's own texts, and examples."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
