"""From what libvips says about a bad file to the project's codes."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import pyvips

from pipeline.errors import StageError
from pipeline.formats.endings import ends_early
from pipeline.formats.kinds import kind_of
from tests.support.images import damaged_tiffs, pictures, tiffs
from tiler.confined_decoding import decode
from tiler.decode import Reader, open_picture, reader_of
from tiler.failures import decoding_error
from tiler.job import Failed
from tiler.progress import Meter

FORMATS: dict[str, dict[str, object]] = {
    "plain.jpg": {},
    "progressive.jpg": {"interlace": True},
    "plain.png": {},
    "interlaced.png": {"interlace": True},
    "lossy.webp": {},
    "lossless.webp": {"lossless": True},
    "plain.gif": {},
    "strips.tif": {},
    "tiles.tif": {"tile": True},
    "lzw.tif": {"compression": "lzw"},
    "jpeg.tif": {"compression": "jpeg"},
    "big.tif": {"bigtiff": True},
    "plain.avif": {"effort": 0},
}


def decode_fully(path: Path) -> None:
    meter = Meter(lambda *_: None)
    try:
        open_picture(reader_of(path), meter=meter).image.avg()
    except pyvips.Error as error:
        raise decoding_error(error, path) from error


def decode_heeded(reader: Reader) -> None:
    with reader.heeded():
        reader.open().write_to_memory()


def is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        return ends_early(kind_of(path.read_bytes()), file, path.stat().st_size)


def code_of(path: Path) -> str:
    with pytest.raises(StageError) as caught:
        decode_fully(path)
    assert str(path) not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_file_cut_short_is_truncated(name: str, share: float, tmp_path: Path) -> None:
    # Given a file that decodes as it is
    source = pictures.save(pictures.scene(300, 250), tmp_path / name, "srgb", **FORMATS[name])
    decode_fully(source)
    assert not is_cut(source)
    # When its end is missing
    whole = source.read_bytes()
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole[: int(len(whole) * share)])
    # Then that is what is said
    assert code_of(cut) == "image_truncated"


@pytest.mark.parametrize("name", ["plain.png", "interlaced.png", "plain.gif", "lzw.tif", "plain.avif"])
def test_a_file_damaged_in_the_middle_is_corrupt(name: str, tmp_path: Path) -> None:
    source = pictures.save(pictures.scene(300, 250), tmp_path / name, "srgb", **FORMATS[name])
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1024] = pictures.noise(1024, 1, bands=1).tobytes()
    (tmp_path / f"bad-{name}").write_bytes(data)
    assert code_of(tmp_path / f"bad-{name}") == "image_corrupt"


def test_strips_named_beyond_the_end_of_a_tiff_are_missing(tmp_path: Path) -> None:
    # Given a TIFF with its directory at the start, as cameras and streams write it
    rows = np.full((64, 64), 7, dtype=np.uint8).tobytes()
    entries = [(256, 3, 64), (257, 3, 64), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (279, 4, len(rows))]
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, kind, value in entries:
        head += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        head += value.to_bytes(4, "little")
    whole = head.ljust(200, b"\0") + rows
    (tmp_path / "whole.tif").write_bytes(whole)
    decode_fully(tmp_path / "whole.tif")
    assert not is_cut(tmp_path / "whole.tif")
    # When the last rows are missing
    (tmp_path / "cut.tif").write_bytes(whole[:-500])
    # Then it is cut short
    assert code_of(tmp_path / "cut.tif") == "image_truncated"


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
        b"<html><body><svg xmlns='http://www.w3.org/2000/svg'/></body></html>",
        b'{"error": "not here"}',
        "Übergröße: nothing here\n".encode(),
        "Übergröße".encode("utf-16"),
        b"",
        b"a line\n" * 2000,
    ],
)
def test_a_page_or_a_text_is_no_image(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)
    assert code_of(tmp_path / "source") == "not_an_image"


@pytest.mark.parametrize(
    "content",
    [b"BM" + bytes(2000), b"\x7fELF" + bytes(2000), b"\0" * 3000, b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(2000)],
)
def test_another_binary_is_an_unsupported_format(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)
    assert code_of(tmp_path / "source") == "unsupported_format"


def test_samples_of_an_unknown_format_are_an_unsupported_format(tmp_path: Path) -> None:
    source = tiffs.write(tmp_path / "source.tif", np.ones((4, 4, 1), np.uint8), more={339: ("H", [7])})
    assert code_of(source) == "unsupported_format"


@pytest.mark.parametrize("spiff", [False, True])
def test_jpeg_ls_is_named(spiff: bool, tmp_path: Path) -> None:
    data = bytes(imagecodecs.jpegls_encode(np.zeros((8, 8, 3), np.uint8)))
    bare = data[:2] + data[data.index(b"\xff\xf7") :]
    (tmp_path / "source").write_bytes(data if spiff else bare)
    with pytest.raises((StageError, pyvips.Error)) as caught:
        reader_of(tmp_path / "source").open().avg()
    error = decoding_error(caught.value, tmp_path / "source")
    assert (error.code, "JPEG-LS" in error.message) == ("unsupported_format", True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "out_of_disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "out_of_disk"),
        (RuntimeError("unable to write to target\nwbuffer_write: No space left on device"), "out_of_disk"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("vips_tracked: out of memory --- size == 24MB"), "out_of_memory"),
        (RuntimeError("heif: Memory allocation error: Security limit exceeded: Image size"), "image_too_large"),
    ],
)
def test_what_the_system_lacks_is_not_the_pictures_fault(error: Exception, code: str, tmp_path: Path) -> None:
    assert decoding_error(error, pictures.jpeg(tmp_path / "source.jpg")).code == code


def test_a_source_that_is_gone_is_missing(tmp_path: Path) -> None:
    assert decoding_error(RuntimeError("does not exist"), tmp_path / "gone").code == "source_missing"


def test_a_damaged_files_message_gives_the_decoders_reason(tmp_path: Path) -> None:
    source = pictures.save(pictures.scene(50, 50), tmp_path / "source.webp")
    error = RuntimeError(f"unable to call dzsave\n  {source}: bad seek to 9\nwebp2vips: unable to read pixels\n")
    assert decoding_error(error, source).message == (
        "The image file is damaged (webp2vips: unable to read pixels). Open it in another program, save it again, "
        "then retry. To see what can be decoded of it, submit it with `damage` set to `accept`."
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"8BPS\0\1", "A Photoshop file"),
        (b"\x76\x2f\x31\x01\2", "OpenEXR"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"%PDF-1.7\n\0", "PDF"),
        (b"\1\2\3", "The format of the file"),
    ],
)
def test_a_format_that_is_not_read_is_named(head: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(head + bytes(100))
    with pytest.raises(StageError) as caught:
        decode_fully(tmp_path / "source")
    assert caught.value.code == "unsupported_format"
    assert caught.value.message.startswith(f"{name} is not supported. Convert it to JPEG, PNG")


def test_svg_is_said_to_be_the_operators_to_allow(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    error = decoding_error(RuntimeError("is not a known file format"), tmp_path / "source")
    assert error.code == "unsupported_format"
    assert "TILEWRIGHT_UNTRUSTED_FORMATS=svg" in error.message


def test_an_error_that_our_own_code_does_not_expect_is_final_and_one_line_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def begin() -> None:
        raise OverflowError("a number of the file")

    found = decode(reader_of(pictures.jpeg(tmp_path / "a.jpg", 64, 64)), begin, lambda: None)
    assert found == Failed("decoder_crashed", "The decoder crashed on this file (OverflowError).")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("decoder_crashed: OverflowError: a number of the file (test_tiler_failures.py:")


def test_entries_of_more_bytes_than_any_file_has_end_at_once(tmp_path: Path) -> None:
    for path in damaged_tiffs.overlong(tmp_path):
        reader = reader_of(path)
        found = decode(reader, lambda: None, partial(decode_heeded, reader))
        codes = {"image_corrupt", "image_truncated", "unsupported_format"}
        assert found is None or found.code in codes, (path.name, found)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), ModuleNotFoundError("No module named 'a'")]
)
@pytest.mark.parametrize("accept_damage", [False, True])
def test_a_fault_of_the_installation_is_never_taken_for_one_of_the_file(
    error: Exception, accept_damage: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that meets such a fault, in our own code and within a call of libvips
    reader = reader_of(pictures.jpeg(tmp_path / "a.jpg", 64, 64))

    def work(raised: Exception) -> None:
        raise raised

    with pytest.raises(type(error)):
        decode(reader, lambda: None, partial(work, error), accept_damage=accept_damage)
    monkeypatch.setattr(reader, "cause", lambda _: error)
    with pytest.raises(type(error)):
        decode(reader, lambda: None, partial(work, pyvips.Error("no data")), accept_damage=accept_damage)
    # And when it looks for what is sound
    monkeypatch.setattr(reader, "cause", lambda error: error)
    monkeypatch.setattr(reader, "salvage", lambda _: work(error))
    if accept_damage:
        with pytest.raises(type(error)):
            decode(reader, lambda: None, partial(work, pyvips.Error("no data")), accept_damage=True)
