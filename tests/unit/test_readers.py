"""Which reader reads which file, and what one more takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import pyvips

from pipeline.formats.header import Header
from tests.support.images import pictures
from tiler.decode import Reader, open_picture, reader_of, registry
from tiler.progress import Meter


class UpsideDown(Reader):
    """Reads a file of a made-up format: a PNG behind eight bytes, its rows from bottom to top."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"pdf"})

    def _by_libvips(self, **_: int) -> pyvips.Image:
        image = pyvips.Image.new_from_buffer(self.path.read_bytes()[8:], "").flipver()
        image.set_type(pyvips.GValue.gstr_type, "vips-loader", "pdfload")
        return image


def test_each_kind_has_one_reader() -> None:
    counted = Counter(kind for reader in registry.READERS for kind in reader.KINDS)
    assert set(counted.values()) == {1}


def test_a_new_format_is_one_class_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file that nothing here reads
    scene = pictures.scene(60, 40)
    path = tmp_path / "source"
    path.write_bytes(b"%PDF-1.7" + pictures.save(scene[::-1], tmp_path / "scene.png").read_bytes())
    # When a reader of it is registered
    monkeypatch.setattr(registry, "READERS", (*registry.READERS, UpsideDown))
    picture = open_picture(reader_of(path), meter=Meter(lambda *_: None))
    # Then its header and its pixels are there
    assert reader_of(path).header() == Header("pdf", 60, 40, 1)
    assert np.array_equal(picture.image.numpy(), scene)
    assert picture.decisions == []


def test_a_file_that_is_not_there_fails_when_it_is_opened(tmp_path: Path) -> None:
    reader = reader_of(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        reader.header()
