"""How much of a run's work one job is: all of it, or a page of several."""

from __future__ import annotations

from pipeline.run import Run
from tiler.job import Progress


class Share:
    """The progress of a run whose jobs follow one another.

    Attributes
    ----------
    pages: the numbers of the pages to show; none if all of the work is one job.
    place: that of the page at work in `pages`, from 0.
    tiles: those of the pages before.
    """

    def __init__(self) -> None:
        self.pages: tuple[int, ...] = ()
        self.place = 0
        self.tiles = 0

    @property
    def page(self) -> int:
        """The number of the page at work."""
        return self.pages[self.place]

    def open(self, pages: tuple[int, ...]) -> None:
        """Note which pages are to be shown, before the first one is built."""
        if self.place == 0:
            self.pages = pages

    def next(self, tile_count: int) -> bool:
        """Go on to the next page, and return whether there is one.

        Parameters
        ----------
        tile_count: of the page that is complete.
        """
        self.tiles += tile_count
        self.place += 1
        return self.place < len(self.pages)

    def named(self, message: str) -> str:
        """Return a message that says which page of several it is about."""
        count = len(self.pages)
        return f"Page {self.page} ({self.place + 1} of {count}): {message}" if count > 1 else message

    def report(self, run: Run, done: Progress) -> None:
        """Report progress of the job as that of the run. Further pages are taken to have as many tiles as this one."""
        count = max(1, len(self.pages))
        total = self.tiles + done.tiles_total * (count - self.place)
        run.report(
            tiles_done=self.tiles + done.tiles_done,
            tiles_total=total if done.tiles_total else None,
            stage_percent=(100 * self.place + done.percent) / count,
        )
