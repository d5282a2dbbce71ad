"""Find out which formats can be read on this machine, by reading a small sample of each in a separate process.

`python -I -m tiler.readable_formats` prints the result, so that the calling process need not load libvips.
"""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from tempfile import NamedTemporaryFile

PATIENCE = 20
"""Seconds to wait for the process. Reading all samples takes a tenth of a second."""

SAMPLES = {
    "JPEG": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////////////"
        "////////////////2wBDAVVaWnhpeOuCguv/////////////////////////////////////////////////////////////////////"
        "////wAARCAABAAEDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAA"
        "AAAAAAAAAAAAAwT/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCQA1j/2Q=="
    ),
    "PNG": ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"),
    "GIF": ("R0lGODdhAQABAIEAAP8AAAAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="),
    "WebP": ("UklGRhwAAABXRUJQVlA4TA8AAAAvAAAAAAcQ/Y/+ByKi/wEA"),
    "TIFF": (
        "SUkqAAgAAAAKAAABBAABAAAAAQAAAAEBBAABAAAAAQAAAAIBAwADAAAAhgAAAAMBAwABAAAAAQAAAAYBAwABAAAAAgAAABEBBAABAAAA"
        "jAAAABUBAwABAAAAAwAAABYBBAABAAAAAQAAABcBBAABAAAAAwAAABwBAwABAAAAAQAAAAAAAAAIAAgACAD/AAA="
    ),
    "TIFF compressed by zstd": (
        "SUkqAAgAAAAIAAABBAABAAAAAQAAAAEBBAABAAAAAQAAAAIBAwABAAAACAAAAAMBAwABAAAAUMMAAAYBAwABAAAAAQAAABEBBAABAAAA"
        "bgAAABUBAwABAAAAAQAAABcBBAABAAAACgAAAAAAAAAotS/9IAEJAAD/"
    ),
    "AVIF": (
        "AAAAHGZ0eXBhdmlmAAAAAG1pZjFhdmlmbWlhZgAAANZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
        "bG9jAAAAAERAAAEAAQAAAAAA+gABAAAAAAAAACgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABhdjAxAAAAAA5waXRtAAAAAAAB"
        "AAAAVmlwcnAAAAA4aXBjbwAAAAxhdjFDgQAMAAAAABRpc3BlAAAAAAAAAAgAAAAIAAAAEHBpeGkAAAAAAwgICAAAABZpcG1hAAAAAAAA"
        "AAEAAQOBAgMAAAAwbWRhdBIACggYCL9ogIaDQjIaGUeHhiGHnnnmgkAAkEER1USVmc3d9hHwNfY="
    ),
    "HEIC": (
        "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
        "bG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAADwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
        "AAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
        "AQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAU"
        "aXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlw"
        "bWEAAAAAAAAAAQABBYECAwWEAAAARG1kYXQAAAA4KAGvEyFwk0DlMPv+P0/JU+/JsKp/AGCMl9S1evnh95VU9/Awu8ASvLid6NStG4lw"
        "z0CP3ByuQyg="
    ),
    "BMP": "Qk06AAAAAAAAADYAAAAoAAAAAQAAAAEAAAABABgAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAD/AA==",
    "PNM": "UDYgMSAxIDI1NQr/AAA=",
    "TGA": "AAACAAAAAAAAAAAAAQABABggAAD/",
    "ZIP": (
        "UEsDBBQAAAAIAAAAIQCBuzf8DgAAAA4AAAABAAAAYQswUzAEQiNTU67/DAwAUEsBAhQDFAAAAAgAAAAhAIG7N/wOAAAADgAAAAEAAAAAAAAAAAAA"
        "AIABAAAAAGFQSwUGAAAAAAEAAQAvAAAALQAAAAAA"
    ),
    "gzip": "H4sIAAAAAAACAwswUzAEQiNTU67/DAwAgbs3/A4AAAA=",
}
"""A file of a few pixels for each format of pipeline.source_formats, in base64. The archives contain the PNM. Codecs
that some installations lack have their own entry: zstd in TIFF."""


class Unasked(Exception):
    """Raised if the readable formats cannot be determined; its text says why."""


def readable() -> dict[str, bool]:
    """Return for each of SAMPLES whether it can be read here.

    Raises
    ------
    Unasked: if libvips cannot be loaded, or crashes.
    """
    try:
        said = subprocess.run(
            (sys.executable, "-I", "-m", "tiler.readable_formats"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        raise Unasked(words.splitlines()[-1] if words else str(error)) from error
    found: dict[str, bool] = json.loads(said.stdout)
    return found


def announce(logger: logging.Logger) -> None:
    """Log the readable formats, when a worker starts."""
    try:
        found = readable()
    except Unasked as error:
        logger.warning("cannot determine which formats are readable: %s", error)
        return
    lacking = ", ".join(name for name, read in found.items() if not read)
    logger.info(
        "reads %s%s", ", ".join(name for name, read in found.items() if read), f"; not {lacking}" * bool(lacking)
    )


def _main() -> None:
    import pyvips  # noqa: PLC0415  # only in the separate process

    from pipeline.errors import StageError  # noqa: PLC0415
    from pipeline.formats.archives import find  # noqa: PLC0415
    from pipeline.formats.signatures import archive_kind  # noqa: PLC0415
    from tiler.decode import reader_of  # noqa: PLC0415

    def reads(sample: str) -> bool:
        data = b64decode(sample)
        with NamedTemporaryFile() as file:
            file.writelines(find(io.BytesIO(data), "").image() if archive_kind(data) else [data])
            file.flush()
            try:
                reader_of(Path(file.name)).open().avg()
            except (pyvips.Error, StageError):
                return False
            return True

    sys.stdout.write(json.dumps({name: reads(sample) for name, sample in SAMPLES.items()}))


if __name__ == "__main__":
    _main()
