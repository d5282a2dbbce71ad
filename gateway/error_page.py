"""The page of error codes, which every problem's `type` opens: the table of pipeline.errors, as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pipeline.errors import DATASET_CODES, REQUEST_CODES, Code


def error_page(template: str) -> str:
    """Fill the table of codes into `web/errors.html`."""
    return template.replace("<!-- dataset codes -->", _rows(DATASET_CODES)).replace(
        "<!-- request codes -->", _rows(REQUEST_CODES)
    )


def _rows(codes: Mapping[str, Code]) -> str:
    return "".join(_row(name, code) for name, code in codes.items())


def _row(name: str, code: Code) -> str:
    retry = "A retry can help." if code.retryable else "A retry alone does not help."
    return (
        f'<div id="{escape(name)}"><dt><code>{escape(name)}</code></dt>'
        f"<dd>{escape(code.meaning)}</dd><dd>{escape(code.advice)} {retry}</dd></div>"
    )
