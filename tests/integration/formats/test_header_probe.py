"""A header read by a confined child, from a few ranges: what it finds, what it costs, and what it never refuses."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import pyvips

from pipeline.errors import Stopped
from pipeline.formats.header import Header
from pipeline.formats.probe import child as probe_child
from pipeline.formats.probe.blocks import Blocks
from pipeline.formats.probe.parent import COMMAND, Budget, Probe, probe
from pipeline.formats.probe.protocol import Failed, Found, Unknown
from tests.support.images import animations, heics, pictures
from tiler.failures import decoding_error

BUDGET = Budget(bytes=2 << 20, reads=64, seconds=30.0)
PADDING = np.random.default_rng(1).bytes(3 << 20)


class Far:
    """A file somewhere else, which notes what is read of it."""

    def __init__(self, data: bytes, *, knows_length: bool = True, until: int | None = None) -> None:
        self.length = len(data) if knows_length else None
        self.ranges: list[tuple[int, int]] = []
        self.data = data
        self._until = until

    def read(self, first: int, end: int) -> bytes | None:
        """The bytes; refused beyond `until`."""
        if self._until is not None and end > self._until and first >= self._until:
            return None
        self.ranges.append((first, end))
        return self.data[first : end if self._until is None else min(end, self._until)]

    @property
    def count(self) -> int:
        return sum(end - first for first, end in self.ranges)


def look(far: Far, folder: Path, *, page: int = 0, budget: Budget = BUDGET, code: str = "") -> Probe:
    """The header by a real child, or by one that runs some other code."""
    command = (sys.executable, "-I", "-c", code) if code else COMMAND
    return probe(far, page=page, min_libvips="8.18.3", budget=budget, folder=folder, command=command)


def look_here(data: bytes, *, length: int | None = -1, page: int = 0) -> Found | Failed | Unknown:
    """The same without a child."""
    blocks = Blocks(lambda at, size: data[at : at + size], len(data) if length == -1 else length)
    return probe_child.find_header(pyvips, blocks, page)


def noisy(path: Path, **options: object) -> bytes:
    """A picture of 1,200 x 1,000 pixels, in a format by the name, as a file of some megabytes."""
    if path.suffix in {".jpg", ".png", ".tif"}:
        return pictures.save(pictures.noise(1200, 1000), path, "srgb", **options).read_bytes()
    plain = np.zeros((1000, 1200, 3), dtype=np.uint8)
    return pictures.save(plain, path, "srgb", **options).read_bytes() + PADDING


@pytest.mark.parametrize(
    ("name", "options", "format_", "most_reads"),
    [
        ("a.jpg", {"Q": 100}, "jpeg", 1),
        ("progressive.jpg", {"Q": 100, "interlace": True}, "jpeg", 1),
        ("a.png", {}, "png", 1),
        ("strips.tif", {}, "tiff", 2),
        ("tiles.tif", {"tile": True, "pyramid": True}, "tiff", 6),
        ("big.tif", {"tile": True, "pyramid": True, "bigtiff": True}, "tiff", 6),
        ("a.webp", {}, "webp", 1),
        ("a.avif", {"effort": 0}, "avif", 3),
        ("a.gif", {}, "gif", 1),
    ],
)
def test_a_few_ranges_tell_what_a_picture_is(
    name: str, options: dict[str, object], format_: str, most_reads: int, tmp_path: Path
) -> None:
    # Given a picture of megabytes somewhere else
    far = Far(noisy(tmp_path / name, **options))
    assert far.length is not None
    assert far.length > 1 << 20
    # When its header is asked for
    found = look(far, tmp_path)
    # Then it is told right
    assert found.verdict is None
    assert found.header is not None
    assert found.header[:3] == (format_, 1200, 1000)
    assert found.memory > 60 << 20
    # And little was read, in few pieces
    assert len(far.ranges) <= most_reads
    assert far.count < 600_000


def test_a_small_picture_of_any_format_is_told_by_its_decoder(tmp_path: Path) -> None:
    # Given pictures that are had whole, also those whose decoders want that, when they are looked at
    for name, format_ in (("a.webp", "webp"), ("a.gif", "gif"), ("a.avif", "avif"), ("a.heic", "heif")):
        pixels = pictures.scene(90, 60)
        data = heics.encoded(pixels) if format_ == "heif" else pictures.save(pixels, tmp_path / name).read_bytes()
        found = look_here(data)
        # Then they are known as well as the tiler will know them
        assert isinstance(found, Found)
        assert found[:4] == (format_, 90, 60, 1)


def test_an_animation_on_a_canvas_beyond_the_childs_memory_is_told_of_all_the_same(tmp_path: Path) -> None:
    # Given a small file, whose decoder would make two canvases of a gigabyte each to open it
    frame = animations.webp(16, 16, 3)
    canvas = (16_382).to_bytes(3, "little") * 2
    at = frame.index(b"VP8X") + 12
    data = frame[:at] + canvas + frame[at + 6 :]
    found = look(Far(data), tmp_path, page=2)
    # When it is looked at, then its size, its frames and what comes before the page are known
    assert found.header == Header("webp", 16_383, 16_383, 3)
    assert found.work is not None
    assert found.work.before == 2 * 16 * 16
    # And a page that it has not got is a verdict
    refused = look(Far(data), tmp_path, page=3).verdict
    assert refused is not None
    assert refused.code == "page_not_found"


def test_without_a_length_what_has_arrived_is_enough_where_the_format_allows_it(tmp_path: Path) -> None:
    # Given a stream, of which 100 kB have arrived
    jpeg = Far(noisy(tmp_path / "a.jpg", Q=100), knows_length=False, until=100_000)
    strips = Far(noisy(tmp_path / "a.tif"), knows_length=False, until=100_000)
    # When its header is asked for, then a JPEG's is there
    assert look(jpeg, tmp_path).header == Header("jpeg", 1200, 1000, 1)
    # And nobody knows of a TIFF whose directory is at its end
    assert look(strips, tmp_path) == Probe()


def test_the_page_that_is_wanted_is_the_one_that_is_told_of(tmp_path: Path) -> None:
    # Given a file of two pages
    two = tmp_path / "two.tif"
    pictures.save(pictures.scene(30, 20), tmp_path / "1.tif")
    tall = pyvips.Image.new_from_array(np.concatenate([pictures.scene(30, 20, seed=n) for n in range(4)]))
    tall.set_type(pyvips.GValue.gint_type, "page-height", 20)
    tall.write_to_file(str(two))
    data = two.read_bytes()
    # When one that it has is asked for, and one that it has not
    assert look_here(data, page=3)[:4] == ("tiff", 30, 20, 4)
    missing = look_here(data, page=4)
    # Then that is a verdict
    assert isinstance(missing, Failed)
    assert missing.code == "page_not_found"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "not_an_image"),
        (b'{"error": "no such picture"}' + b" " * 5000, "not_an_image"),
        (b"%PDF-1.7\n\x00\x01\x02" + PADDING, "unsupported_format"),
        (PADDING, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n" + PADDING, "image_corrupt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1 << 20), "image_corrupt"),
        (b"\x89PNG\r\n\x1a\n" + PADDING + b"IEND\xaeB`\x82", "image_corrupt"),
        (b"\xff\xd8\xff" + bytes(3 << 20) + b"\xff\xd9", "image_corrupt"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01", "image_truncated"),
        (b"II*\0" + (9_000_000).to_bytes(4, "little") + PADDING, "image_truncated"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100), "image_corrupt"),
        (b"GIF89a\1", "image_truncated"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40), "image_corrupt"),
    ],
)
def test_what_is_no_picture_or_a_broken_one_is_a_verdict_as_the_tiler_gives_it(
    data: bytes, code: str, tmp_path: Path
) -> None:
    # Given what nobody can open, when the prober looks at its header
    failed = look_here(data)
    # Then it says so
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert "source_custom" not in failed.message
    # And the tiler says the same once it has the file
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(pyvips.Error) as caught:
        pyvips.Image.new_from_file(str(tmp_path / "file"))
    assert decoding_error(caught.value, tmp_path / "file").code == code


def test_a_format_that_is_not_trusted_is_a_verdict(tmp_path: Path) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    verdict = look(Far(svg + b" " * 5000), tmp_path).verdict
    assert verdict is not None
    assert verdict.code == "unsupported_format"


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.95])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.gif", "a.avif"])
def test_nothing_is_refused_that_the_tiler_can_open(name: str, share: float, tmp_path: Path) -> None:
    # Given files cut short somewhere
    options = {"effort": 0} if name == "a.avif" else {}
    whole = pictures.save(pictures.scene(150, 120), tmp_path / name, "srgb", **options).read_bytes()
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole[: int(len(whole) * share)])
    # When both look at one
    outcome = look_here(cut.read_bytes())
    try:
        image = pyvips.Image.new_from_file(str(cut))
    except pyvips.Error as error:
        refused = decoding_error(error, cut)
        expected: tuple[object, ...] = (refused.code, refused.message)
    else:
        expected = (name.split(".")[1].replace("jpg", "jpeg").replace("tif", "tiff"), image.width, image.height)
    # Then the prober refuses what the tiler refuses, for the same reason, and knows of all else
    assert tuple(outcome)[: len(expected)] == expected


def test_a_picture_larger_than_its_decoder_takes_is_told_so(tmp_path: Path) -> None:
    # A PNG's header of 2,000,000,000 x 2,000,000,000 pixels, right to the checksum
    data = bytearray(pictures.save(pictures.scene(9, 9), tmp_path / "a.png").read_bytes())
    data[16:24] = (2_000_000_000).to_bytes(4, "big") * 2
    outcome = look_here(bytes(data))
    assert isinstance(outcome, Failed)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(bytes=70_000, reads=64, seconds=30),
        Budget(bytes=2 << 20, reads=1, seconds=30),
    ],
    ids=["bytes", "reads"],
)
def test_what_a_budget_does_not_reach_is_not_known(budget: Budget, tmp_path: Path) -> None:
    # Given a TIFF whose directory is at its end
    far = Far(noisy(tmp_path / "a.tif"))
    # When there is not enough to get there
    outcome = look(far, tmp_path, budget=budget)
    # Then that says nothing against it
    assert outcome in (Probe(), Probe(Header("tiff", 1200, 1000, 0), outcome.memory))
    assert outcome.verdict is None
    assert far.count <= budget.bytes
    assert len(far.ranges) <= budget.reads


def test_no_time_left_is_no_verdict(tmp_path: Path) -> None:
    far = Far(noisy(tmp_path / "a.jpg", Q=100))
    assert look(far, tmp_path, budget=Budget(bytes=1 << 20, reads=64, seconds=0.0)) == Probe()
    assert far.ranges == []


def test_many_directories_cost_no_more_than_the_budget_and_the_first_is_told_all_the_same(tmp_path: Path) -> None:
    # Given a TIFF of a hundred pages all over the file
    tall = pyvips.Image.new_from_array(np.concatenate([pictures.noise(200, 200, seed=n) for n in range(100)]))
    tall.set_type(pyvips.GValue.gint_type, "page-height", 200)
    tall.write_to_file(str(tmp_path / "pages.tif"))
    far = Far((tmp_path / "pages.tif").read_bytes())
    # When its header is asked for, then nobody counts the pages to the end
    assert look(far, tmp_path).header == Header("tiff", 200, 200, 0)
    assert far.count <= BUDGET.bytes
    # And a page further on may be there
    assert look(far, tmp_path, page=99).verdict is None


def test_directories_in_a_ring_come_to_an_end() -> None:
    # Given a TIFF whose only directory names itself as the next one
    tags = [(256, 4, 70), (257, 4, 50), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 3500)]
    directory = len(tags).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + b"\1\0\0\0" + value.to_bytes(4, "little")
        for tag, kind, value in tags
    )
    at = 8 + 3500
    data = b"II*\0" + at.to_bytes(4, "little") + bytes(3500) + directory + at.to_bytes(4, "little")
    # When it is looked at, then it is of one page, and of its size
    found = look_here(data)
    assert isinstance(found, Found)
    assert found[:4] == ("tiff", 70, 50, 1)


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.kill(os.getpid(), 11)",
        "import sys; sys.exit(3)",
        "print('nonsense', flush=True)",
        'print(\'{"found": {"format": "jpeg", "width": -1, "height": 5, "pages": 1, "memory": 0}}\')',
        'print(\'{"found": {"format": "<b>", "width": 1, "height": 5, "pages": 1, "memory": 0}}\')',
        'print(\'{"found": {"format": "jpeg", "width": 1, "height": 5, "pages": 1.5, "memory": 0}}\')',
        'print(\'{"failed": {"code": "out_of_memory", "message": "none left"}}\')',
        'print(\'{"failed": {"code": "worker_died", "message": "ha"}}\')',
        'print(\'{"read": {"offset": -5, "length": 10}}\')',
        'print(\'{"read": {"offset": 5, "length": -10}}\')',
        "print('x' * 300000)",
        "print('[' * 50000)",
        'print(\'{"failed": {"code": "image_corrupt", "message": "half a character: \\\\ud800"}}\')',
        'print(\'{"read": {"offset": 1\' + "0" * 4000 + \', "length": 10}}\')',
    ],
)
def test_a_child_that_fails_or_lies_says_nothing_of_the_file(code: str, tmp_path: Path) -> None:
    # Given a child that crashed, or was taken over, when it says what it wants, then nothing is known
    far = Far(PADDING)
    assert look(far, tmp_path, code=code) == Probe()
    assert far.ranges == []


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    budget = Budget(bytes=1, reads=1, seconds=-4.5)
    assert look(Far(PADDING), tmp_path, budget=budget, code="import time; time.sleep(600)") == Probe()


def test_a_child_that_does_not_take_what_it_asked_for_is_ended(tmp_path: Path) -> None:
    code = 'import time; print(\'{"read": {"offset": 0, "length": 1000000}}\', flush=True); time.sleep(600)'
    budget = Budget(bytes=1 << 20, reads=9, seconds=-3.0)
    assert look(Far(PADDING), tmp_path, budget=budget, code=code) == Probe()


def test_the_reason_for_which_a_source_gives_nothing_is_passed_on(tmp_path: Path) -> None:
    class Stopping(Far):
        def read(self, first: int, end: int) -> bytes | None:
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        look(Stopping(PADDING), tmp_path)


def test_another_thread_can_end_it(tmp_path: Path) -> None:
    # Given a child that would wait for ever
    started = threading.Event()
    code = "import time; time.sleep(600)"

    def kill(child: object) -> None:
        threading.Thread(target=child.kill).start()  # type: ignore[attr-defined]  # the parent's Child
        started.set()

    # When another thread kills it, then the probe comes back
    command = (sys.executable, "-I", "-c", code)
    probed = probe(
        Far(PADDING), page=0, min_libvips="8.18.3", budget=BUDGET, folder=tmp_path, on_start=kill, command=command
    )
    assert started.is_set()
    assert probed == Probe()


def test_the_child_has_no_file_and_no_network(tmp_path: Path) -> None:
    # Given a child that has confined itself as the prober does, when it opens what it was not given
    (tmp_path / "secret").write_text("secret")
    code = f"""
import os, socket, sys
from pipeline.formats.probe import child as probe_child
from pipeline.sandbox import child
child.first_line()
def look(pyvips, blocks, *asked):
    found = []
    for attempt in (lambda: open({str(tmp_path / "secret")!r}), lambda: socket.socket(), lambda: os.fork()):
        try:
            attempt()
            found.append("free")
        except OSError:
            found.append("held")
    return probe_child.Failed("not_an_image", " ".join(found))
probe_child.find_header = look
child.say(probe_child.REPORTS.encode(probe_child._outcome(probe_child.Job(5, 0, "8.18.3"))))
child.end()
"""
    probed = look(Far(PADDING), tmp_path, code=code)
    # Then it cannot
    assert probed.verdict is not None
    assert probed.verdict.message == "held held held"
