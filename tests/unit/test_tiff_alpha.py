"""Alpha in TIFFs is kept, of any bits and beside a palette, and colours multiplied by it are divided rightly."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from pipeline.errors import StageError
from tests.support.images import alpha_tiffs, pictures, tiffs
from tests.unit.test_tiff_colours import shown
from tiler.decode import reader_of

COARSE = 8
"""Most that a sample may be beside what was drawn, if it was multiplied and rounded to 8 bits before."""


def test_alpha_is_kept_and_colours_are_divided_by_it_in_every_layout(tmp_path: Path) -> None:
    cases = list(alpha_tiffs.written(tmp_path))
    colours = shown(tmp_path / alpha_tiffs.OPAQUE)
    for case in cases:
        found = shown(case.path).astype(int)
        expected = np.concatenate([colours, case.pixels], axis=2) if case.inks else case.pixels
        assert found.shape == expected.shape, case.path.name
        near = COARSE if "uint8" in case.path.name else alpha_tiffs.NEAR
        assert np.abs(found - expected).max() <= near, case.path.name


@pytest.mark.parametrize("meaning", [1, 2])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_cielab_with_transparency_is_refused_by_name(dtype: str, meaning: int, tmp_path: Path) -> None:
    lab = np.full((64, 64, 4), 100, np.uint8).astype(dtype)
    path = tiffs.write(tmp_path / "lab.tif", lab, photometric=8, extra=[meaning])
    with pytest.raises(StageError) as caught:
        reader_of(path).open()
    assert (caught.value.code, "CIELAB with transparency" in caught.value.message) == ("unsupported_format", True)


def test_cielab_with_another_band_is_shown_without_it(tmp_path: Path) -> None:
    lab = np.full((64, 64, 4), 100, np.uint16)
    tiffs.write(tmp_path / "four.tif", lab, photometric=8, extra=[0])
    tiffs.write(tmp_path / "three.tif", lab[..., :3], photometric=8)
    assert np.array_equal(shown(tmp_path / "four.tif"), shown(tmp_path / "three.tif"))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("meaning", [1, 2])
def test_no_data_is_an_index_of_the_palette_whatever_the_alpha(bits: int, meaning: int, tmp_path: Path) -> None:
    # Given indices 3 and 6, which half of the alpha would divide 3 to
    indices = np.full((32, 32), 3, np.uint8)
    indices[:, 16:] = 6
    most = (1 << bits) - 1
    stored = np.stack([indices, np.full_like(indices, most // 2 + 1)], axis=2)
    palette = [257 * level for level in range(1 << bits)] * 3
    options: dict[str, Any] = {"photometric": tiffs.PALETTE, "palette": palette, "bits": bits % 8}
    path = tiffs.write(tmp_path / "p.tif", stored, extra=[meaning], more={42113: ("B", b"3\0")}, **options)
    path.write_bytes(path.read_bytes().replace(struct.pack("<HHI", 42113, 1, 2), struct.pack("<HHI", 42113, 2, 2)))
    alpha = shown(path)[..., 3]
    assert set(alpha[:, :16].ravel()) == {0}
    assert set(alpha[:, 16:].ravel()) == {(most // 2 + 1) * 255 // most}


@pytest.mark.parametrize("extra", [(0, 1), (1, 0), (2, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_planes_of_grey_and_two_more_are_divided_as_samples_that_lie_together(
    dtype: str, extra: tuple[int, int], tmp_path: Path
) -> None:
    stored = (pictures.scene(64, 64) // 2 + 60).astype(dtype) * (1 if dtype == "uint8" else 128)
    options: dict[str, Any] = {"photometric": tiffs.BLACK_IS_ZERO, "extra": extra, "rows": 24}
    lzw: dict[str, Any] = {"compression": 5, "encode": imagecodecs.lzw_encode}
    together = shown(tiffs.write(tmp_path / "together.tif", stored, **options))
    apart = shown(tiffs.write(tmp_path / "apart.tif", stored, planar=True, **options, **lzw))
    assert np.abs(together.astype(int) - apart).max() <= 1
