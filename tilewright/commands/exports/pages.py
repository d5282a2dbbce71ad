"""The pages of a dataset that shows all pages of its source: which of them are exported, and how each is named."""

from __future__ import annotations

import re
from typing import NamedTuple

from tilewright.client import Json
from tilewright.commands.exports.trees import NotExported

PAGE_ID = re.compile(r"(?P<dataset>custom_[0-9a-f]+)-p(?P<page>[0-9]{1,6})")


class Page(NamedTuple):
    """A page to export.

    Parameters
    ----------
    number: its number in the source, from 0; None if the dataset shows one image only.
    dataset: the dataset as the API would return it if the page were its only image.
    """

    number: int | None
    dataset: Json

    @property
    def folder(self) -> str:
        """Name of the page's folder in an export of several pages."""
        return f"page-{self.number}"


def split(name: str) -> tuple[str, int | None]:
    """Return the dataset's id and the page's number that an id such as custom_a1b2c3d4-p3 names; None for no page."""
    found = PAGE_ID.fullmatch(name)
    return (found["dataset"], int(found["page"])) if found else (name, None)


def pages_of(dataset: Json, number: int | None) -> list[Page]:
    """Return the page of a number, or all pages that the dataset shows.

    Parameters
    ----------
    dataset: as the API returns it, in any status.

    Raises
    ------
    NotExported: if the dataset has no such page.
    """
    shown = dataset.get("pages") or []
    if not shown:
        if number is None or dataset.get("tile_info") is None:
            return [Page(None, dataset)]
        raise NotExported(f"{dataset['dataset_id']} shows one image, so no page can be chosen. Leave the page out.")
    pages = [Page(page["page"], _alone(dataset, place)) for place, page in enumerate(shown)]
    found = [page for page in pages if number in (None, page.number)]
    if not found:
        first, last = pages[0].number, pages[-1].number
        raise NotExported(
            f"{dataset['dataset_id']} has no page {number}. It has {len(pages)} pages, numbered from {first} to {last}."
        )
    return found


def _alone(dataset: Json, place: int) -> Json:
    """Return the dataset as if the page at a place were its only image."""
    page, dataset_id = dataset["pages"][place], dataset["dataset_id"]
    count, name = len(dataset["pages"]), dataset.get("name") or dataset["dataset_id"]
    return dataset | {
        # The first page has the dataset's own name in addresses.
        "dataset_id": f"{dataset_id}-p{page['page']}" if place else dataset_id,
        "name": f"{name}, page {place + 1} of {count}" if count > 1 else name,
        "tile_info": page,
    }
