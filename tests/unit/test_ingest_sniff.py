"""A page or a text is told from an image by its first bytes, and no image is taken for one."""

from __future__ import annotations

import pytest

from ingest.sniff import is_text, is_web_page

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
    b"%PDF-1.7\n%\xe2\xe3",
    b"P3\n1 1\n255\n",
    b"P6 1 1 255\n",
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    b"SIMPLE  =                    T",
    b'<svg xmlns="http://www.w3.org/2000/svg">',
    b"\n<!-- drawn --><svg>",
    b'\xef\xbb\xbf<?xml version="1.0"?><svg>',
    b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg>",
]


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
