"""From each message of the decoders of this build to a code, and a sentence that is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats.decoder_errors import SAYINGS, decoder_error
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.protocol import Failed
from tests.support.images import makers

OF_THE_SYSTEM = {"No space left on device", "Disk quota exceeded", "File too large", "Cannot allocate memory"}
"""What strerror says."""

OF_OLDER_BUILDS = {
    "unable to allocate",
    "compression format has not been built in",
    "tiled separate planes not supported",
    "not a whole number of bytes",
    "bad labq format",
}
"""What libvips built otherwise, or another version of a library, says."""


@pytest.fixture(scope="module")
def libraries() -> bytes:
    """All that the decoders of this build can say, in lower case."""
    packages = Path(pyvips.__file__).parent.parent
    found = [
        *packages.glob("pyvips_binary.libs/libvips*"),
        *packages.glob("pi_heif.libs/*"),
        *packages.glob("_pi_heif*"),
    ]
    assert len(found) >= 4
    return b"\n".join(path.read_bytes() for path in found).lower()


def test_each_known_message_is_one_that_a_decoder_of_this_build_can_give(libraries: bytes) -> None:
    known = {saying for sayings, _, _ in SAYINGS for saying in sayings} - OF_THE_SYSTEM - OF_OLDER_BUILDS
    assert {saying for saying in known if saying.lower().encode() not in libraries} == set()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        # libjpeg
        ("VipsJpeg: Maximum supported image dimension is 65500 pixels", "image_too_large"),
        ("VipsJpeg: Image too wide for this implementation", "image_too_large"),
        ("VipsJpeg: Insufficient memory (case 4)", "out_of_memory"),
        ("VipsJpeg: Memory limit exceeded", "out_of_memory"),
        ("VipsJpeg: Unsupported JPEG data precision 12", "unsupported_format"),
        ("VipsJpeg: Unsupported JPEG process: SOF type 0xc3", "unsupported_format"),
        ("VipsJpeg: Unsupported color conversion request", "unsupported_format"),
        ("VipsJpeg: Too many color components: 12, max 10", "unsupported_format"),
        ("VipsJpeg: Empty JPEG image (DNL not supported)", "unsupported_format"),
        ("VipsJpeg: Fractional sampling not implemented yet", "unsupported_format"),
        ("VipsJpeg: Unsupported marker type 0x4f", "image_corrupt"),
        ("VipsJpeg: Huffman table 0x00 was not defined", "image_corrupt"),
        # libpng
        ("pngload: Image width exceeds user limit in IHDR", "image_too_large"),
        ("pngload: Row has too many bytes to allocate in memory", "image_too_large"),
        ("pngload: Insufficient memory to process iCCP chunk", "out_of_memory"),
        ("pngload: Invalid bit depth in IHDR", "image_corrupt"),
        # libheif
        ("heif: Unsupported feature: Unsupported codec (4.3000)", "unsupported_format"),
        (
            "heif: Unsupported feature: could not parse item property 'isxx' (4.3007)",
            "image_corrupt",
        ),
        # libtiff and libvips' reader
        ("tiff2vips: width/height out of range", "image_too_large"),
        ("Fax4Decode: Uncompressed data (not supported) at line 3 of strip 0 (x 7)", "image_corrupt"),
        ("tiff2vips: samples out of range", "unsupported_format"),
        ("tiff2vips: unsupported tiff image type", "unsupported_format"),
        (
            "TIFFReadDirectory: Requested memory size for TIFF directory of 9 is greater than filesize 8. Memory not "
            "allocated, TIFF directory not read",
            "image_corrupt",
        ),
        ("JPEGSetupDecode: BitsPerSample 12 not allowed for JPEG", "unsupported_format"),
        ("Fax3SetupState: Bits/sample must be 1 for Group 3/4 encoding/decoding", "unsupported_format"),
        ('PredictorSetup: Horizontal differencing "Predictor" not supported with 4-bit samples', "unsupported_format"),
        ("WebPPreDecode: WEBP driver requires 8 bit unsigned data", "unsupported_format"),
        ("JPEGPreDecode: Reading this image would require libjpeg to allocate at least 9 bytes.", "image_too_large"),
        ("TIFFjpeg_progress_monitor: Scan number 101 exceeds maximum scans (100).", "decoder_too_slow"),
        ("LZWPreDecode: No space for LZW code table", "out_of_memory"),
        ("WebPDecode: Unable to decode WebP data.", "image_corrupt"),
        ("LZWDecode: Corrupted LZW table at scanline 3", "image_corrupt"),
        # libnsgif, libwebp, libheif, libde265
        ("gifload: Out of memory", "out_of_memory"),
        ("gifload: Invalid frame data", "image_corrupt"),
        ("heif: Memory allocation error: Security limit exceeded: Image size 9x9", "image_too_large"),
        ("heif: Unsupported feature: Unsupported codec", "unsupported_format"),
        ("heif: Memory allocation error: Allocating 9 bytes failed", "out_of_memory"),
        ("heif: Invalid input: No 'ispe' property", "image_corrupt"),
        ("de265: image size exceeds security limit", "image_too_large"),
    ],
)
def test_what_a_decoder_says_becomes_its_code(said: str, code: str) -> None:
    found = decoder_error(f"unable to call it\n{said}\n", "jpeg", lambda: False)
    assert found.code == code
    if code == "image_corrupt":
        assert said in found.message
    else:
        assert "damaged" not in found.message


@pytest.mark.parametrize("width", [65501, 65504])
def test_a_jpeg_that_is_wider_than_its_decoder_takes_is_too_large(width: int, tmp_path: Path) -> None:
    data = makers.wide_jpeg(tmp_path / "source.jpg", width).read_bytes()
    found = probe_child.find_header(pyvips, Blocks(lambda at, size: data[at : at + size], len(data)), 0)
    assert isinstance(found, Failed)
    assert found.code == "image_too_large"
    assert "65,500 pixels" in found.message
    assert "damaged" not in found.message


def test_an_error_has_the_advice_of_its_cause() -> None:
    found = decoder_error("VipsJpeg: Maximum supported image dimension is 65500 pixels", "tiff", lambda: True)
    assert isinstance(found, StageError)
    assert found.message.endswith("Save it as TIFF or PNG.")
