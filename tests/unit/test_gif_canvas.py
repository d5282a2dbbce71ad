"""Pages of animated GIFs: each is what browsers show at that moment, whatever the frames before it did."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from tests.support.images import animations, pictures
from tests.support.images.animations import CLEAR, RESTORE, RESTORE_TOO, Drawn
from tests.support.images.pictures import Pixels
from tiler.decode import Picture, open_picture, reader_of
from tiler.progress import Meter

SEED, GIFS = 11, 300


def page_of(path: Path, page: int) -> tuple[Picture, Pixels]:
    picture = open_picture(reader_of(path, page), meter=Meter(lambda *_: None))
    with picture.heeded():
        pixels: Pixels = picture.image.numpy()
    return picture, pixels


def is_same(found: Pixels, expected: Pixels) -> bool:
    """Whether all is as expected; the colour does not matter of what is not there."""
    if found.shape[2] == 3:
        return bool((expected[..., 3] == 255).all()) and np.array_equal(found, expected[..., :3])
    there = expected[..., 3:] > 0
    return np.array_equal(found[..., 3], expected[..., 3]) and np.array_equal(found * there, expected * there)


def full(colour: int) -> Pixels:
    return np.full((30, 40), colour, np.uint8)


def test_every_page_of_any_gif_is_what_browsers_show(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311
    path = tmp_path / "a.gif"
    for number in range(GIFS):
        width, height, frames = animations.at_random(chance)
        path.write_bytes(animations.drawn(width, height, frames))
        for page, expected in enumerate(animations.as_browsers_show(width, height, frames)):
            _, found = page_of(path, page)
            assert is_same(found, expected), (number, page)


@pytest.mark.parametrize("disposal", [CLEAR, RESTORE, RESTORE_TOO])
def test_a_frame_that_is_taken_away_leaves_nothing(disposal: int, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(
        animations.drawn(40, 30, [Drawn(0, 0, full(1), disposal), Drawn(20, 10, full(2)[:5, :5])])
    )
    picture, found = page_of(tmp_path / "a.gif", 1)
    assert (found[..., 3] > 0).sum() == 25
    assert picture.decisions == ["transparent where no frame covers the canvas"]


def test_an_interlaced_frame_that_reaches_below_the_canvas_is_refused_by_name(tmp_path: Path) -> None:
    # Given such a frame, which libnsgif mixes up: on the page itself, left standing before it, or taken away before it
    beyond = Drawn(3, 25, pictures.scene(9, 20)[..., 0] % 16, interlaced=True)
    for page, frames in {
        1: [Drawn(0, 0, full(1)), beyond],
        2: [Drawn(0, 0, full(1)), beyond, Drawn(0, 0, full(2)[:4, :4])],
    }.items():
        (tmp_path / "a.gif").write_bytes(animations.drawn(40, 30, frames))
        with pytest.raises(StageError, match="Frame 1 of the GIF is interlaced") as refused:
            page_of(tmp_path / "a.gif", page)
        assert refused.value.code == "unsupported_format"
    frames = [Drawn(0, 0, full(1)), beyond._replace(disposal=RESTORE), Drawn(0, 0, full(2)[:4, :4])]
    (tmp_path / "a.gif").write_bytes(animations.drawn(40, 30, frames))
    assert is_same(page_of(tmp_path / "a.gif", 2)[1], list(animations.as_browsers_show(40, 30, frames))[2])


def test_a_page_that_covers_the_canvas_again_needs_no_transparency(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(
        animations.drawn(
            40, 30, [Drawn(0, 0, full(1), RESTORE), Drawn(5, 5, full(3)[:9, :9], CLEAR), Drawn(0, 0, full(2))]
        )
    )
    picture, found = page_of(tmp_path / "a.gif", 2)
    assert found.shape == (30, 40, 3)
    assert picture.decisions == []


def test_a_cleared_area_is_not_filled_with_a_colour_beside_transparent_frames(tmp_path: Path) -> None:
    # Given an opaque frame that is to be cleared, and a transparent colour in another frame
    frames = [Drawn(0, 0, full(4)), Drawn(5, 5, full(3)[:9, :9], CLEAR), Drawn(30, 20, full(6)[:2, :2], transparent=6)]
    (tmp_path / "a.gif").write_bytes(animations.drawn(40, 30, frames))
    _, found = page_of(tmp_path / "a.gif", 2)
    assert (found[5:14, 5:14, 3] == 0).all()
    assert (found[..., 3] == 0).sum() == 81
