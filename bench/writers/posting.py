"""Post files to a stack, and compare the tile of their finest level with another decoder."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import requests
from PIL import Image

from bench.writers.file import File
from tests.support.images.pictures import Pixels
from tilewright.client import Client

AT_ONCE = 32
"""Files posted before the first of them is waited for."""

LEVEL = 8
"""The finest level of an image of 129 to 256 pixels."""

TRUE_REFUSALS = {"unsupported_format", "not_an_image"}
"""Codes with which a whole file may be refused. Any other one says something about it that is not true."""


class Outcome(NamedTuple):
    """How a file ended.

    Parameters
    ----------
    wrong: what is wrong; empty if nothing is.
    code, message: of the refusal; empty if there was none.
    """

    file: File
    wrong: str = ""
    code: str = ""
    message: str = ""


def written(files: Iterable[File], folder: Path, most: int = 0) -> Iterator[tuple[File, Path]]:
    """Write files into a folder, and yield at most `most` that their writer supports; all of them if it is 0."""
    count = 0
    for number, file in enumerate(files):
        if most and count >= most:
            return
        path = folder / f"{number}.{file.ending}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file.write(path)
                file.expect(path)
        except Exception:  # noqa: BLE001  each writer has its own, and a file that its own reader fails at counts for none
            path.unlink(missing_ok=True)
            continue
        count += 1
        yield file, path


def outcomes(
    client: Client, url: str, files: Iterable[tuple[File, Path]], done: Callable[[int], None] = lambda _: None
) -> Iterator[Outcome]:
    """Post written files, many at once, and yield how each ended.

    Parameters
    ----------
    url: of the folder that the files are in.
    done: receives the number of files that ended.
    """
    count = 0
    rest = iter(files)
    while batch := list(islice(rest, AT_ONCE)):
        ids = [
            str(client.submit(f"{url}/{path.name}", file.name[:200], format="png")["dataset_id"])
            for file, path in batch
        ]
        for (file, path), dataset_id in zip(batch, ids, strict=True):
            last = list(client.watch(dataset_id, pause=0.05))[-1]
            count += 1
            done(count)
            if last["status"] == "failed":
                error = last["error"]
                wrong = "" if error["code"] in TRUE_REFUSALS else f"{error['code']}: {error['message']}"
                yield Outcome(file, wrong, error["code"], error["message"])
            else:
                yield Outcome(
                    file, _difference(file, path, f"{client.server}/tiles/{last['tile_info']['tile_id']}_files")
                )


def _difference(file: File, path: Path, tiles: str) -> str:
    """Return how the tile differs from what another decoder reads; empty if by no more than the file allows."""
    answer = requests.get(f"{tiles}/{LEVEL}/0_0.png", timeout=60)
    answer.raise_for_status()
    with Image.open(io.BytesIO(answer.content)) as image:
        found = _without_opaque_alpha(np.asarray(image))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _without_opaque_alpha(file.expect(path))
    if found.shape != expected.shape:
        return f"{found.shape} instead of {expected.shape}"
    distance = np.abs(found.astype(float) - expected)
    if found.shape[2] == 4:
        distance[(found[..., 3] == 0) & (expected[..., 3] == 0)] = 0
    if distance.max() <= file.near and distance.mean() <= file.mean:
        return ""
    return f"differs by up to {distance.max():g}, by {distance.mean():.2f} in the mean"


def _without_opaque_alpha(pixels: Pixels) -> Pixels:
    return pixels[..., :3] if pixels.shape[2] == 4 and pixels[..., 3].min() == 255 else pixels
