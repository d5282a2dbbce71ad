"""What this machine reads, and what an operator may add to it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.formats.header import Header
from pipeline.formats.probe.parent import Budget, probe
from pipeline.run import Run
from pipeline.source_formats import ARCHIVES, IMAGES
from protos.tilewright.status.v1 import status_pb2 as pb
from tests.support.images import pictures
from tiler import readable_formats
from tiler.decode import reader_of
from tiler.decode.registry import READERS
from tiler.job import Job
from tiler.parent import build
from tiler.settings import TilerSettings
from tilewright.commands import doctor

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200">'
    b'<rect width="300" height="200" fill="#fff"/><rect x="100" width="200" height="200" fill="#f00"/></svg>'
)


def test_every_common_format_is_read_here() -> None:
    found = readable_formats.readable()
    assert {name for name, read in found.items() if read} >= {*IMAGES.values(), *ARCHIVES.values()}
    assert set(found) == {*IMAGES.values(), *ARCHIVES.values(), "TIFF compressed by zstd"}


def test_the_table_of_formats_is_what_readers_are_there_for() -> None:
    kinds = {"heif" if name == "avif" else name for name in IMAGES}
    assert kinds == set().union(*(reader.KINDS for reader in READERS)) - {"svg"}


def test_who_asks_does_not_load_libvips() -> None:
    code = "import sys, tiler.readable_formats; tiler.readable_formats.readable(); print('pyvips' in sys.modules)"
    said = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True, timeout=60)
    assert said.stdout == "False\n"


def test_a_worker_says_what_it_reads_and_what_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(readable_formats, "readable", lambda: {"JPEG": True, "PNG": True, "HEIC": False})
    with caplog.at_level(logging.INFO):
        readable_formats.announce(logging.getLogger("tiler"))
    assert caplog.messages == ["reads JPEG, PNG; not HEIC"]


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        ({"JPEG": True, "HEIC": True}, "ok", "reads JPEG, HEIC"),
        ({"JPEG": True, "WebP": False}, "warning", "reads JPEG; not WebP"),
    ],
)
def test_doctor_warns_of_a_common_format_that_is_not_read(
    found: dict[str, bool], level: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readable_formats, "readable", lambda: found)
    (check,) = (check for check in doctor.examine(tmp_path, "http://127.0.0.1:1") if check.name == "formats")
    assert (check.level, check.found) == (level, text)


@pytest.mark.parametrize(("reserve", "level"), [(1, "ok"), (10**18, "error")])
def test_doctor_says_whether_jobs_find_room(
    reserve: int, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "DISK_LEAST", 0)
    monkeypatch.setenv("TILEWRIGHT_DISK_RESERVE_BYTES", str(reserve))
    (check,) = (check for check in doctor.examine(tmp_path, "http://127.0.0.1:1") if check.name == "disk")
    assert check.level == level
    assert ("all fail as out_of_disk" in check.found) == (level == "error")


def test_doctor_says_why_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unasked() -> dict[str, bool]:
        raise readable_formats.Unasked("libvips.so.42: cannot open shared object file")

    monkeypatch.setattr(readable_formats, "readable", unasked)
    (check,) = (check for check in doctor.examine(tmp_path, "http://127.0.0.1:1") if check.name == "formats")
    assert (check.level, check.found) == (
        "error",
        "nothing can be read (libvips.so.42: cannot open shared object file)",
    )


@pytest.mark.parametrize(("width", "height"), [(10**9, 10**9), (10**9, 5), (1, 10**9)])
def test_an_svg_too_large_to_count_is_not_read_as_one_pixel(width: int, height: int, tmp_path: Path) -> None:
    size = f'width="{width}" height="{height}"'.encode()
    (tmp_path / "source.svg").write_bytes(SVG.replace(b'width="300" height="200"', size, 1))
    with pytest.raises(StageError) as caught:
        reader_of(tmp_path / "source.svg").header()
    assert caught.value.code == "image_too_large"


def test_an_svg_of_one_pixel_is_read(tmp_path: Path) -> None:
    (tmp_path / "source.svg").write_bytes(SVG.replace(b'width="300" height="200"', b'width="1" height="1"', 1))
    assert reader_of(tmp_path / "source.svg").header()[1:3] == (1, 1)


def test_svg_is_read_where_the_operator_allows_it(tmp_path: Path) -> None:
    # Given an SVG, and a job that may read such
    (tmp_path / "source.svg").write_bytes(SVG)
    job = Job(str(tmp_path / "source.svg"), str(tmp_path), "t" * 64, "s" * 64, 256, 10**9, "8.18.3", untrusted=("svg",))
    wake_up = pb.WakeUp(dataset_id="custom_0123abcd", attempt=1, stage=pb.STAGE_TILER)
    run = Run("r" * 32, wake_up, pb.Grant())
    # When the child builds it
    built = build(run, job, threads=0)
    # Then its tiles show it, transparency and all, at the size that it names
    assert (built.width, built.height, built.extension) == (300, 200, "png")
    assert run.snapshot()[0].source == pb.SourceInfo(format="svg", width=300, height=200, pages=1)
    tile = pictures.decode(pictures.deep_zoom(tmp_path / "pyramid.szi")[9, 0, 0])
    assert tile[100, [20, 180]].tolist() == [[255, 255, 255, 255], [255, 0, 0, 255]]


def test_only_a_format_that_there_is_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_UNTRUSTED_FORMATS", "svg")
    assert TilerSettings().untrusted_formats == ("svg",)
    monkeypatch.setenv("TILEWRIGHT_UNTRUSTED_FORMATS", "svg, exe")
    with pytest.raises(ValidationError, match=r"unknown format: exe. Possible: svg"):
        TilerSettings()


def test_the_prober_of_headers_reads_what_the_operator_allows(tmp_path: Path) -> None:
    # Given an SVG that is still somewhere else
    class Remote:
        length: int | None = len(SVG)

        def read(self, offset: int, length: int) -> bytes:
            return SVG[offset : offset + length]

    budget = Budget(1 << 20, 100, 60)
    # When its header is asked for, then it is told only where SVG is allowed
    allowed = probe(Remote(), page=0, min_libvips="8.18.3", budget=budget, folder=tmp_path, untrusted=("svg",))
    assert allowed.header == Header("svg", 300, 200, 1)
    refused = probe(Remote(), page=0, min_libvips="8.18.3", budget=budget, folder=tmp_path)
    assert refused.verdict is not None
    assert refused.verdict.code == "unsupported_format"
