"""TIFFs whose directory has a changed bit: the pixels are those of the file, or it is damaged."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyvips

from pipeline.errors import StageError
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed
from tests.support.images import changed_tiffs
from tests.support.images.pictures import Pixels
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter


def shown(path: Path) -> Pixels | None:
    """Decode a file as the tiler's child does; None if it is refused."""
    reader = reader_of(path)
    while True:
        try:
            picture = open_picture(reader, meter=Meter(lambda *_: None))
            with picture.heeded():
                memory = picture.image.write_to_memory()
        except (pyvips.Error, StageError) as error:
            if not isinstance(error, pyvips.Error) or not reader.overlook(error):
                return None
        else:
            shape = picture.image.height, picture.image.width, picture.image.bands
            return np.frombuffer(memory, np.uint8).reshape(shape)


def test_a_changed_bit_of_a_tags_number_never_shows_other_pixels(tmp_path: Path) -> None:
    refused = 0
    for original in list(changed_tiffs.originals(tmp_path)):
        expected = shown(original)
        assert expected is not None, original.name
        for name, data in changed_tiffs.flipped(original.read_bytes()):
            path = tmp_path / "changed.tif"
            path.write_bytes(data)
            found = shown(path)
            refused += found is None
            is_right = found is None or np.array_equal(found, expected)
            assert is_right or (original.stem, name) in changed_tiffs.SOUND, (original.stem, name)
    assert refused > 1000


def test_a_size_that_is_too_small_for_the_strips_is_damaged(tmp_path: Path) -> None:
    for path in changed_tiffs.changed(tmp_path):
        assert shown(path) is None, path.name


def test_a_changed_tag_is_known_before_the_download(tmp_path: Path) -> None:
    told = [f"{name}-{tag}-{other}" for name, tag, other in changed_tiffs.MOST_TOLD]
    for path in changed_tiffs.changed(tmp_path):
        if path.stem in told:
            data = path.read_bytes()
            found = probe_child.find_header(pyvips, Blocks(partial(_part, data), len(data)), 0)
            assert isinstance(found, Failed), path.name
            assert found.code == "image_corrupt", (path.name, found)


def _part(data: bytes, at: int, size: int) -> bytes:
    return data[at : at + size]


def test_odd_but_sound_directories_are_read(tmp_path: Path) -> None:
    for path, expected in changed_tiffs.sound(tmp_path):
        found = shown(path)
        assert found is not None, path.name
        assert np.array_equal(found, expected), path.name
