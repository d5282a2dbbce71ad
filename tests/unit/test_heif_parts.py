"""What a HEIF or AVIF is put together from: all of it is there and sound, or the file is no picture, by its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipeline.errors import StageError
from pipeline.formats.endings import ends_early
from tests.support.images import heifs, pictures
from tests.support.images.heifs import EDGE, Item
from tiler.decode import reader_of
from tiler.decode.readers.heif.items import Items
from tiler.decode.readers.heif.pages import pages_of
from tiler.failures import decoding_error

BRANDS = list(heifs.CODECS)

FOREIGN = [b"jpeg", b"unci", b"j2k1", b"mski", b"avc1", b"vvc1", b"grid", b"iden", b"iovl", b"mime", b"Exif"]
"""Kinds of an item that no tile of a grid is taken for."""


Outcome = Callable[..., tuple[str, str] | pictures.Pixels]


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    """Pixels, or the code and the sentence that are said instead."""

    def show(data: bytes, page: int = 0) -> tuple[str, str] | pictures.Pixels:
        path = tmp_path / "source"
        path.write_bytes(data)
        try:
            pixels: pictures.Pixels = reader_of(path, page).open().numpy()
        except (StageError, pyvips.Error) as error:
            said = decoding_error(error, path, page)
            return said.code, said.message
        return pixels[..., :3]

    return show


@pytest.mark.parametrize("brand", BRANDS)
def test_a_whole_one_is_what_it_was_made_of(brand: str, outcome: Outcome) -> None:
    data = heifs.file_of(heifs.grid(brand), brand)
    assert np.array_equal(outcome(data), heifs.grid_pixels())
    # And so is one with something else behind it
    for junk in (b"\0" * 5, b"<!-- some server's words -->", b"abc"):
        assert np.array_equal(outcome(data + junk), heifs.grid_pixels()), junk


@pytest.mark.parametrize(("brand", "part"), [*product(BRANDS, [0.99, 0.9, 0.7, 0.5, 0.35, 0.1])])
def test_one_that_is_cut_short_is_told_so(brand: str, part: float, outcome: Outcome) -> None:
    # Given its description first, the grid's own data and then the tiles', as all programs write it
    data = heifs.file_of(heifs.grid(brand), brand)
    found = outcome(data[: int(len(data) * part)])
    assert isinstance(found, tuple)
    assert found[0] == "image_truncated"


@pytest.mark.parametrize("brand", BRANDS)
def test_one_that_lost_its_end_under_another_box_is_told_so(brand: str, outcome: Outcome) -> None:
    # Given a file whose last box claims no more than is there
    data = heifs.file_of(heifs.grid(brand), brand)
    at, cut = data.index(b"mdat") - 4, len(data) * 3 // 4
    data = data[:at] + (cut - at).to_bytes(4, "big") + data[at + 4 : cut]
    assert not ends_early("heif", BytesIO(data), len(data))
    found = outcome(data)
    assert isinstance(found, tuple)
    assert found[0] == "image_truncated"


@pytest.mark.parametrize("length", [1, 8, 200])
def test_noise_in_any_tile_of_an_avif_is_found(length: int, outcome: Outcome) -> None:
    items = heifs.grid("avif")
    for number in range(1, 5):
        changed = [*items[:number], heifs.noisy(items[number], length=length), *items[number + 1 :]]
        found = outcome(heifs.file_of(changed, "avif"))
        assert isinstance(found, tuple)
        assert found[0] == "image_corrupt"


@pytest.mark.parametrize("options", [{"quality": 50}, {"quality": 90}, {"quality": 70, "tile_rows": 1, "tile_cols": 1}])
def test_damage_in_a_plain_avif_is_found_wherever_it_is(options: dict[str, int], outcome: Outcome) -> None:
    saved = BytesIO()
    Image.fromarray(pictures.scene(300, 200)).save(saved, "AVIF", autotiling=False, **options)
    data = saved.getvalue()
    assert not isinstance(outcome(data), tuple)
    first = data.index(b"mdat") + 4 + 40
    for at in range(first, len(data) - 8, (len(data) - first) // 40):
        changed = bytearray(data)
        changed[at] ^= 0x10
        found = outcome(bytes(changed))
        assert isinstance(found, tuple), at
        assert found[0] == "image_corrupt"


@pytest.mark.parametrize(("brand", "kind"), [*product(BRANDS, FOREIGN), ("heic", b"av01"), ("avif", b"hvc1")])
def test_a_tile_of_a_kind_that_is_not_judged_is_named(brand: str, kind: bytes, outcome: Outcome) -> None:
    data = heifs.file_of(heifs.grid(brand, lambda tile: replace(tile, kind=kind)), brand)
    found = outcome(data)
    assert isinstance(found, tuple)
    assert found[0] == "unsupported_format"
    assert kind.decode() in found[1] or "both HEVC and AV1" in found[1]


def _without_configuration(tile: Item) -> Item:
    return replace(tile, properties=[found for found in tile.properties if found[4:8] not in {b"hvcC", b"av1C"}])


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize(
    "change",
    [
        lambda tile: replace(tile, data=b""),
        lambda tile: replace(tile, data=tile.data[: len(tile.data) // 2]),
        lambda tile: replace(tile, number=99),
        lambda tile: heifs.resized(tile, EDGE + 1, EDGE),
        lambda tile: heifs.resized(tile, EDGE // 2, EDGE),
        _without_configuration,
        lambda tile: replace(tile, properties=[heifs.size(EDGE * 2, EDGE), *tile.properties]),
    ],
    ids=[
        "empty",
        "half",
        "elsewhere",
        "said to be wider",
        "said to be narrower",
        "without configuration",
        "of two sizes",
    ],
)
def test_a_tile_that_libheif_would_leave_out_is_damage(
    brand: str, change: Callable[[Item], Item], outcome: Outcome
) -> None:
    items = heifs.grid(brand, change)
    top = replace(items[0], parts=[2, 3, 4, 5])
    found = outcome(heifs.file_of([top, *items[1:]], brand))
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"


@pytest.mark.parametrize("brand", BRANDS)
def test_a_tile_that_is_coded_smaller_than_it_says_is_damage(brand: str, outcome: Outcome) -> None:
    # Given tiles that are all said to have 128 pixels to an edge, of which the second has 64
    scene = pictures.scene(256, 128)
    tiles = [heifs.coded(2, scene[:, :128], brand), heifs.coded(3, scene[:64, 128:192], brand)]
    tiles[1] = heifs.resized(tiles[1], 128, 128)
    top = Item(1, b"grid", heifs.layout(2, 1, 256, 128), [heifs.size(256, 128)], [2, 3])
    found = outcome(heifs.file_of([top, *tiles], brand))
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"
    assert "64 x 64" in found[1]


@pytest.mark.parametrize("brand", BRANDS)
def test_a_tile_that_keeps_its_colours_otherwise_is_damage(brand: str, outcome: Outcome) -> None:
    other = heifs.coded(3, pictures.scene(EDGE, EDGE), brand, coarse=True)
    found = outcome(heifs.file_of(heifs.grid(brand, lambda _: other), brand))
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"
    assert "colours in different ways" in found[1]


@pytest.mark.parametrize("brand", BRANDS)
def test_a_tile_that_is_turned_is_not_read(brand: str, outcome: Outcome) -> None:
    items = heifs.grid(brand, lambda tile: replace(tile, properties=[*tile.properties, heifs.turn(1)]))
    found = outcome(heifs.file_of(items, brand))
    assert isinstance(found, tuple)
    assert found[0] == "unsupported_format"


@pytest.mark.parametrize("brand", BRANDS)
def test_each_page_is_judged_by_the_item_that_is_shown(brand: str, outcome: Outcome) -> None:
    # Given tiles that are pages of their own, a thumbnail, which is none, and one damaged picture, which is page 5
    scenes = [pictures.scene(EDGE, EDGE, seed=seed) for seed in range(20)]
    items = [replace(item, hidden=False) for item in heifs.grid(brand)]
    more = [heifs.coded(number, scenes[number], brand, hidden=False) for number in (10, 11, 12, 13)]
    more[0] = heifs.noisy(more[0])
    more[1] = replace(more[1], references={b"thmb": [1]})
    data = heifs.file_of([*items, *more], brand)
    assert np.array_equal(outcome(data), heifs.grid_pixels())
    tiles = [heifs.grid_pixels()[y : y + EDGE, x : x + EDGE] for y, x in heifs.CORNERS]
    for page, pixels in enumerate([*tiles, None, scenes[12], scenes[13]], 1):
        found = outcome(data, page)
        if pixels is None:
            assert isinstance(found, tuple)
            assert found[0] == "image_corrupt"
        else:
            assert np.array_equal(found, pixels), page
    missing = outcome(data, 8)
    assert isinstance(missing, tuple)
    assert missing[0] == "page_not_found"


def test_pages_that_its_decoders_count_differently_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [heifs.coded(number, pictures.scene(EDGE, EDGE), "avif", hidden=False) for number in (1, 2)]
    path = tmp_path / "two.avif"
    path.write_bytes(heifs.file_of(items, "avif"))
    assert pages_of(path) == [1, 2]
    monkeypatch.setattr("tiler.decode.readers.heif.pages.pages_of", lambda _: [1, 2, 3])
    with pytest.raises(StageError) as caught:
        reader_of(path, 1).open()
    assert caught.value.code == "unsupported_format"
    # And the first is what it is
    assert reader_of(path, 0).open().width == EDGE


@pytest.mark.parametrize("brand", BRANDS)
def test_transparency_is_held_to_the_same(brand: str, outcome: Outcome) -> None:
    scene = pictures.scene(EDGE, EDGE)
    shown, alpha = heifs.coded(1, scene, brand, hidden=False), heifs.coded(2, scene, brand)
    whole = heifs.transparency(alpha, 1)
    assert np.array_equal(outcome(heifs.file_of([shown, whole], brand)), scene)
    for changed, code in [
        (heifs.noisy(whole), "image_corrupt"),
        (replace(whole, kind=b"unci"), "unsupported_format"),
        (heifs.resized(whole, EDGE * 2, EDGE), "image_corrupt"),
    ]:
        found = outcome(heifs.file_of([shown, changed], brand))
        assert isinstance(found, tuple)
        assert found[0] == code


def _twice(data: bytes, kind: bytes) -> bytes:
    """With a box of its meta box written twice."""
    at = data.index(kind) - 4
    length = int.from_bytes(data[at : at + 4], "big")
    start = data.index(b"meta") - 4
    whole = int.from_bytes(data[start : start + 4], "big") + length
    return data[:start] + whole.to_bytes(4, "big") + data[start + 4 : at] + data[at : at + length] + data[at:]


@pytest.mark.parametrize(("brand", "kind"), [*product(BRANDS, [b"pitm", b"iloc", b"iinf", b"iref", b"iprp"])])
def test_what_is_said_twice_is_damage(brand: str, kind: bytes, outcome: Outcome) -> None:
    found = outcome(_twice(heifs.file_of(heifs.grid(brand), brand), kind))
    assert isinstance(found, tuple)
    assert found[0] in {"image_corrupt", "image_truncated"}


def test_the_items_decide_and_not_the_brand(outcome: Outcome) -> None:
    data = heifs.file_of(heifs.grid("avif"), "avif").replace(b"ftypavif", b"ftypmif1")
    assert np.array_equal(outcome(data), heifs.grid_pixels())


@pytest.mark.parametrize(("times", "is_refused"), [(1, False), (8, False), (9, True)])
def test_turns_are_work_and_too_many_are_refused(times: int, is_refused: bool, tmp_path: Path) -> None:
    path = tmp_path / "turned.avif"
    path.write_bytes(heifs.turned(1024, times))
    if is_refused:
        with pytest.raises(StageError, match="turns, mirrors or crops a picture 9 times") as caught:
            reader_of(path).work(256)
        assert caught.value.code == "decoder_too_slow"
    else:
        assert reader_of(path).work(256).before == times * 1024**2


def test_pictures_that_are_made_on_the_way_are_work(tmp_path: Path) -> None:
    # Given a picture that ten others are laid over one by one, each as large
    picture = heifs.coded(1, pictures.scene(EDGE, EDGE), "avif")
    overlay = bytes(10) + EDGE.to_bytes(2, "big") * 2 + bytes(4)
    chain = [Item(n, b"iovl", overlay, [heifs.size(EDGE, EDGE)], [n - 1], hidden=n < 11) for n in range(2, 12)]
    path = tmp_path / "chain.avif"
    path.write_bytes(heifs.file_of([picture, *chain], "avif", primary=11))
    with path.open("rb") as file:
        assert sum(Items(file).passes(0)) == 9 * EDGE**2
    assert reader_of(path).work(256).before == 9 * EDGE**2


@pytest.mark.parametrize(("brand", "kind"), [*product(BRANDS, [b"iloc", b"iinf", b"iref", b"iprp", b"ipma"])])
def test_an_empty_box_is_damage(brand: str, kind: bytes, outcome: Outcome) -> None:
    # Given a file, one of whose boxes has nothing in it, and another one as long as the rest of it behind it
    data = heifs.file_of(heifs.grid(brand), brand)
    at = data.index(kind) - 4
    length = int.from_bytes(data[at : at + 4], "big")
    empty = (8).to_bytes(4, "big") + kind + (length - 8).to_bytes(4, "big") + b"free" + bytes(length - 16)
    found = outcome(data[:at] + empty[:length] + data[at + length :])
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"


@pytest.mark.parametrize("more", [b"\xff" * 3, b"no picture"])
@pytest.mark.parametrize("brand", BRANDS)
def test_what_is_behind_a_tiles_picture_has_to_be_sound(brand: str, more: bytes, outcome: Outcome) -> None:
    found = outcome(heifs.file_of(heifs.grid(brand, lambda tile: replace(tile, data=tile.data + more)), brand))
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"


@pytest.mark.parametrize("brand", BRANDS)
def test_a_tile_with_a_property_that_is_not_there_is_damage(brand: str, outcome: Outcome) -> None:
    # Given a tile that is said to have a property beyond the last
    data = bytearray(heifs.file_of(heifs.grid(brand), brand))
    at = data.index(b"mdat") - 5
    data[at] = 82
    found = outcome(bytes(data))
    assert isinstance(found, tuple)
    assert found[0] == "image_corrupt"


@pytest.mark.parametrize("brand", BRANDS)
def test_transparency_that_a_changed_bit_takes_away_is_damage(brand: str, outcome: Outcome) -> None:
    for name, data in heifs.without_alpha(brand).items():
        found = outcome(data)
        assert isinstance(found, tuple), name
        assert found[0] == "image_corrupt", (name, found)


@pytest.mark.parametrize("brand", BRANDS)
def test_hidden_pictures_that_belong_to_another_do_no_harm(brand: str, outcome: Outcome) -> None:
    for name, data in heifs.sound(brand).items():
        assert np.array_equal(outcome(data), heifs.grid_pixels()), (name, outcome(data))
