"""One image in a ZIP archive or a gzip file, by the whole system; and what is refused of such files."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import tifffile

from tests.acceptance import jobs
from tests.acceptance.conftest import Command
from tests.support.images import pictures
from tests.support.images.pictures import Pixels
from tests.support.network.sources import SourceServer
from tilewright.client import Client, Problem
from tilewright.embedded import LaunchedStack

EARTH = pictures.scene(200, 150)
OTHER = pictures.scene(140, 130, seed=5)


def tiff(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb")
    return file.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(300)


def named_gzip(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=file) as archive:
        archive.write(data)
    return file.getvalue()


def tar(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


BESIDE = {"earth.tfw": b"0.1\n0\n0\n-0.1\n-180\n90\n", "README.txt": b"Public domain.\n", "more/": b""}
TWO = {"a/earth.tif": tiff(EARTH), "b/other.tif": tiff(OTHER), "README.txt": b"Two.\n"}


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 20]) + data[middle + 20 :]


def encrypted(data: bytes) -> bytes:
    """The same archive, marked as encrypted in both of its headers."""
    marked = bytearray(data)
    marked[6] |= 1
    marked[data.rindex(b"PK\1\2") + 8] |= 1
    return bytes(marked)


READ = {
    "earth.zip": zipped({"earth.tif": tiff(EARTH), **BESIDE}),
    "stored.zip": zipped({**BESIDE, "earth.tif": tiff(EARTH)}, zipfile.ZIP_STORED),
    "sidecars.zip": zipped({"earth.tif.ovr": tiff(OTHER), "earth.tif": tiff(EARTH), "earth.tif.msk": tiff(OTHER)}),
    "path.zip": zipped({"../../../../tmp/earth.tif": tiff(EARTH)}),
    "earth.tif.gz": gzip.compress(tiff(EARTH)),
    "two-parts.gz": gzip.compress(tiff(EARTH)[:50_000]) + gzip.compress(tiff(EARTH)[50_000:]) + b"\0" * 9,
}

REFUSED = {
    "two.zip": (zipped(TWO), "member_not_found", "a/earth.tif, b/other.tif"),
    "none.zip": (zipped(BESIDE), "not_an_image", "no image among its 2 files"),
    "empty.zip": (zipped({}), "unsupported_format", "an empty ZIP archive"),
    "nested.zip": (zipped({"inner.zip": READ["earth.zip"]}), "unsupported_format", "another archive, inner.zip,"),
    "tar.zip": (zipped({"inner.tar": tar("a.tif", tiff(EARTH))}), "unsupported_format", "another archive, inner.tar,"),
    "earth.tar": (
        tar("a.tif", tiff(EARTH)),
        "unsupported_format",
        "a TAR archive. Of archives and compressed files, ZIP",
    ),
    "earth.tar.gz": (gzip.compress(tar("a.tif", tiff(EARTH))), "unsupported_format", "is a TAR archive, not an image"),
    "earth.tif.xz": (
        lzma.compress(tiff(EARTH)),
        "unsupported_format",
        "an xz file. Of archives and compressed files, ZIP",
    ),
    "earth.tif.bz2": (bz2.compress(tiff(EARTH)), "unsupported_format", "a bzip2 file. Of archives"),
    "earth.tif.zst": (b"\x28\xb5\x2f\xfd" + bytes(3000), "unsupported_format", "a Zstandard file. Of archives"),
    "earth.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(3000), "unsupported_format", "a 7z archive. Of archives"),
    "earth.rar": (b"Rar!\x1a\x07\x01\x00" + bytes(3000), "unsupported_format", "a RAR archive. Of archives"),
    "nested.gz": (
        gzip.compress(READ["earth.tif.gz"]),
        "unsupported_format",
        "The content of the gzip file is a gzip file, not an image",
    ),
    "letter.docx": (
        zipped({"[Content_Types].xml": b"<x/>", "word/media/image1.tif": tiff(EARTH)}),
        "unsupported_format",
        "an Office document",
    ),
    "text.gz": (gzip.compress(b"only words " * 1000), "not_an_image", "The content of the gzip file is no image"),
    "lzma.zip": (
        zipped({"a.tif": tiff(EARTH)}, zipfile.ZIP_LZMA),
        "unsupported_format",
        "compressed by LZMA (method 14)",
    ),
    "secret.zip": (encrypted(zipped({"a.tif": tiff(EARTH)})), "unsupported_format", "a.tif in the ZIP archive is encr"),
    "cut.zip": (READ["earth.zip"][:-200], "image_truncated", "ends early"),
    "cut.gz": (READ["earth.tif.gz"][:-200], "image_truncated", "ends early"),
    "damaged.zip": (damaged(READ["earth.zip"]), "image_corrupt", "earth.tif in the ZIP archive is damaged"),
    "damaged-stored.zip": (
        damaged(READ["stored.zip"]),
        "image_corrupt",
        "earth.tif in the ZIP archive is damaged (Bad CRC",
    ),
    "damaged.gz": (damaged(READ["earth.tif.gz"]), "image_corrupt", "The content of the gzip file is damaged"),
    # The image itself is damaged, of a kind that is not read, too large or has no such page: the message names the file
    "cut-image.zip": (
        zipped({"scans/cut.tif": tiff(EARTH)[:20_000], **BESIDE}),
        "image_truncated",
        "scans/cut.tif in the ZIP archive: The image file ends",
    ),
    "kind.zip": (zipped({"a.jp2": JP2}), "unsupported_format", "a.jp2 in the ZIP archive: JPEG 2000 is not supp"),
    "named.gz": (named_gzip("cut.tif", tiff(EARTH)[:20_000]), "image_truncated", "cut.tif in the gzip file: The"),
    "bomb.zip": (
        zipped({"bomb.bmp": b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + bytes(300 << 20)}),
        "image_too_large",
        "bomb.bmp in the ZIP archive (",
    ),
}


@pytest.fixture
def served(files: SourceServer, tmp_path: Path) -> SourceServer:
    for name, data in READ.items():
        (tmp_path / name).write_bytes(data)
    for name, (data, _, _) in REFUSED.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "plain.tif").write_bytes(tiff(EARTH))
    return files


def test_the_one_image_of_an_archive_is_shown(
    client: Client, served: SourceServer, shown: Callable[..., Pixels], command: Command, stack: LaunchedStack
) -> None:
    # Given archives with an image beside other files, under any name
    ids = {name: jobs.as_png(client, served.url(f"/{name}")) for name in READ}
    for name, dataset_id in ids.items():
        # When they are posted, then the image is shown
        info = jobs.ready(client, dataset_id)
        assert np.array_equal(shown(info["tile_id"]), EARTH), name
        # And the description says which it was; the SHA-256 is the archive's, by which the original is found again
        [path] = stack.data.glob(f"storage/pyramids/{info['tile_id']}/*/pyramid.json")
        source = json.loads(path.read_text())["source"]
        assert source["archive"] == ("gzip" if name.endswith(".gz") else "zip")
    ended = command("verify", ids["earth.zip"], "--source", "--data", str(stack.data))
    assert (ended.code, "1 match the original" in ended.out) == (0, True), ended


def test_member_chooses_one_of_several_images(
    client: Client, served: SourceServer, shown: Callable[..., Pixels], command: Command, stack: LaunchedStack
) -> None:
    made = {name: client.submit(served.url("/two.zip"), "Two", format="png", member=name) for name in list(TWO)[:2]}
    infos = {name: jobs.ready(client, str(dataset["dataset_id"])) for name, dataset in made.items()}
    assert np.array_equal(shown(infos["a/earth.tif"]["tile_id"]), EARTH)
    assert np.array_equal(shown(infos["b/other.tif"]["tile_id"]), OTHER)
    dataset_id = str(made["b/other.tif"]["dataset_id"])
    ended = command("verify", dataset_id, "--source", "--data", str(stack.data))
    assert (ended.code, "1 match the original" in ended.out) == (0, True), ended
    # And by the command
    ended = command("submit", served.url("/two.zip"), "--name", "Two", "--member", "a/earth.tif", "--wait")
    assert ended.code == 0, ended
    # When there is no such file, or no archive, then the message says so
    for name, member, words in [
        ("two.zip", "earth.tif", "no file earth.tif. Choose one by `member`: a/earth.tif, b/other.tif."),
        ("two.zip", "README.txt", "README.txt in the ZIP archive is no image"),
        ("earth.tif.gz", "earth.tif", "leave out `member`"),
        ("plain.tif", "earth.tif", "leave out `member`"),
    ]:
        made_id = str(client.submit(served.url(f"/{name}"), "Two", member=member)["dataset_id"])
        error = jobs.finish(client, made_id)["error"]
        assert words in error["message"], (name, error)
        assert error["code"] in {"member_not_found", "not_an_image"}
    with pytest.raises(Problem):
        client.submit(served.url("/two.zip"), "Two", member="x" * 1001)


def test_an_inspection_takes_the_member(
    client: Client, served: SourceServer, command: Command, stack: LaunchedStack
) -> None:
    (height, width), (other_height, other_width) = EARTH.shape[:2], OTHER.shape[:2]
    url = served.url("/two.zip")
    # Given an archive of several images, then its inspection lists them
    assert "a/earth.tif, b/other.tif" in client.inspect(url)["report"]["refused"]["message"]
    # When one is chosen, then that one is inspected
    for member, size in (("a/earth.tif", (width, height)), ("b/other.tif", (other_width, other_height))):
        report = client.inspect(url, member)["report"]
        assert (report["source"]["width"], report["source"]["height"]) == size
        assert report["refused"] is None
    ended = command("inspect", url, "--member", "b/other.tif")
    assert (ended.code, f"{other_width:,} x {other_height:,} pixels" in ended.out) == (0, True), ended
    # And no such file, no archive, and no name at all are told as for a dataset
    for name, words in (("two.zip", "no file c.tif. Choose one by"), ("plain.tif", "leave out `member`")):
        assert words in client.inspect(served.url(f"/{name}"), "c.tif")["report"]["refused"]["message"]
    for wrong in ("x" * 1001, 1, ["a"]):
        answer = requests.post(f"{stack.url}/api/inspections", json={"url": url, "member": wrong}, timeout=30)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/member")
    answer = requests.post(f"{stack.url}/api/inspections", json={"url": url, "member": None}, timeout=30)
    assert answer.status_code == 202


def test_an_archive_that_is_damaged_or_has_no_one_image_fails_with_its_reason(
    client: Client, served: SourceServer
) -> None:
    ids = {name: jobs.as_png(client, served.url(f"/{name}")) for name in REFUSED}
    for name, (_, code, words) in REFUSED.items():
        last = jobs.finish(client, ids[name])
        assert last["status"] == "failed", name
        assert last["error"]["code"] == code, (name, last["error"])
        assert words in last["error"]["message"], (name, last["error"])


def test_the_image_of_a_large_archive_is_known_before_it_is_downloaded(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given archives of some megabytes
    noise = tiff(pictures.noise(900, 800))
    two = zipped({"a.tif": noise, "b.tif": noise})
    known = {
        "deflated.zip": zipped({"earth.tif": noise, **BESIDE}),
        "stored.zip": zipped({**BESIDE, "earth.tif": noise}, zipfile.ZIP_STORED),
        "earth.tif.gz": gzip.compress(noise),
    }
    refused = {
        "two.zip": (two, "member_not_found", "Choose one by `member`: a.tif, b.tif."),
        "secret.zip": (
            encrypted(zipped({"a.tif": noise})),
            "unsupported_format",
            "a.tif in the ZIP archive is encrypted",
        ),
        "nested.zip": (zipped({"inner.zip": two}), "unsupported_format", "another archive, inner.zip,"),
        "lzma.zip": (zipped({"a.tif": noise}, zipfile.ZIP_LZMA), "unsupported_format", "compressed by LZMA"),
        "kind.gz": (named_gzip("a.jp2", JP2 + noise), "unsupported_format", "a.jp2 in the gzip file: JPEG 2000"),
    }
    for name, data in (known | {name: data for name, (data, _, _) in refused.items()}).items():
        (tmp_path / name).write_bytes(data)
    # When they are inspected, then format and size are known, and little was fetched
    for name in known:
        report = client.inspect(files.url(f"/{name}"))["report"]
        # The end of a gzip file's content is unknown, so that of a TIFF as much is read as for any header
        assert report["fetched_bytes"] < (2_200_000 if name.endswith("gz") else 500_000) < 3 * report["bytes"], name
        assert (report["source"]["format"], report["source"]["width"], report["levels"]) == ("tiff", 900, 11), name
        assert report["refused"] is None, name
    # When one is posted that cannot be tiled, then it fails with its reason before it is downloaded
    for name, (_, code, words) in refused.items():
        *seen, last = client.watch(jobs.as_png(client, files.url(f"/{name}")), pause=jobs.LOOK)
        assert (last["status"], last["error"]["code"], words in last["error"]["message"]) == ("failed", code, True), (
            last
        )
        assert {status["state"] for status in seen} <= {"QUEUED", "DOWNLOADING"}, name
        # And an inspection says the same
        told = client.inspect(files.url(f"/{name}"))["report"]["refused"]
        assert (told["code"], told["message"]) == (code, last["error"]["message"])
