"""A page or a text is told from an image by its first bytes, and no image is taken for one."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile

import pytest

from ingest.sniff import SNIFF_LENGTH, Sniffer, is_text, is_web_page
from pipeline.errors import StageError
from pipeline.formats.signatures import other_kind, packed_kind

PAGES = [
    b"<!DOCTYPE html>",
    b"<!doctype  HTML public>",
    b"<html>",
    b"<HTML lang='en'>",
    b"\xef\xbb\xbf\r\n\t <html>",
    b"<!-- made by hand -->\n<!-- twice --><html >",
    b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
    b"<script>location='/login'</script>",
    b"<h1>Not here</h1>",
    "<html>".encode("utf-16"),
]

TEXTS = [
    b'{"error": "expired"}',
    b"Not found\n",
    "Zugriff verweigert für alle".encode(),
    "verweigert".encode("utf-16"),
    b"a,b,c\n1,2,3\n",
    b"<rss version='2.0'>",
    b"\x1b[31mred\x1b[0m",
]

IMAGES = [
    b"\xff\xd8\xff\xe0JFIF",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a!!!!!!",
    b"RIFF!!!!WEBPVP8 !!!!",
    b"II*\x00\x08\x00\x00\x00",
    b"MM\x00*\x00\x00\x00\x08",
    b"II+\x00\x08\x00\x00\x00",
    b"\x00\x00\x00\x20ftypavif",
    b"BM\x36\x00\x00\x00\x00\x00",
    b"8BPS\x00\x01",
    b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heicmp41",
    b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00avifmif1",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x0a\xfa\x7f",
    b"P3\n1 1\n255\n",
    b"P6 1 1 255\n",
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    b"SIMPLE  =                    T",
    b"/* XPM */",
    b'<svg xmlns="http://www.w3.org/2000/svg">',
    b"\n<!-- drawn --><svg>",
    b'\xef\xbb\xbf<?xml version="1.0"?><svg>',
    b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg>",
]


OTHERS = {
    b"%PDF-1.7\n%\xe2\xe3": "a PDF document",
    b"%!PS-Adobe-3.0": "a PostScript document",
    b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42": "a video or recording (MP4 or QuickTime)",
    b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  ": "a video or recording (MP4 or QuickTime)",
    b"\x1a\x45\xdf\xa3\x01": "a Matroska or WebM video",
    b"RIFF\x00\x00\x00\x00AVI LIST": "an AVI video",
    b"RIFF\x00\x00\x00\x00WAVEfmt ": "a WAV recording",
    b"ID3\x04\x00": "an MP3 recording",
    b"\xff\xfb\x90\x64": "an MP3 recording",
    b"OggS\x00\x02": "an Ogg recording or video",
    b"\x7fELF\x02": "a program",
}


def tar(format_: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        info = tarfile.TarInfo("maps/earth.tif")
        info.size = 3000
        archive.addfile(info, io.BytesIO(bytes(3000)))
    return file.getvalue()


def old_tar() -> bytes:
    """As before POSIX: without `ustar`, known by its checksum alone."""
    head = bytearray(tar(tarfile.USTAR_FORMAT)[:257].ljust(512, b"\0"))
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


PACKED = [
    (tar(tarfile.USTAR_FORMAT), "a TAR archive"),
    (tar(tarfile.GNU_FORMAT), "a TAR archive"),
    (tar(tarfile.PAX_FORMAT), "a TAR archive"),
    (old_tar(), "a TAR archive"),
    (bz2.compress(bytes(3000)), "a bzip2 file"),
    (lzma.compress(bytes(3000)), "an xz file"),
    (lzma.compress(bytes(3000), lzma.FORMAT_ALONE), "an LZMA file"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"PK\x07\x08PK\x03\x04", "a part of a ZIP archive in several parts"),
    (b"Rar!\x1a\x07\x00", "a RAR archive"),
    (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd\x24", "a Zstandard file"),
    (b"\x5e\x2a\x4d\x18\x04\x00\x00\x00", "a Zstandard file"),
    (b"\x04\x22\x4d\x18\x64", "an LZ4 file"),
    (b"LZIP\x01", "an lzip file"),
    (b"\x1f\x9d\x90", "a file of compress (.Z)"),
    (b"MSCF\x00\x00\x00\x00\x10", "a cabinet archive (CAB)"),
    (b"!<arch>\ndebian-binary   ", "an ar archive"),
    (b"\x22\x8a-lh5-\x10", "an LHA archive"),
]


ARCHIVES = [b"PK\x03\x04\x14\x00", b"\x1f\x8b\x08\x00"]


def arrive(body: bytes) -> None:
    sniffer = Sniffer("example.org")
    for first in range(0, len(body), 100):
        sniffer.take(first, body[first : first + 100])


@pytest.mark.parametrize("head", PAGES)
def test_a_page_is_one(head: bytes) -> None:
    assert is_web_page(head)


@pytest.mark.parametrize("head", TEXTS)
def test_text_is_text_but_no_page(head: bytes) -> None:
    assert is_text(head)
    assert not is_web_page(head)


@pytest.mark.parametrize("head", IMAGES)
def test_an_image_is_neither(head: bytes) -> None:
    assert not is_web_page(head)
    assert not is_text(head)
    assert other_kind(head) == ""


@pytest.mark.parametrize(("head", "kind"), OTHERS.items(), ids=list(OTHERS.values()))
def test_what_is_plainly_something_else_is_called_by_its_name(head: bytes, kind: str) -> None:
    assert other_kind(head) == kind
    # When it arrives bit by bit, then it is refused as soon as enough of it is there
    with pytest.raises(StageError) as refusal:
        arrive(head + bytes(SNIFF_LENGTH))
    assert refusal.value.code == "unsupported_format"
    assert refusal.value.message.startswith(f"example.org sent {kind}, not an image.")


@pytest.mark.parametrize(("head", "kind"), PACKED)
def test_an_archive_that_is_not_unpacked_is_called_by_its_name_with_those_that_are(head: bytes, kind: str) -> None:
    assert other_kind(head) == packed_kind(head) == kind
    with pytest.raises(StageError) as refusal:
        arrive(head + bytes(SNIFF_LENGTH))
    assert refusal.value.code == "unsupported_format"
    told = f"example.org sent {kind}. Of archives and compressed files, ZIP and gzip are read:"
    assert refusal.value.message.startswith(told)


def test_a_block_that_is_no_tar_is_not_taken_for_one() -> None:
    head = old_tar()
    for at in (0, 100, 148, 300):
        assert packed_kind(head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]) == ""
    assert packed_kind(head[:500]) == ""
    assert packed_kind(bytes(512)) == ""


@pytest.mark.parametrize("head", ARCHIVES)
def test_an_archive_passes_since_an_image_may_be_in_it(head: bytes) -> None:
    assert not is_text(head)
    arrive(head + bytes(SNIFF_LENGTH))
