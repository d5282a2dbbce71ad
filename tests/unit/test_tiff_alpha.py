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


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "f4"])
@pytest.mark.parametrize("planar", [False, True])
def test_no_data_is_a_stored_sample_and_not_one_divided_by_alpha(kind: str, planar: bool, tmp_path: Path) -> None:
    # Given colours beside half of the alpha: some are no data (50), and some are 50 only after they are divided
    most = 1.0 if kind == "f4" else float(np.iinfo(kind).max)
    stored = np.full((32, 32, 4), [40, 41, 42, most / 2]).astype(kind)
    stored[:8, :, :3] = 50
    stored[8:16, :, :3] = 25
    options: dict[str, Any] = {"planar": planar, "extra": [1], "more": {42113: ("B", b"50\0")}}
    if planar:
        options |= {"tile": 16}
    reader = reader_of(tiffs.write(tmp_path / "a.tif", stored, **options))
    reader.open()
    assert reader.hidden is not None
    hidden = reader.hidden.numpy()
    assert (hidden[:8].min(), hidden[8:].max()) == (255, 0)


@pytest.mark.parametrize("kind", ["i2", "u4", "i4", "f4"])
def test_colours_are_divided_by_the_smallest_alpha_too(kind: str, tmp_path: Path) -> None:
    most = 1.0 if kind == "f4" else float(np.iinfo(kind).max)
    alpha = np.array([0, 0.004, 0.009, 0.5, 1]) * most
    colours = np.stack([alpha * share for share in (0.25, 0.5, 1)], axis=1)
    stored = np.concatenate([colours, alpha[:, None]], axis=1)[None].astype(kind)
    found = reader_of(tiffs.write(tmp_path / "a.tif", stored, extra=[1])).open().numpy().astype(float)
    expected = np.array([[0.0] * 3] + [[0.25, 0.5, 1]] * 4) * most
    assert np.abs(found[0, :, :3] - expected).max() <= most * 0.01
    assert np.array_equal(found[0, :, 3], stored[0, :, 3].astype(float))
