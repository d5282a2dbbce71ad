"""Stacks of channels: what OME-XML and ImageJ say, which channels are chosen, and their colours."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import pyvips
import tifffile

from pipeline import channel_choice
from pipeline.errors import StageError
from pipeline.formats import tiff
from pipeline.formats.header import StackHeader
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from pipeline.formats.tiff import ome
from pipeline.formats.tiff.stack import Stack, bands_of, stack_of
from pipeline.stretch import parse as parse_stretch
from tests.support.images import stacks
from tests.support.images.stacks import BLUE, GREEN, MAGENTA, RED, composed
from tests.support.images.stretched import stretched
from tiler.decode import Picture, open_picture, reader_of
from tiler.progress import Meter

WHITE = (255, 255, 255)


def stack_at(path: Path, number: int = 0) -> Stack | None:
    with path.open("rb") as file:
        place = next(place for place in tiff.places(file) if place.number == number)
        return stack_of(file, number, place.read(file))


def open_here(path: Path, *channels: str, page: int | None = None, stretch: str = "") -> Picture:
    reader = reader_of(path, page, channels=channels)
    reader.prepare()
    return open_picture(reader, meter=Meter(lambda *_: None), stretch=parse_stretch(stretch))


def xml(pixels: str, inside: str, head: str = "") -> bytes:
    sizes = 'SizeC="2" SizeZ="3" SizeT="2"'
    image = f"<o:Image><o:Pixels {sizes} {pixels}>{inside}</o:Pixels></o:Image>"
    return f'{head}<o:OME xmlns:o="x" UUID="urn:a">{image}</o:OME>'.encode()


@pytest.mark.parametrize("order", ["XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"])
def test_planes_follow_the_order_of_dimensions(order: str) -> None:
    [pixels] = ome.parse(xml(f'DimensionOrder="{order}"', "<o:TiffData/>"))
    planes = pixels.planes(1)
    steps = dict(zip(order[2:], np.cumprod([1, *({"C": 2, "Z": 3, "T": 2}[each] for each in order[2:4])]), strict=True))
    assert len(planes) == 12
    for (channel, z, t), number in planes.items():
        assert number == channel * steps["C"] + z * steps["Z"] + t * steps["T"]


def test_blocks_of_planes_say_where_they_begin_and_in_which_file() -> None:
    inside = (
        '<o:TiffData IFD="5" FirstC="1" FirstZ="2" PlaneCount="2"/>'
        '<o:TiffData IFD="0"><o:UUID FileName="b.tif">urn:b</o:UUID></o:TiffData>'
        '<o:TiffData IFD="9" FirstT="1"><o:UUID FileName="a.tif">urn:a</o:UUID></o:TiffData>'
    )
    [pixels] = ome.parse(xml('DimensionOrder="XYZCT"', inside))
    # Without PlaneCount it is one plane; the second of two is the first of the next t
    assert pixels.planes(1) == {(1, 2, 0): 5, (0, 0, 1): 9}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<OME",
        b"no XML, but it names OME",
        xml('DimensionOrder="CZT"', ""),
        xml('SizeX="1"', '<o:TiffData IFD="-1"/>'),
        xml('SizeX="1"', '<o:TiffData IFD="99999999999"/>'),
        xml('SizeX="1"', "", '<!DOCTYPE OME [<!ENTITY a "b">]>'),
        xml('SizeX="1"', "", '<!DOCTYPE OME SYSTEM "file:///etc/passwd">'),
        xml('SizeX="1"', "&unknown;"),
        xml('SizeX="1"', "<a>" * 100 + "</a>" * 100),
        xml('SizeX="1"', '<o:Channel SamplesPerPixel="0"/>'),
    ],
    ids=str,
)
def test_xml_that_is_broken_or_hostile_says_nothing(text: bytes) -> None:
    assert ome.parse(text) == []


def test_huge_sizes_cost_nothing() -> None:
    text = b'<OME><Image><Pixels SizeC="9999" SizeZ="999999999" SizeT="999999999"><TiffData/></Pixels></Image></OME>'
    [pixels] = ome.parse(text)
    assert len(pixels.planes(1)) == ome.MOST_BLOCKS


def test_a_micro_sign_in_latin_1_is_one(tmp_path: Path) -> None:
    for coding in ("UTF-8", "ISO-8859-1", "klingon", "utf-7"):
        head = f'<?xml version="1.0" encoding="{coding}"?>'
        text = xml('PhysicalSizeZ="2" PhysicalSizeZUnit="µm"', "", head).decode().encode("latin-1")
        assert [pixels.z_step for pixels in ome.parse(text)] == ["2 µm"]
    said = "ImageJ=1\nchannels=2\nslices=1\nspacing=2\nunit=µm\n"
    for coding in ("utf-8", "latin-1"):
        path = stacks.describe(tmp_path / "a.tif", stacks.planes(2)[0], said.encode(coding))
        stack = stack_at(path)
        assert stack is not None
        assert stack.z_step == "2 µm"


def test_thousands_of_images_with_huge_sizes_cost_little(tmp_path: Path) -> None:
    assert ome.parse(b"<OME>" + b"<Image><Pixels/></Image>" * 10_001 + b"</OME>") == []
    image = (
        b'<Image><Pixels SizeC="9999" SizeZ="99999" SizeT="9"><TiffData IFD="9" PlaneCount="99999"/></Pixels></Image>'
    )
    text = b"<OME>" + image * 10_000 + b"</OME>"
    images = ome.parse(text)
    assert len(images) == 10_000
    # Without listing the planes of any
    assert not any(pixels.has(0, 1) for pixels in images)
    assert images[0].has(100_000, 1)


def test_an_ome_tiff_is_read_as_its_writer_meant_it(tmp_path: Path) -> None:
    path = stacks.write_ome(
        tmp_path / "a.ome.tif",
        stacks.planes(3, z=2),
        ["DAPI", "", "Cy5\t\x85"],
        [BLUE, GREEN, RED],
        more={"PhysicalSizeZ": 0.25, "PhysicalSizeZUnit": "µm", "SignificantBits": 12},
    )
    stack = stack_at(path, 4)
    assert stack is not None
    assert [channel.name for channel in stack.channels] == ["DAPI", "", "Cy5"]
    assert [channel.colour for channel in stack.channels] == [BLUE, GREEN, RED]
    assert (stack.z, stack.t, stack.z_step, stack.bits) == (2, 1, "0.25 µm", 12)
    assert stack.position(4) == (1, 0)
    with tifffile.TiffFile(path) as file:
        assert [stack.plane(channel, z, 0) for z in range(2) for channel in range(3)] == [
            (number, 0, 0) for number in range(len(file.pages))
        ]


def test_a_hyperstack_is_read_as_tifffile_reads_it(tmp_path: Path) -> None:
    orders: list[Literal["<", ">"]] = ["<", ">"]
    for order in orders:
        path = tmp_path / f"a{ord(order)}.tif"
        metadata: dict[str, Any] = {
            "axes": "TZCYX",
            "mode": "composite",
            "Labels": [f"label {number}" for number in range(12)],
            "Ranges": (0.0, 10.0, 5.0, 20.0),
            "LUTs": [np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(3, 256)] * 2,
            "spacing": 0.5,
            "unit": "um",
            "finterval": 2,
        }
        values = np.arange(12 * 30, dtype=np.uint16).reshape(2, 3, 2, 5, 6)
        tifffile.imwrite(path, values, imagej=True, byteorder=order, metadata=metadata)
        stack = stack_at(path)
        assert stack is not None
        assert [channel.name for channel in stack.channels] == ["label 0", "label 1"]
        assert [channel.display for channel in stack.channels] == [(0, 10), (5, 20)]
        assert {channel.table for channel in stack.channels} == {bytes(range(256)) * 3}
        assert (stack.z, stack.t, stack.z_step, stack.t_step) == (3, 2, "0.5 um", "2 s")
        assert stack.z_labels == ("label 0", "label 2", "label 4")
        assert stack.t_labels == ("label 0", "label 6")
        with tifffile.TiffFile(path) as file:
            for t, z, channel in np.ndindex(2, 3, 2):
                plane = stack.plane(channel, z, t)
                assert plane is not None
                assert np.array_equal(file.pages[plane.directory].asarray(), values[t, z, channel])


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.53\nchannels=0\n",
        "ImageJ=1.53\nchannels=-1\n",
        "ImageJ=1.53\nchannels=3\nslices=2\nimages=7\n",
        "ImageJ=1.53\nchannels=99999999\nslices=99999999\n",
        "ImageJ=1.53\nchannels=1e3\n",
        "ImageJ=1.53\nchannels=3\nimages=3\n",
        "<OME><Image><Pixels SizeC='3'><TiffData IFD='7'/></Pixels></Image></OME>",
        "<OME><Image><Pixels SizeC='3'><TiffData IFD='0'/><TiffData FirstC='1' IFD='99'/></Pixels></Image></OME>",
    ],
)
def test_a_description_that_does_not_fit_the_pages_changes_nothing(text: str, tmp_path: Path) -> None:
    samples = stacks.planes(2)[0]
    picture = open_here(stacks.describe(tmp_path / "a.tif", samples, text))
    assert picture.channels == []
    assert np.array_equal(picture.image.numpy(), stretched(samples[0][..., None]))


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.53\nchannels=2\n",
        "ImageJ=1.53\r\nimages=2\r\nchannels=2\r\n",
        "<OME><Image><Pixels SizeC='2'/></Image></OME>",
        "<o:OME xmlns:o='x'><o:Image><o:Pixels SizeC='2'><o:TiffData/></o:Pixels></o:Image></o:OME>",
    ],
)
def test_a_short_description_is_enough(text: str, tmp_path: Path) -> None:
    samples = stacks.planes(2)[0]
    picture = open_here(stacks.describe(tmp_path / "a.tif", samples, text))
    assert np.abs(picture.image.numpy().astype(int) - composed(list(samples), [GREEN, MAGENTA])).max() <= 2


def test_one_image_with_the_description_of_many_is_one(tmp_path: Path) -> None:
    samples = stacks.planes(2)[0]
    text = "ImageJ=1.53\nimages=2\nchannels=2\n"
    # Given files that end behind the image, or where entries of the directory follow it
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples[0], description=text, metadata=None)
    image = pyvips.Image.new_from_array(samples[0])
    image.set_type(pyvips.GValue.gstr_type, "image-description", text + "x" * samples[0].nbytes)
    image.tiffsave(str(tmp_path / "b.tif"))
    for name in "ab":
        picture = open_here(tmp_path / f"{name}.tif")
        assert picture.channels == []
        assert np.array_equal(picture.image.numpy(), stretched(samples[0][..., None]))
    # And the same with both images are both
    stacks.write_imagej(path, samples[None], is_joined=True)
    assert len(open_here(path).channels) == 2


def test_channels_of_different_sizes_are_not_composed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    text = "<OME><Image><Pixels SizeC='2'><TiffData/></Pixels></Image></OME>"
    with tifffile.TiffWriter(path) as file:
        file.write(stacks.planes(1)[0, 0], description=text, metadata=None)
        file.write(stacks.planes(1)[0, 0, :99], metadata=None)
    assert open_here(path).channels == []
    with pytest.raises(StageError, match="different sizes"):
        open_here(path, "1")


def test_a_channel_with_few_bright_cells_is_seen(tmp_path: Path) -> None:
    cells = np.full((1, 2, 150, 200), 100, np.uint16)
    cells[0, 0, 40:44, 50:54] = 900
    cells[0, 1] = stacks.planes(1)[0, 0]
    picture = open_here(stacks.write_ome(tmp_path / "a.ome.tif", cells, ["DAPI", "GFP"], [BLUE, GREEN]))
    assert (picture.channels[0][1].low, picture.channels[0][1].high) == (100, 900)
    pixels = picture.image.numpy()
    assert pixels[41, 51, 2] == 255
    assert pixels[0, 0, 2] == 0


def test_a_page_alone_is_shown_by_what_its_writer_said_of_its_range(tmp_path: Path) -> None:
    dim = stacks.planes(1, scale=3)
    path = stacks.write_ome(tmp_path / "a.ome.tif", dim, ["DAPI"], more={"SignificantBits": 12})
    assert np.abs(open_here(path).image.numpy().astype(int) - stretched_to(dim, 0, 4095)).max() <= 1
    path = stacks.write_imagej(tmp_path / "a.tif", dim, min=100, max=300)
    assert np.abs(open_here(path).image.numpy().astype(int) - stretched_to(dim, 100, 300)).max() <= 1
    # 8-bit samples stay as they are
    path = stacks.write_imagej(tmp_path / "b.tif", (dim >> 4).astype(np.uint8), min=100, max=200)
    assert np.array_equal(open_here(path).image.numpy()[..., 0], dim[0, 0] >> 4)
    # And channels that are composed do not use the bits of the camera
    two = stacks.planes(2, scale=1)
    path = stacks.write_ome(tmp_path / "b.ome.tif", two, ["A", "B"], [BLUE, RED], more={"SignificantBits": 12})
    assert np.abs(open_here(path).image.numpy().astype(int) - composed(list(two[0]), [BLUE, RED])).max() <= 2


def stretched_to(samples: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    return composed([samples[0, 0]], [WHITE], [(low, high)]).astype(int)


def test_planes_stored_apart_are_read_alone_whatever_their_layout(tmp_path: Path) -> None:
    apart = stacks.planes(4)[0]
    layouts: list[dict[str, Any]] = [
        *({}, {"tile": (32, 48)}, {"rowsperstrip": 7}, {"byteorder": ">"}, {"bigtiff": True}),
        *({"compression": "zlib", "predictor": True}, {"compression": "zstd", "tile": (64, 64)}),
        {"compression": "lzw", "rowsperstrip": 11},
    ]
    for number, options in enumerate(layouts):
        path = tmp_path / f"{number}.ome.tif"
        tifffile.imwrite(
            path, apart, metadata={"axes": "CYX"}, photometric="minisblack", planarconfig="separate", **options
        )
        picture = open_here(path, "3", "1")
        assert [layer.number for layer, _ in picture.channels] == [3, 1]
        assert np.abs(picture.image.numpy().astype(int) - composed([apart[3], apart[1]], [GREEN, MAGENTA])).max() <= 2


def test_a_few_of_many_planes_need_the_memory_of_a_few(tmp_path: Path) -> None:
    samples = np.zeros((150, 256, 256), np.uint16)
    samples[:] = np.arange(150)[:, None, None]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="minisblack", planarconfig="separate", tile=(64, 64), metadata=None)
    reader = reader_of(path, None, channels=("7", "149"))
    reader.prepare()
    whole = reader_of(path, None)
    whole.prepare()
    assert (reader.memory(256) - (64 << 20)) * 5 < whole.memory(256) - (64 << 20)
    picture = open_here(path, "7", "149", stretch="range:0,255")
    assert np.array_equal(picture.image.numpy()[0, 0], [149, 7, 149])


def test_wide_and_complex_channels_are_composed(tmp_path: Path) -> None:
    for dtype in (np.float64, np.complex64, np.int32, np.uint32, np.int8, np.float16):
        samples = (stacks.planes(2).astype(float) / 8).astype(dtype)
        path = stacks.describe(
            tmp_path / "a.tif", samples[0], '<OME><Image><Pixels SizeC="2"><TiffData/></Pixels></Image></OME>'
        )
        picture = open_here(path)
        expected = composed(list(np.abs(samples[0]) if dtype == np.complex64 else samples[0]), [GREEN, MAGENTA])
        assert len(picture.channels) == 2, dtype
        assert np.abs(picture.image.numpy().astype(int) - expected).max() <= 2, dtype


def test_bands_are_channels_only_where_they_are_grey_or_rgb(tmp_path: Path) -> None:
    cases: list[tuple[int, dict[str, Any], int | None]] = [
        (5, {"photometric": "minisblack"}, 5),
        (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, 3),
        (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}, 4),
        (4, {"photometric": "separated"}, None),
    ]
    for bands, options, channels in cases:
        path = tmp_path / f"{bands}.tif"
        tifffile.imwrite(path, np.zeros((8, 8, bands), np.uint8), planarconfig="contig", metadata=None, **options)
        with path.open("rb") as file:
            page = tiff.find(file, 0)
            assert page is not None
            stack = bands_of(page)
        assert (None if stack is None else len(stack.channels)) == channels, options


@pytest.mark.parametrize(
    ("asked", "parsed"),
    [
        ("", ()),
        ([], ()),
        (0, ("0",)),
        ("DAPI, GFP", ("DAPI", "GFP")),
        ([0, "a,b"], ("0", "a,b")),
        ("2,0,", ("2", "0")),
    ],
)
def test_channels_are_parsed_from_lists_and_texts(asked: Any, parsed: tuple[str, ...]) -> None:
    assert channel_choice.parse(asked) == parsed


@pytest.mark.parametrize("asked", ["a,b,c,d", "a,a", ["x\ny"], ["x" * 101], [1, "1"], -1])
def test_channels_that_cannot_be_are_refused(asked: Any) -> None:
    with pytest.raises(ValueError, match=r"[.]$"):
        channel_choice.parse(asked)


def test_channels_are_chosen_by_number_then_by_name() -> None:
    names = ["488", "1", "DAPI", "dapi", ""]
    assert channel_choice.choose(names, ["1", "488", "4"]) == [1, 0, 4]
    assert channel_choice.choose(names, ["dapi", "DAPI"]) == [3, 2]
    assert channel_choice.choose(names, ["Dapi"]) == [2]
    for asked in (["5"], ["1.0"], ["Cy5"], ["²"]):
        with pytest.raises(StageError, match=r"It has 5 channels: 0 488, 1 1, 2 DAPI, 3 dapi, 4[.]"):
            channel_choice.choose(names, asked)
    with pytest.raises(StageError, match="and 80 more"):
        channel_choice.choose([""] * 100, ["x"])


@pytest.mark.parametrize(
    ("stated", "colours"),
    [
        ([None], [WHITE]),
        ([BLUE], [BLUE]),
        ([None, None], [GREEN, MAGENTA]),
        ([WHITE, WHITE], [GREEN, MAGENTA]),
        ([WHITE, BLUE], [WHITE, BLUE]),
        ([(0, 0, 0), GREEN], [MAGENTA, GREEN]),
        ([None, None, None], [RED, GREEN, BLUE]),
        ([None, RED, None], [GREEN, RED, BLUE]),
    ],
)
def test_colours_are_the_stated_ones_or_of_the_table(stated: list[Any], colours: list[Any]) -> None:
    assert channel_choice.colours_of(stated) == colours


def test_a_stack_is_known_before_the_download(tmp_path: Path) -> None:
    path = stacks.write_ome(
        tmp_path / "a.ome.tif",
        stacks.planes(4, z=2),
        ["DAPI", "GFP", "", "Cy5"],
        more={
            "PhysicalSizeZ": 0.25,
            "TimeIncrement": 3,
            "Plane": {"PositionZ": [5.0] * 4 + [5.5] * 4, "DeltaT": [0.0] * 8},
        },
        compression="zlib",
    )
    data = path.read_bytes()

    def look(most: int = 1 << 30, page: int | None = None, *channels: str) -> Found | Failed | Unknown:
        blocks = Blocks(lambda at, size: data[at : at + size] if at + size <= most else None, len(data))
        return probe_child.find_header(pyvips, blocks, page, channels)

    seen = look()
    assert isinstance(seen, Found)
    stack = StackHeader(*seen[9:])
    assert stack == StackHeader(("DAPI", "GFP", "", "Cy5"), ("",) * 4, 4, 2, 1, "0.25 µm", "3 s", ("5 µm", "5.5 µm"))
    # And what three channels take together, as the tiler finds it
    reader = reader_of(path, None)
    reader.prepare()
    assert (seen.memory, seen.work) == (reader.memory(256), reader.work(256).pixels)
    alone = look(1 << 30, 0)
    assert isinstance(alone, Found)
    assert alone.work * 3 == seen.work
    # And a channel that it does not have is refused
    assert look(1 << 30, None, "Cy3") == Failed(
        "channel_not_found", 'The image has no channel "Cy3". It has 4 channels: 0 DAPI, 1 GFP, 2, 3 Cy5.'
    )
    assert isinstance(look(1 << 30, None, "cy5"), Found)
    # But nothing is said of a file of which too little was received
    assert not isinstance(look(100, None, "Cy3"), Failed)


def test_metadata_of_imagej_that_is_cut_off_or_lies_is_ignored(tmp_path: Path) -> None:
    path = stacks.write_imagej(tmp_path / "a.tif", stacks.planes(2), Labels=["A", "B"], Ranges=(0.0, 10.0, 5.0, 20.0))
    with tifffile.TiffFile(path) as file:
        counts, order = file.pages.first.tags[50838], file.byteorder
        stored = file.pages.first.tags[50839].value
    assert stored
    whole = path.read_bytes()
    for number in range(counts.count):
        for value in (0, 3, 7, 1 << 31, (1 << 32) - 1):
            changed = bytearray(whole)
            struct.pack_into(f"{order}I", changed, counts.valueoffset + 4 * number, value)
            path.write_bytes(changed)
            picture = open_here(path)
            assert len(picture.channels) == 2
            assert picture.image.avg() >= 0


def test_none_takes_the_upper_bits_of_16_in_each_channel(tmp_path: Path) -> None:
    # Given samples that would be rounded up to the next level, and the ends of their type
    samples = np.repeat(np.array([[[[0, 255, 511, 512, 32767, 65279, 65535]]]], np.uint16), 2, axis=1)
    path = stacks.write_ome(tmp_path / "a.ome.tif", samples, ["A", "B"], [RED, BLUE])
    found = open_here(path, stretch="none").image.numpy()
    assert found[..., 0].tolist() == found[..., 2].tolist() == [[0, 0, 1, 2, 127, 254, 255]]


@pytest.mark.parametrize("is_joined", [True, False])
def test_images_for_which_one_directory_stands_are_pages(is_joined: bool, tmp_path: Path) -> None:
    cells = stacks.planes(2, z=3)
    path = stacks.write_imagej(tmp_path / "a.tif", cells, is_joined=is_joined)
    for page in range(6):
        found = open_here(path, page=page)
        assert (found.source["pages"], found.source["page"]) == (6, page)
        assert np.array_equal(found.image.numpy()[..., :3], stretched(cells[page // 2, page % 2][..., None]))
        assert found.warnings() == []
        other = open_here(path, "1", page=page)
        assert np.abs(other.image.numpy() - composed([cells[page // 2, 1]], [WHITE]).astype(int)).max() <= 1
    assert open_here(path).source["page"] == 0
    assert reader_of(path).take_all() == (0, 1, 2, 3, 4, 5)
    with pytest.raises(StageError, match="this TIFF has 6 pages"):
        open_here(path, page=6)
    # And a file that ends before the images do has the one page of its directory
    if is_joined:
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(StageError, match="this TIFF has one page"):
            open_here(path, page=1)
        assert reader_of(path).take_all() == (0,)


def a_set(first: int, uuid: str = ' UUID="urn:a"') -> str:
    """OME-XML of four channels: `first` of them in this file, the others in b.ome.tif."""
    blocks = "".join(
        f'<TiffData IFD="{number if is_here else number - first}" FirstC="{number}">'
        f'<UUID FileName="{"a" if is_here else "b"}.ome.tif">urn:{"a" if is_here else "b"}</UUID></TiffData>'
        for number, is_here in ((number, number < first) for number in range(4))
    )
    channels = "".join(f'<Channel Name="{name}"/>' for name in ("DAPI", "GFP", "Cy3", "Cy5"))
    pixels = '<Pixels DimensionOrder="XYCZT" SizeC="4" SizeZ="1" SizeT="1">'
    return f"<OME{uuid}><Image>{pixels}{channels}{blocks}</Pixels></Image></OME>"


def said_of(picture: Picture) -> list[str]:
    return [warned.message for warned in picture.warnings() if warned.code == "channels_chosen"]


def test_planes_in_other_files_of_a_set_are_named_and_never_taken_from_this_one(tmp_path: Path) -> None:
    samples = stacks.planes(2)[0]
    # Given a set of which two channels are in this file
    path = stacks.describe(tmp_path / "a.ome.tif", samples, a_set(2))
    [said] = said_of(open_here(path))
    assert said == (
        "The channels 0 DAPI, 1 GFP are shown. 2 planes are not in this file, but in others of its set (b.ome.tif): "
        "submit those."
    )
    with pytest.raises(StageError) as caught:
        open_here(path, "cy3")
    assert caught.value.code == "channel_not_found"
    assert caught.value.message == (
        "Channel 2 Cy3 is not in this file. It is in another file of its set, b.ome.tif: submit that file."
    )
    # And one channel of a set is a page, and more is told
    [said] = said_of(open_here(stacks.describe(tmp_path / "one.ome.tif", samples[:1], a_set(1))))
    assert said.startswith("A single page of a set of files is shown. 3 planes are not in this file")
    # And where nothing says which file of the set this is, its pages are pages, and no channels
    unknown = stacks.describe(tmp_path / "unknown.ome.tif", samples, a_set(2, ""))
    assert stack_at(unknown) is None
    assert not open_here(unknown).channels


def test_many_planes_in_other_files_are_read_in_bounded_time() -> None:
    blocks = '<o:TiffData IFD="0" PlaneCount="999999999"><o:UUID FileName="b.tif">urn:b</o:UUID></o:TiffData>'
    text = xml('DimensionOrder="XYZCT"', blocks).replace(b'SizeZ="3"', b'SizeZ="999999999"')
    [pixels] = ome.parse(text)
    assert len(pixels.elsewhere(1)) == ome.MOST_BLOCKS
