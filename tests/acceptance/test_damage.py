"""Nothing is ever ready with pixels that were not decoded: from the POST to the tile, whatever is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.formats.tiff import codecs
from tests.acceptance.conftest import Command
from tests.acceptance.jobs import as_png, finish, ready, submit
from tests.support.images import (
    alpha_tiffs,
    changed_tiffs,
    damaged_tiffs,
    heifs,
    hostile,
    makers,
    odd_tiffs,
    planar_tiffs,
    raws,
    remarked_tiffs,
    webps,
    ycbcr_tiffs,
)
from tests.support.images.pictures import Pixels, scene
from tests.support.network.sources import SourceServer
from tilewright.client import Client
from tilewright.embedded import LaunchedStack

JPEG = 7
LOSS = 3
"""Most that two decoders of JPEG may differ in the mean."""

NEAR = 8
"""Most that a sample may differ where colours were shared or coded by JPEG."""


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
def test_a_damaged_tiff_ends_as_a_code_or_as_what_another_reader_sees(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path, tiled: bool
) -> None:
    # Given TIFFs of every compression that is read; of each the whole file, and two in which a strip or tile is damaged
    ways = cycle(product((*damaged_tiffs.DAMAGES, *damaged_tiffs.LENGTHS), damaged_tiffs.PLACES))
    paths = {}
    for compression, make in damaged_tiffs.READ.items():
        whole = tmp_path / f"{compression}.tif"
        make(whole, tiled)
        paths[whole] = compression
        for damage, place in (next(ways), [next(ways) for _ in range(5)][-1]):
            path = tmp_path / f"{compression}-{damage}-{place}.tif"
            path.write_bytes(whole.read_bytes())
            damaged_tiffs.damaged(path, damage, place)
            paths[path] = compression
    # When they are all submitted
    ids = {path: as_png(client, files.url(f"/{path.name}")) for path in paths}
    # Then each ends with the pixels that are there to others, too, or says what is wrong
    codes = []
    for path, dataset_id in ids.items():
        last = finish(client, dataset_id)
        if last["status"] == "failed":
            assert "-" in path.stem, (path.name, last["error"])
            assert last["error"]["code"] in {"image_corrupt", "image_truncated"}, (path.name, last["error"])
            codes.append(last["error"]["code"])
        else:
            expected = damaged_tiffs.another_reader(path)
            assert expected is not None, path.name
            found = shown(last["tile_info"]["tile_id"])
            difference = np.abs(found.astype(int) - expected).mean()
            assert difference <= (LOSS if paths[path] == JPEG else 0), (path.name, difference)
    assert len(codes) > len(damaged_tiffs.READ)


def test_a_compression_that_is_not_read_is_named(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given TIFFs of every other compression that anybody writes, in strips or in tiles, and of one that nobody does
    ids = {}
    for number, (compression, name) in enumerate((codecs.LACKING | {777: "an unknown method"}).items()):
        path = damaged_tiffs.unread(tmp_path / f"{compression}.tif", compression, tiled=number % 2 == 1)
        ids[compression] = submit(client, files.url(f"/{path.name}")), name
    # Then each ends by its code, and says by its name why
    for compression, (dataset_id, name) in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "failed", compression
        assert last["error"]["code"] == "unsupported_format", (compression, last["error"])
        assert name in last["error"]["message"]


def test_a_directory_that_lies_about_its_pixels_is_damaged(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given JPEG tiles that are smaller than they should be, planes without bytes, strips where the head is, odd types,
    # and one changed bit in a tag's number or in a size
    paths = [*damaged_tiffs.unsound(tmp_path), *changed_tiffs.changed(tmp_path)]
    ids = {path: submit(client, files.url(f"/{path.name}")) for path in paths}
    for path, dataset_id in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "failed", path.name
        assert last["error"]["code"] == "image_corrupt", (path.name, last["error"])


def test_entries_of_more_bytes_than_any_file_has_end_at_the_first_try(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    ids = {path: submit(client, files.url(f"/{path.name}")) for path in damaged_tiffs.overlong(tmp_path)}
    for path, dataset_id in ids.items():
        last = finish(client, dataset_id)
        if last["status"] == "failed":
            codes = {"image_corrupt", "image_truncated", "unsupported_format"}
            assert last["error"]["code"] in codes, (path.name, last["error"])
            assert last["error"]["retryable"] is False, path.name


def test_colours_that_are_not_shown_are_named(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given TIFFs of masks, mosaics, odd inks, wide palettes and other codings of CIELAB
    ids = {}
    for path, name in odd_tiffs.unshown(tmp_path):
        ids[submit(client, files.url(f"/{path.name}"))] = path.name, name
    for dataset_id, (path_name, name) in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "failed", path_name
        assert last["error"]["code"] == "unsupported_format", (path_name, last["error"])
        assert name in last["error"]["message"]


def test_planes_that_lie_apart_and_remarked_directories_are_shown_as_others_read_them(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given sound files that libvips mixes up, or does not read, or on whose directories libtiff remarks
    expected = {
        tmp_path / case.name: (planar_tiffs.write(tmp_path / case.name, case), case.compression == "jpeg")
        for case in islice(planar_tiffs.cases(), 1, None, 9)
    }
    for tiled in (False, True):
        path = tmp_path / f"single-{tiled}.tif"
        expected[path] = planar_tiffs.single(path, compression="lzw", tiled=tiled), False
    four = tmp_path / "four.tif"
    expected[four] = planar_tiffs.four_in_jpeg_tiles(four, photometric=2), True
    expected |= {path: (pixels, False) for path, pixels in remarked_tiffs.files(tmp_path)}
    expected |= {path: (pixels, False) for path, pixels in changed_tiffs.sound(tmp_path)}
    expected |= {path: (pixels, False) for path, pixels in islice(planar_tiffs.premultiplied(tmp_path), 0, None, 5)}
    # When they are posted, then their tiles are what other readers see
    ids = {path: as_png(client, files.url(f"/{path.name}")) for path in expected}
    for path, (pixels, is_lossy) in expected.items():
        last = finish(client, ids[path])
        assert last["status"] == "ready", (path.name, last["error"])
        found = shown(last["tile_info"]["tile_id"], (max(pixels.shape[:2]) - 1).bit_length())
        assert found.shape[2] >= pixels.shape[2], path.name
        difference = np.abs(found[..., : pixels.shape[2]].astype(int) - pixels).max()
        assert difference <= (planar_tiffs.LOSS if is_lossy else 1), (path.name, difference)


def test_alpha_of_more_bits_is_kept_and_colours_are_divided_by_it(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given CMYK, grey and RGB with an alpha of every type, straight or multiplied into the colours, in every layout
    cases = [case for case in alpha_tiffs.written(tmp_path) if "uint8" not in case.path.name]
    ids = {path: as_png(client, files.url(f"/{path.name}")) for path in (case.path for case in cases)}
    opaque = as_png(client, files.url(f"/{alpha_tiffs.OPAQUE}"))
    # Then the colours are those that were drawn, and the alpha has the upper bits of the file's
    colours = shown(ready(client, opaque)["tile_id"], 7)
    for case in cases:
        found = shown(ready(client, ids[case.path])["tile_id"], 7).astype(int)
        expected = np.concatenate([colours, case.pixels], axis=2) if case.inks else case.pixels
        assert found.shape == expected.shape, case.path.name
        assert np.abs(found - expected).max() <= alpha_tiffs.NEAR, case.path.name


def test_white_is_zero_in_floats_and_signed_numbers_too(
    client: Client, files: SourceServer, shown: Callable[[str], Pixels], tmp_path: Path
) -> None:
    # Given greys whose least sample is white
    expected = {
        dtype: makers.numbers(tmp_path / f"{np.dtype(dtype).name}.tif", 256, 256, dtype=dtype, scale=0.5, reverse=True)
        for dtype in (np.float32, np.int16, np.int8, np.uint32)
    }
    ids = {dtype: as_png(client, files.url(f"/{np.dtype(dtype).name}.tif")) for dtype in expected}
    for dtype, dataset_id in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "ready", last["error"]
        found = shown(last["tile_info"]["tile_id"])
        assert np.abs(found.astype(int) - expected[dtype]).max() <= 1


def test_a_palette_that_is_cut_off_is_no_grey_picture(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given palettes at the end of their files, as Pillow writes them, of which some bytes are missing
    ids = {}
    for compression in ("tiff_lzw", "packbits"):
        path = tmp_path / f"{compression}.tif"
        Image.fromarray(scene(300, 200)).quantize(200).save(path, compression=compression)
        whole = path.read_bytes()
        for cut in (1, 700, 1500):
            (tmp_path / f"{compression}-{cut}.tif").write_bytes(whole[:-cut])
            ids[compression, cut] = submit(client, files.url(f"/{compression}-{cut}.tif"))
    for case, dataset_id in ids.items():
        last = finish(client, dataset_id)
        assert (last["status"], last["error"]["code"]) == ("failed", "image_truncated"), case


@pytest.mark.parametrize("cut", [0, 2, 4])
def test_a_directory_that_breaks_off_hides_nothing(
    client: Client, files: SourceServer, tmp_path: Path, cut: int
) -> None:
    # Given a compression that libvips paints black, in a file that ends where its next directory would be named
    damaged_tiffs.unread_at_the_end(tmp_path / "cut.tif", 34712, cut)
    # And tiles that are said to be more than the file could name
    damaged_tiffs.overcounted(tmp_path / "overcounted.tif")
    ends = [finish(client, submit(client, files.url(f"/{name}.tif"))) for name in ("cut", "overcounted")]
    codes = [last["error"]["code"] if last["status"] == "failed" else last["status"] for last in ends]
    assert codes == ["unsupported_format", "image_corrupt"]


def test_a_jpeg_that_leaves_out_a_component_is_damaged(client: Client, files: SourceServer, tmp_path: Path) -> None:
    # Given a JPEG without the scans of its colours, which libjpeg takes without a word
    (tmp_path / "colourless.jpg").write_bytes(hostile.without_components(600, 600, (1,)))
    last = finish(client, submit(client, files.url("/colourless.jpg")))
    assert (last["status"], last["error"]["code"]) == ("failed", "image_corrupt"), last


@pytest.mark.parametrize("brand", ["heic", "avif"])
def test_a_heif_or_avif_in_tiles_is_ready_with_all_of_them_or_not_at_all(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path, brand: str
) -> None:
    # Given a picture of four tiles, of which libheif would show those that it can decode, and black beside them
    items = heifs.grid(brand)
    whole = heifs.file_of(items, brand)
    bad = {
        f"{name}-{code}": data
        for code, found in {
            "image_truncated": {f"cut-{part}": whole[: int(len(whole) * part)] for part in (0.4, 0.6, 0.95)},
            "image_corrupt": {
                **{
                    f"noise-{n}": heifs.file_of([*items[:n], heifs.noisy(items[n]), *items[n + 1 :]], brand)
                    for n in (1, 2, 3, 4)
                },
                "empty": heifs.file_of(heifs.grid(brand, lambda tile: replace(tile, data=b"")), brand),
                "smaller": heifs.file_of(heifs.grid(brand, lambda tile: heifs.resized(tile, 65, 64)), brand),
            },
            "unsupported_format": {
                kind: heifs.file_of(heifs.grid(brand, partial(replace, kind=kind.encode())), brand)
                for kind in ("jpeg", "unci", "iden", "grid", "av01" if brand == "heic" else "hvc1")
            },
        }.items()
        for name, data in found.items()
    }
    for name, data in (bad | {"whole": whole}).items():
        (tmp_path / f"{name}.{brand}").write_bytes(data)
    # When they are all submitted
    ids = {name: as_png(client, files.url(f"/{name}.{brand}")) for name in (*bad, "whole")}
    # Then each that lacks anything says so, and the whole one is what it was made of
    for name in bad:
        last = finish(client, ids[name])
        assert last["status"] == "failed", name
        assert last["error"]["code"] == name.rpartition("-")[2], (name, last["error"])
    found = shown(ready(client, ids["whole"])["tile_id"], 7)
    assert np.array_equal(found, heifs.grid_pixels())


def test_transparency_is_never_lost_by_a_changed_bit(
    client: Client, files: SourceServer, shown: Callable[..., Pixels], tmp_path: Path
) -> None:
    # Given WebPs, AVIFs and HEICs in which one bit of what announces the transparency is changed, and sound ones
    bad = webps.unsound() | {
        f"{brand}-{name}": data for brand in ("avif", "heic") for name, data in heifs.without_alpha(brand).items()
    }
    good = {
        f"{brand}-{name}": data
        for brand, made in (("webp", webps.sound()), *((brand, heifs.sound(brand)) for brand in ("avif", "heic")))
        for name, data in made.items()
    }
    ids = {}
    for name, data in (bad | good).items():
        (tmp_path / name).write_bytes(data)
        ids[name] = as_png(client, files.url(f"/{name}"))
    for name in bad:
        last = finish(client, ids[name])
        assert last["status"] == "failed", name
        assert last["error"]["code"] == "image_corrupt", (name, last["error"])
    for name in good:
        found = shown(ready(client, ids[name])["tile_id"], 7)
        is_transparent = name.endswith("-alpha") or "lossless" in name
        assert found.shape[2] == (4 if is_transparent else 3), name


@pytest.mark.parametrize("brand", ["heic", "avif"])
def test_the_page_that_is_shown_is_the_one_that_was_judged(
    client: Client, files: SourceServer, tmp_path: Path, brand: str
) -> None:
    # Given tiles that are pages of their own, and a damaged picture behind them, which is page 5
    items = [replace(item, hidden=False) for item in heifs.grid(brand)]
    picture = heifs.coded(10, heifs.grid_pixels()[:100, :100], brand, hidden=False)
    (tmp_path / "pages").write_bytes(heifs.file_of([*items, heifs.noisy(picture), replace(picture, number=11)], brand))
    ids = [client.submit(files.url("/pages"), "Pages", page=page)["dataset_id"] for page in range(8)]
    ends = [finish(client, str(dataset_id)) for dataset_id in ids]
    found = [last["error"]["code"] if last["status"] == "failed" else last["tile_info"]["width"] for last in ends]
    assert found == [128, 64, 64, 64, 64, "image_corrupt", 100, "page_not_found"]


def test_a_raw_photograph_is_named_and_a_developed_one_is_tiled(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    ids = {}
    for number, (make, name) in enumerate(raws.RAWS.values()):
        make(tmp_path / f"{number}.raw")
        ids[submit(client, files.url(f"/{number}.raw"))] = name
    for dataset_id, name in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "failed", name
        assert (last["error"]["code"], name in last["error"]["message"]) == ("unsupported_format", True), last["error"]
    raws.developed(tmp_path / "developed.tif")
    found = ready(client, submit(client, files.url("/developed.tif")))
    assert (found["width"], found["height"]) == (300, 200)


def test_an_operator_can_hold_all_that_is_ready_against_its_originals(
    client: Client, files: SourceServer, command: Command, stack: LaunchedStack, tmp_path: Path
) -> None:
    # Given a picture that is ready
    damaged_tiffs.READ[JPEG](tmp_path / "a.tif", True)
    dataset_id = submit(client, files.url("/a.tif"))
    tile_id = ready(client, dataset_id)["tile_id"]
    # When it is compared with its original, beside the running stack
    ended = command("verify", dataset_id, "--source", "--data", str(stack.data))
    # Then it is what that gives
    assert ended.code == 0, ended.out + ended.err
    assert ended.out.startswith(f"{tile_id}/")
    assert ended.out.endswith("no damage; 1 match the original\n")


def test_a_changed_bit_breaks_deflates_checksum_whatever_the_colours(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given TIFFs compressed by deflate, of coarse colours too, in which one bit of each strip or tile is changed
    ids = {}
    for way in ycbcr_tiffs.WAYS:
        for byte in (-1, 1000, 3000) if way.compression == 8 and way.is_read else ():
            path = tmp_path / f"{'-'.join(map(str, way.sampling))}-{way.apart}-{way.tiled}-{byte}.tif"
            ids[path.name] = submit(client, files.url(f"/{ycbcr_tiffs.changed(path, way, byte).name}"))
    assert len(ids) == 30
    for name, dataset_id in ids.items():
        last = finish(client, dataset_id)
        assert last["status"] == "failed", name
        assert last["error"]["code"] == "image_corrupt", (name, last["error"])


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
def test_ycbcr_is_shown_as_another_reader_shows_it_or_refused(
    client: Client, files: SourceServer, shown: Callable[[str], Pixels], tmp_path: Path, tiled: bool
) -> None:
    # Given TIFFs of YCbCr in every compression, with as many colours as pixels or fewer, together or in planes
    ways = [way for way in ycbcr_tiffs.WAYS if way.tiled == tiled]
    expected = {}
    for number, way in enumerate(ways):
        expected[number] = ycbcr_tiffs.write(tmp_path / f"{number}.tif", way)
    ids = {number: as_png(client, files.url(f"/{number}.tif")) for number in expected}
    for number, dataset_id in ids.items():
        last = finish(client, dataset_id)
        if ways[number].is_read:
            # Then what is read has its colours
            assert last["status"] == "ready", (ways[number], last["error"])
            found = shown(last["tile_info"]["tile_id"]).astype(int)
            assert np.abs(found - expected[number]).max() <= NEAR, ways[number]
        else:
            # And what is not says so
            assert last["status"] == "failed", ways[number]
            assert last["error"]["code"] == "unsupported_format", ways[number]
            assert "YCbCr" in last["error"]["message"]
