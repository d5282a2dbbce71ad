"""Write docs/errors.md and docs/settings.md from the code, for `make docs`. A test checks that they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from pipeline.errors import DATASET_CODES, REQUEST_CODES, WARNING_CODES, Code
from pipeline.settings import Settings
from statussvc.settings import StatusSettings
from tiler.settings import TilerSettings
from tilewright.output import print_line

SERVICES: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "ingest": IngestSettings,
    "tiler": TilerSettings,
    "statussvc": StatusSettings,
}

NOTE = "<!-- Made by `make docs` from the code; change it there. -->"


def errors_page() -> str:
    """Return docs/errors.md: every code, what it means, what to do, and whether a retry can help."""
    return "\n".join(
        [
            "# Error codes",
            "",
            NOTE,
            "",
            "Codes are stable: a program may branch on them. Every error response of the gateway is",
            "`application/problem+json` with such a `code`. A failed dataset has one in `error.code`.",
            "",
            "## Why a dataset failed",
            "",
            *_codes(DATASET_CODES),
            "",
            "## Why a request was refused",
            "",
            *_codes(REQUEST_CODES),
            "",
            "## Warnings about a dataset that is ready",
            "",
            "A dataset that is `ready` has a list `warnings`, mostly empty. Each has such a `code` and a `message`.",
            "",
            "| code | what it means |",
            "|---|---|",
            *(f'| <a id="{name}"></a>`{name}` | {meaning} |' for name, meaning in WARNING_CODES.items()),
            "",
        ]
    )


def _codes(codes: dict[str, Code]) -> Iterable[str]:
    yield "| code | what it means | what to do | can a retry help? |"
    yield "|---|---|---|---|"
    for name, code in codes.items():
        yield f'| <a id="{name}"></a>`{name}` | {code.meaning} | {code.advice} | {"yes" if code.retryable else "no"} |'


def settings_page() -> str:
    """Return docs/settings.md: every variable, its default, the services that read it, and what it means."""
    fields: dict[str, tuple[FieldInfo, list[str]]] = {}
    for service, settings in SERVICES.items():
        for name, field in settings.model_fields.items():
            fields.setdefault(name, (field, []))[1].append(service)
    rows = [
        f"| `TILEWRIGHT_{name.upper()}` | `{_shown(field.default)}` | {', '.join(services)} | {field.description} |"
        for name, (field, services) in sorted(fields.items())
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            NOTE,
            "",
            "Every service reads its settings from environment variables when it starts. `tilewright up` reads them",
            "too, except those for the database, the storage, the broker, the addresses and the ports, which it sets.",
            "",
            "| variable | default | read by | meaning, unit, and why this default |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _shown(default: object) -> str:
    if default in ("", (), None):
        return " "
    return str(default)


PAGES = {"errors.md": errors_page, "settings.md": settings_page}


def main(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print_line(f"wrote {folder / name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
