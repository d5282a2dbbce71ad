"""The header of an image in a remote archive, by as few of the archive's bytes as tell it."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest
import pyvips
import tifffile

from pipeline.formats.probe.blocks import BLOCK, Blocks
from pipeline.formats.probe.child import find_header
from pipeline.formats.probe.packed import MOST_UNPACKED
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from tests.support.images import pictures

SIZE = ("tiff", 900, 800, 1)


def tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pictures.noise(900, 800), photometric="rgb")
    return file.getvalue()


TIFF = tiff()


def zipped(files: dict[str, bytes], method: int, *, is_64: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=is_64) as member:
                member.write(data)
    return file.getvalue()


def stored(files: dict[str, bytes], *, is_64: bool = False) -> bytes:
    return zipped(files, zipfile.ZIP_STORED, is_64=is_64)


def deflated(files: dict[str, bytes]) -> bytes:
    return zipped(files, zipfile.ZIP_DEFLATED)


class Served:
    """An archive of which at most so many bytes are served."""

    def __init__(self, data: bytes, most: int = 2 << 20, *, has_length: bool = True) -> None:
        self.fetched = 0
        self._data, self._most = data, most
        self._length = len(data) if has_length else None

    def __call__(self, offset: int, length: int) -> bytes | None:
        if self.fetched + length > self._most:
            return None
        self.fetched += length
        return self._data[offset : offset + length]

    def header(self, member: str = "", page: int | None = None) -> Found | Failed | Unknown:
        return find_header(pyvips, Blocks(self, self._length), page, member=member)


@pytest.mark.parametrize(
    "data",
    [
        deflated({"earth.tif": TIFF, "earth.tfw": b"0.1"}),
        stored({"README.txt": b"Public domain.", "earth.tif": TIFF}),
        stored({"earth.tif": TIFF}, is_64=True),
        deflated({"earth.tif": TIFF})[:-2] + b"\x09\0a comment",
        b"PK\x03\x04 of nothing " + deflated({"a/b/earth.tif": TIFF, "a/c/": b""}),
        gzip.compress(TIFF, mtime=0),
    ],
    ids=["deflated", "stored", "ZIP64", "with a comment", "behind other bytes", "gzip"],
)
def test_a_few_blocks_tell_the_header(data: bytes) -> None:
    served = Served(data, 5 * BLOCK)
    found = served.header()
    assert isinstance(found, Found)
    # The end of a gzip file's content is not reached, so its pages are not counted
    assert found[:4] == (SIZE if data.startswith(b"PK") else (*SIZE[:3], 0))
    # And a page that is not there is named with the file
    if data.startswith(b"PK"):
        missing = Served(data).header(page=5)
        assert isinstance(missing, Failed)
        assert missing.code == "page_not_found"
        assert "earth.tif in the ZIP archive: Page 5 was requested" in missing.message


def test_a_gzip_of_unknown_length_is_read_as_it_arrives() -> None:
    found = Served(gzip.compress(TIFF, mtime=0), 4 * BLOCK, has_length=False).header()
    assert isinstance(found, Found)
    assert found[:3] == SIZE[:3]


def claiming(size: int) -> bytes:
    """An archive whose directory says that its image has so many bytes."""
    data = bytearray(deflated({"a.tif": b"II*\0" + bytes(5000)}))
    at = data.rindex(b"PK\1\2") + 24
    data[at : at + 4] = size.to_bytes(4, "little")
    return bytes(data)


def with_method(method: int) -> bytes:
    """An archive whose headers name another method."""
    data = bytearray(deflated({"a.tif": TIFF}))
    for at in (8, data.rindex(b"PK\1\2") + 10):
        data[at : at + 2] = method.to_bytes(2, "little")
    return bytes(data)


TWO = deflated({"a.tif": TIFF, "b.tif": TIFF})
CHOOSE = "Choose one by `member`: "
REFUSED = [
    (TWO, "", "member_not_found", f"has 2 images. {CHOOSE}a.tif, b.tif."),
    (TWO, "c.tif", "member_not_found", f"no file c.tif. {CHOOSE}a.tif, b.tif."),
    (deflated({f"{n}.tif": TIFF for n in range(9)}), "", "member_not_found", f"several images. {CHOOSE}0.tif, 1"),
    (gzip.compress(TIFF, mtime=0), "a.tif", "member_not_found", "leave out `member`"),
    (TIFF, "a.tif", "member_not_found", "leave out `member`"),
    (deflated({"a.zip": TWO}), "", "unsupported_format", "has another archive, a.zip, in it"),
    (gzip.compress(TWO, mtime=0), "", "unsupported_format", "The content of the gzip file is a ZIP"),
    (
        zipped({"a.tif": TIFF}, zipfile.ZIP_LZMA),
        "",
        "unsupported_format",
        "a.tif in the ZIP archive is compressed by LZMA",
    ),
    (zipped({"a.tif": TIFF}, zipfile.ZIP_BZIP2), "", "unsupported_format", "compressed by bzip2 (method 12)"),
    (with_method(9), "", "unsupported_format", "compressed by Deflate64 (method 9)"),
    (with_method(93), "a.tif", "unsupported_format", "compressed by Zstandard (method 93)"),
    (deflated({"[Content_Types].xml": b"<x/>", "a.tif": TIFF}), "", "unsupported_format", "an Office document"),
    (deflated({"a.txt": b"only words"}), "", "not_an_image", "no image among its 1 files"),
    (deflated({"a.txt": b"only words"}), "a.txt", "not_an_image", "a.txt in the ZIP archive is no image"),
    (deflated({"a.tif": TIFF[:5] + bytes(100)}), "", "image_corrupt", "a.tif in the ZIP archive: The image file"),
    (claiming(300 << 20), "", "image_too_large", "a.tif in the ZIP archive ("),
]


@pytest.mark.parametrize(("data", "member", "code", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_the_tiler_would_refuse_is_refused(data: bytes, member: str, code: str, words: str) -> None:
    refused = Served(data).header(member)
    assert isinstance(refused, Failed)
    assert (refused.code, words in refused.message) == (code, True), refused


def test_member_chooses_the_image_whose_header_is_told() -> None:
    small = b"P6 1 1 255\n\0\0\0"
    data = deflated({"a.tif": TIFF, "b.ppm": small})
    first, second = (Served(data).header(member) for member in ("a.tif", "b.ppm"))
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert (first[:4], second[:4]) == (SIZE, ("pnm", 1, 1, 1))


def test_files_that_belong_to_an_image_or_were_replaced_are_no_second_image() -> None:
    # Given an archive of an image with its mask, its smaller versions and those of the mask, as GDAL writes them
    beside = {f"earth.tif{ending}": TIFF for ending in (".ovr", ".msk", ".msk.ovr")}
    beside["earth.tif.aux.xml"] = b"<PAMDataset>\n</PAMDataset>\n"
    found = Served(deflated({**beside, "earth.tif": TIFF})).header()
    assert isinstance(found, Found)
    assert found[:4] == SIZE
    # And they are read when they are asked for by name, or alone
    assert isinstance(Served(deflated({**beside, "earth.tif": TIFF})).header("earth.tif.msk"), Found)
    assert isinstance(Served(deflated({"earth.tif.ovr": TIFF})).header(), Found)
    # And one that two images have the name of is the last
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("a.ppm", b"P6 2 2 255\n" + bytes(12))
        archive.writestr("a.ppm", b"P6 1 1 255\n\0\0\0")
    for member in ("", "a.ppm"):
        replaced = Served(file.getvalue()).header(member)
        assert isinstance(replaced, Found)
        assert replaced[:4] == ("pnm", 1, 1, 1)


def test_what_is_not_served_is_unknown_and_nothing_else() -> None:
    # Given an archive of nine images of two megabytes each
    data = stored({f"{n}.tif": TIFF for n in range(9)})
    whole = Served(data)
    assert isinstance(whole.header(), Failed)
    # When fewer and fewer bytes are served, then two images are enough to know that there are several
    outcomes = [Served(data, most).header() for most in range(0, whole.fetched, BLOCK)]
    kinds = [type(outcome) for outcome in outcomes]
    assert set(kinds) == {Unknown, Failed}
    assert kinds == sorted(kinds, key=[Unknown, Failed].index)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Failed)} == {"member_not_found"}
    # And an archive whose length is not known is not, since its directory is at its end
    assert isinstance(Served(data, has_length=False).header(), Unknown)


def test_a_header_far_into_a_compressed_image_is_not_unpacked_to() -> None:
    # Given a TIFF with its directory behind more zeros than are unpacked
    at = MOST_UNPACKED + 10_000
    moved = b"II*\0" + np.uint32(at).tobytes() + bytes(at - 8) + b"\0\0"
    served = Served(deflated({"a.tif": moved}))
    # Then it is not known what it is
    assert isinstance(served.header(), Unknown)
