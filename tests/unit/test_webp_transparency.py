"""A WebP whose header and chunks disagree on transparency is damaged; libwebp would show it without."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StageError
from tests.support.images import webps
from tiler.decode import reader_of


@pytest.mark.parametrize("name", webps.unsound())
def test_a_header_that_disagrees_with_the_chunks_is_damage(name: str, tmp_path: Path) -> None:
    (tmp_path / "source.webp").write_bytes(webps.unsound()[name])
    with pytest.raises(StageError) as caught:
        reader_of(tmp_path / "source.webp").open()
    assert caught.value.code == "image_corrupt"


@pytest.mark.parametrize("name", webps.sound())
def test_sound_headers_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "source.webp").write_bytes(webps.sound()[name])
    image = reader_of(tmp_path / "source.webp").open()
    assert (image.width, image.height) == (webps.EDGE, webps.EDGE)
    assert image.hasalpha() == ("alpha" in name or "lossless" in name)
    assert image.avg() > 0
