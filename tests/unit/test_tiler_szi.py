"""Where an SZI's tiles lie, against Python's own zip reader."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import pyvips

from tests.support.images import pictures
from tiler import szi


def bytes_of(path: Path) -> dict[str, bytes]:
    found = {}
    with path.open("rb") as file:
        for stored in szi.files(path):
            file.seek(stored.offset)
            found[stored.name] = file.read(stored.length)
    return found


def zip_bytes(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_bytes_of_each_file_are_those_that_zipfile_reads(tmp_path: Path) -> None:
    pyvips.Image.new_from_array(pictures.scene(900, 500)).dzsave(str(tmp_path / "a.szi"), container="szi")
    assert bytes_of(tmp_path / "a.szi") == zip_bytes(tmp_path / "a.szi")


def test_files_beyond_four_gigabytes_are_found(tmp_path: Path) -> None:
    # Given a zip behind five (sparse) gigabytes, so that offsets need zip64 fields
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in (("p/p_files/0/0_0.jpg", b"zero"), ("p/p_files/1/0_0.jpg", b"one" * 99)):
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
    # When they are looked up, then the offsets are right
    assert [stored.offset > 5 << 30 for stored in szi.files(path)] == [True, True]
    assert bytes_of(path) == zip_bytes(path) == {"p/p_files/0/0_0.jpg": b"zero", "p/p_files/1/0_0.jpg": b"one" * 99}


def test_more_files_than_16_bits_can_count_are_found(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65_600):
            archive.writestr(f"{number}", b"")
    assert sum(1 for _ in szi.files(path)) == 65_600


def test_a_comment_behind_the_directory_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content")
        archive.comment = b"PK in a comment"
    assert bytes_of(path) == {"a": b"content"}


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"content" * 99)
    with pytest.raises(ValueError, match="not an uncompressed zip"):
        list(szi.files(tmp_path / "a.zip"))


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a zip"):
        list(szi.files(tmp_path / "a.zip"))
