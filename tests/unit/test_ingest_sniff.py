"""A page or a text is told from an image by its first bytes, and no image is taken for one."""

from __future__ import annotations

import pytest

from ingest.sniff import SNIFF_LENGTH, Sniffer, is_text, is_web_page
from pipeline.errors import StageError
from pipeline.formats.signatures import other_kind

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
    b"PK\x05\x06": "a ZIP archive",
    b"Rar!\x1a\x07\x01\x00": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42": "a video or recording (MP4 or QuickTime)",
    b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  ": "a video or recording (MP4 or QuickTime)",
    b"\x1a\x45\xdf\xa3\x01": "a Matroska or WebM video",
    b"RIFF\x00\x00\x00\x00AVI LIST": "an AVI video",
    b"RIFF\x00\x00\x00\x00WAVEfmt ": "a WAV recording",
    b"ID3\x04\x00": "an MP3 recording",
    b"\xff\xfb\x90\x64": "an MP3 recording",
    b"OggS\x00\x02": "an Ogg recording or video",
    b"\x7fELF\x02": "a program",
    b"a.txt" + bytes(252) + b"ustar\x0000": "a TAR archive",
}


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


@pytest.mark.parametrize("head", ARCHIVES)
def test_an_archive_passes_since_an_image_may_be_in_it(head: bytes) -> None:
    assert not is_text(head)
    arrive(head + bytes(SNIFF_LENGTH))
