"""What a file asks for by what its header lists, and what it may cost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats import budget, frames
from pipeline.formats.budget import Work
from pipeline.formats.header import Header
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed, Found
from pipeline.pyramids import Format
from tests.support.images import animations, costly, heics, pictures, tiffs
from tiler.decode import open_picture, reader_of
from tiler.progress import Meter

GIGAPIXEL = 1 << 30

PIXELS_PER_BYTE = 5000


def work(kind: str, width: int, height: int, data: bytes = b"", page: int = 0, tile_size: int = 256) -> Work:
    return budget.work_of(Header(kind, width, height, 1), io.BytesIO(data), page, tile_size=tile_size)


def test_a_picture_asks_for_its_pixels_and_a_thin_one_for_its_tiles() -> None:
    assert work("png", 30_000, 20_000) == Work(600_000_000)
    # 10,000 on the finest level, half as many on the next, and so on
    assert 20_000 < work("png", 1, 2_560_000).pixels // budget.TILE_PIXELS < 20_050
    # And small tiles do not make an honest picture a costly one
    assert work("png", 43_200, 21_600, tile_size=64).pixels < 43_200 * 21_600 * 1.1


@pytest.mark.parametrize("disposal", [0, 2, 3])
def test_a_page_of_a_gif_asks_for_the_frames_before_it_and_no_others(disposal: int) -> None:
    data = animations.gif(8000, 4000, 50, disposal=disposal)
    assert len(list(frames.of_gif(io.BytesIO(data)))) == 50
    assert work("gif", 8000, 4000, data) == Work(32_000_000)
    assert work("gif", 8000, 4000, data, page=10) == Work(32_000_000, 10 * (4_000_000 + 1), 10)


def test_a_page_of_a_webp_asks_for_the_frames_before_it_and_no_others() -> None:
    data = animations.webp(600, 400, 20)
    assert list(frames.of_webp(io.BytesIO(data))) == [frames.Frame(0, 0, 600, 400)] * 20
    assert pyvips.Image.new_from_buffer(data, "", page=19).get("n-pages") == 20
    assert work("webp", 600, 400, data)[1:] == (0, 0)
    assert work("webp", 600, 400, data, page=19)[1:] == (19 * 240_000, 19)
    # And of one that is no animation there are none
    assert list(frames.of_webp(io.BytesIO(pyvips.Image.black(9, 9).webpsave_buffer()))) == []


@pytest.mark.parametrize(
    ("header", "asked", "source_bytes"),
    [
        (Header("png", 32_768, 32_768, 1), Work(GIGAPIXEL), 130_000),  # a plain gigapixel
        (Header("png", 43_200, 21_600, 1), Work(933_120_000), 1_800_000),  # a map of all land
        (Header("png", 60_000, 60_000, 1), Work(3_600_000_000), 2_000_000),  # a drawing
        (Header("png", 1, 1_000_000, 1), Work(7827 * budget.TILE_PIXELS), 2000),
        (Header("gif", 1920, 1080, 3000), Work(2_073_600, 2999 * (2_073_600 // 8 + 500), 2999), 2_000_000),
        (Header("webp", 1920, 1080, 900), Work(2_073_600, 899 * 2_073_600, 899), 30_000_000),
        (Header("gif", 10_000, 10_000, 9), Work(10**8, 10**12, 9), None),  # of a length that is not known yet
    ],
)
def test_honest_files_are_affordable(header: Header, asked: Work, source_bytes: int | None) -> None:
    budget.require_affordable(header, asked, source_bytes, PIXELS_PER_BYTE)


@pytest.mark.parametrize(
    ("header", "asked", "said"),
    [
        (Header("gif", 10_000, 10_000, 700), Work(10**8, 699 * 12_500_000, 699), "699 frames before the page"),
        (Header("webp", 16_383, 16_383, 100), Work(268_402_689, 99 * 268_402_689, 99), "99 frames before the page"),
        (
            Header("png", 1, 10_000_000, 1),
            Work(78_142 * budget.TILE_PIXELS),
            "decoding 1 x 10,000,000 pixels and cutting",
        ),
    ],
)
def test_a_small_file_that_asks_for_much_is_refused_by_what_it_asks_for(header: Header, asked: Work, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        budget.require_affordable(header, asked, 18_000, PIXELS_PER_BYTE)
    assert (caught.value.code, caught.value.retryable) == ("decoder_too_slow", False)
    assert "TILEWRIGHT_MAX_PIXELS_PER_BYTE" in caught.value.message


def test_what_may_be_worked_follows_what_is_asked_for_and_what_there_is() -> None:
    assert {budget.seconds(100, 1000, tiles) for tiles in Format} == {budget.FREE_SECONDS}
    # A hundred megapixels: of one colour in 18 kB, of a photograph, of noise
    asked = [budget.seconds(10**8, size, Format.WEBP) for size in (18_000, 5_000_000, 300_000_000)]
    assert asked == [15 + 5, 15 + 5 + 250 - 55, 15 + 200]
    assert budget.header_seconds(1_000_000) == budget.FREE_SECONDS + 50


def test_no_small_file_has_more_than_about_a_minute_and_one_of_one_colour_has_twice_its_time() -> None:
    # Given the most pixels that any file may have, and as many bytes as they take where they are of one colour
    allowed = {tiles: budget.seconds(GIGAPIXEL, 130_000, tiles) for tiles in Format}
    # Then a minute has to do for whatever they are, and plain ones have twice what was measured: 7, 12, 30 ns a pixel
    assert max(allowed.values()) <= 75
    for tiles, measured in ((Format.JPEG, 7e-9), (Format.PNG, 12e-9), (Format.WEBP, 30e-9)):
        assert allowed[tiles] >= 2 * GIGAPIXEL * measured, tiles
    # And more is not taken of so few bytes
    with pytest.raises(StageError):
        budget.require_affordable(Header("png", 1, 1, 1), Work(GIGAPIXEL + 1), 130_000, PIXELS_PER_BYTE)


def test_a_pixel_of_many_bytes_is_more_work(tmp_path: Path) -> None:
    assert [
        budget.work_of(Header("tiff", 5000, 4000, 1), None, 0, pixel_bytes=each).picture for each in (0, 3, 8, 12, 64)
    ] == [20_000_000, 20_000_000, 20_000_000, 30_000_000, 160_000_000]
    # Given a TIFF of 64 bands in a few kilobytes, which unpacks to 64 GB
    path = tmp_path / "bands.tif"
    path.write_bytes(costly.many_bands(32_768, 64))
    asked = reader_of(path).work(256)
    assert asked == Work(8 * GIGAPIXEL)
    # Then it is refused, before the download, too
    with pytest.raises(StageError, match="decoding 32,768 x 32,768 pixels"):
        budget.require_affordable(reader_of(path).header(), asked, path.stat().st_size, PIXELS_PER_BYTE)
    data = path.read_bytes()
    found = probe_child.find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), 0)
    assert isinstance(found, Found)
    assert found.work == asked.picture
    # And an honest spectrum is not
    pyvips.Image.black(300, 200, bands=200).tiffsave(str(tmp_path / "spectrum.tif"), compression="deflate")
    spectrum = reader_of(tmp_path / "spectrum.tif")
    budget.require_affordable(spectrum.header(), spectrum.work(256), spectrum.path.stat().st_size, PIXELS_PER_BYTE)


def test_a_tiff_that_lists_its_bytes_again_and_again_is_refused(tmp_path: Path) -> None:
    # Given a TIFF of many tiles, of which all lie at the same place
    path = tmp_path / "shared.tif"
    tiffs.sharing(path, across=17, noise=512)
    with pytest.raises(StageError, match="again and again") as caught:
        reader_of(path).work(256)
    assert caught.value.code == "decoder_too_slow"
    # And one that shares little is not
    few = tiffs.sharing(tmp_path / "few.tif", across=3, noise=512)
    assert few.stat().st_size < path.stat().st_size
    assert reader_of(few).work(256).pixels >= (3 * 512) ** 2


def test_every_honest_format_is_affordable_as_it_is_made(tmp_path: Path) -> None:
    scene = pictures.scene(700, 500)
    for name in ("a.jpg", "a.png", "a.gif", "a.webp", "a.avif", "a.tif"):
        source = reader_of(pictures.save(scene, tmp_path / name))
        asked = source.work(256)
        assert asked.before == 0, name
        budget.require_affordable(source.header(), asked, source.path.stat().st_size, PIXELS_PER_BYTE)


def test_a_heif_asks_for_all_that_it_is_put_together_from(tmp_path: Path) -> None:
    heics.grid(tmp_path / "grid.heic", 200, 100)
    assert reader_of(tmp_path / "grid.heic").work(256)[1:] == (8 * 64 * 64 - 200 * 100, 8)
    plain = pictures.save(pictures.scene(300, 200, bands=4), tmp_path / "alpha.avif")
    assert reader_of(plain).work(256)[1:] == (300 * 200, 2)
    # And one that shows next to nothing of it is refused
    hoard = tmp_path / "hoard.avif"
    heics.hoarding_avif(hoard, 8192, 20)
    asked = reader_of(hoard).work(256)
    assert asked[1:] == (20 * 8192**2 - 64 * 64, 20)
    with pytest.raises(StageError, match="the 20 pictures that its 64 x 64 pixels are assembled from"):
        budget.require_affordable(reader_of(hoard).header(), asked, hoard.stat().st_size, PIXELS_PER_BYTE)


def test_a_webp_of_tens_of_thousands_of_frames_is_not_even_opened(tmp_path: Path) -> None:
    # Given as many frames as are listed, and one more
    path = tmp_path / "most.webp"
    path.write_bytes(animations.webp(2, 2, budget.MOST_FRAMES))
    assert reader_of(path).header().pages == budget.MOST_FRAMES
    more = animations.webp(2, 2, budget.MOST_FRAMES + 1)
    (tmp_path / "more.webp").write_bytes(more)
    with pytest.raises(StageError, match="more than 10,000 frames") as caught:
        reader_of(tmp_path / "more.webp").header()
    assert caught.value.code == "decoder_too_slow"
    # And a look before the download says the same
    said = probe_child.find_header(pyvips, Blocks(lambda at, size: more[at : at + size], len(more)), 0)
    assert said == Failed(caught.value.code, caught.value.message)


def test_a_small_file_is_not_spooled_to_gigabytes_in_order_to_be_turned(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    path.write_bytes(costly.turned(32_768))
    with pytest.raises(StageError, match=r"upright needs 4\.3 GB of disk, but its file has") as caught:
        open_picture(reader_of(path), meter=Meter(lambda *_: None))
    assert caught.value.code == "image_too_large"
    # And an honest one is: a plain scan of a gigapixel, a photograph of two
    budget.require_small_spool(GIGAPIXEL, 130_000)
    budget.require_small_spool(3 * 2 * GIGAPIXEL, 200_000_000)
