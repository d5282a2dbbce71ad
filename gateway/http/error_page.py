"""HTML pages for errors: the table of all codes, to which every problem's `type` links, and a page for one problem.

A program gets a problem as JSON. A browser that opens a URL in its window asks for HTML, and gets the same problem as a
page with a link back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template

from gateway.http.problem_schemas import Problem
from pipeline.errors import DATASET_CODES, REQUEST_CODES, Code

MEDIA_TYPE = "text/html; charset=utf-8"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of a problem's page, which loads only two styles and an icon."""

PROGRAMS = ("/api/", "/healthz", "/readyz")
"""Prefixes of paths for programs. There a browser gets JSON too."""


def wants_page(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a client prefers HTML to JSON, by the weights in its Accept header (RFC 9110 12.5.1)."""
    if path.startswith(PROGRAMS):
        return False
    accept = b",".join(value for name, value in headers if name == b"accept").decode("latin-1").lower()
    weights = dict(map(_weight, accept.split(",")))
    return weights.get("text/html", 0.0) > max(
        weights.get("application/json", 0.0), weights.get("application/problem+json", 0.0)
    )


def problem_page(problem: Problem, path: str) -> str:
    """Return `web/problem.html` filled with a problem.

    Parameters
    ----------
    path: the request's path. The page's links are relative to it, so that they work behind any proxy.
    """
    template = Template((files("web") / "problem.html").read_text(encoding="utf-8"))
    return template.substitute(
        root="../" * (path.count("/") - 1) or "./",
        title=escape(problem.title),
        status=problem.status,
        detail=escape(problem.detail),
        code=escape(problem.code),
        request_id=escape(problem.request_id),
    )


def error_codes_page(template: str) -> str:
    """Return `web/errors.html` filled with the table of codes.

    Parameters
    ----------
    template: text of `web/errors.html`.
    """
    return template.replace("<!-- dataset codes -->", _rows(DATASET_CODES)).replace(
        "<!-- request codes -->", _rows(REQUEST_CODES)
    )


def _weight(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in media_range.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter.removeprefix("q="))
            except ValueError:
                return name, 0.0
    return name, 1.0


def _rows(codes: Mapping[str, Code]) -> str:
    return "".join(_row(name, code) for name, code in codes.items())


def _row(name: str, code: Code) -> str:
    retry = "A retry may help." if code.retryable else "A retry alone does not help."
    return (
        f'<div id="{escape(name)}"><dt><code>{escape(name)}</code></dt>'
        f"<dd>{escape(code.meaning)}</dd><dd>{escape(code.advice)} {retry}</dd></div>"
    )
