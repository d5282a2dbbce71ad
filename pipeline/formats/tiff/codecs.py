"""The compressions of a TIFF that are supported, and the names of the others. Pure functions.

The supported ones are the same on every machine: those that the libtiff of `pyvips-binary` decodes with a report of
damage, and zstd and LZMA, which tiler.decode.readers.tiff.recoded decodes.
Sources: tiff.h of libtiff, TIFF 6.0, technical notes of Adobe and others.
"""

from __future__ import annotations

from pipeline.errors import StageError
from pipeline.formats.tiff.directory import Directory, Tag

READ = {
    1: "no compression",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate (old number)",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
}
"""Supported compressions by their number in Tag.COMPRESSION."""

LACKING = {
    6: "old-style JPEG",
    9: "JBIG (T.85)",
    10: "JBIG (T.43)",
    99: "JPEG (Leaf)",
    103: "IMPACJ",
    262: "Kodak 262",
    22610: "JPEG XR (Hamamatsu NDPI)",
    32766: "NeXT",  # its decoder fills a strip that ends early with white rows
    32767: "Sony ARW",
    32769: "packed raw samples",
    32770: "Samsung SRW",
    32772: "Samsung SRW",
    32771: "CCITT RLE in words",  # libtiff cannot read its own files
    32809: "ThunderScan",  # libtiff reads it in strips only
    32895: "IT8 CT with padding",
    32896: "IT8 linework",
    32897: "IT8 monochrome",
    32898: "IT8 binary line art",
    32908: "PixarFilm",
    32909: "PixarLog",
    32947: "Kodak DCS",
    33003: "JPEG 2000 (Aperio, YCbCr)",
    33004: "JPEG 2000 (lossy)",
    33005: "JPEG 2000 (Aperio, RGB)",
    33007: "JPEG (alternative number)",
    34661: "JBIG",
    34676: "SGI LogLuv",  # any bytes decode without an error, and there is no other reader to compare with
    34677: "SGI LogLuv, 24 bits",
    34692: "LuraDocument",
    34712: "JPEG 2000",
    34713: "Nikon NEF",
    34715: "JBIG2",
    34718: "Microsoft Document Imaging, binary",
    34719: "Microsoft Document Imaging, progressive",
    34720: "Microsoft Document Imaging, vector",
    34887: "LERC",
    34892: "JPEG (DNG, lossy)",
    34926: "Zstandard (old number)",
    34927: "WebP (old number)",
    34933: "PNG",
    34934: "JPEG XR",
    48124: "Jetraw",
    50002: "JPEG XL",
    50013: "PIXTIFF",
    52546: "JPEG XL (DNG)",
    65000: "EER",
    65001: "EER",
    65002: "EER",
    65535: "Pentax PEF",
}
"""Names of compressions that other programs write, and that are not supported."""


def require_read(directory: Directory) -> None:
    """Raise StageError("unsupported_format") if a page's compression is not supported. The message names it.

    Raises
    ------
    struct.error: if the file ends within the directory's values.
    """
    # A value of an unusual type counts as unsupported, although libtiff may read it.
    number = directory.value(Tag.COMPRESSION, 0 if Tag.COMPRESSION in directory.entries else 1)
    if number not in READ:
        name = LACKING.get(number, "an unknown method")
        raise StageError(
            "unsupported_format",
            f"The TIFF is compressed with {name} (compression {number}), which is not supported. Save it with LZW, "
            "deflate or JPEG compression, or with none.",
        )
