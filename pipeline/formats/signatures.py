"""Every first bytes by which a file is known: those of images, and those of files that are certainly none.

The signatures of images are those that libvips' loaders check; the specifications' are longer. The kind has to agree
with the loader that libvips chooses, since the kind decides how strictly a file is read. Pure functions.
"""

from __future__ import annotations

import re

from pipeline.formats import tga_header

_IMAGES = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"IIU\0", "rw2"),
    (b"IIRO", "orf"),
    (b"IIRS", "orf"),
    (b"MMOR", "orf"),
    (b"FUJIFILMCCD-RAW", "raf"),
    (b"FOVb", "x3f"),
    (b"\0MRM", "mrw"),
    (b"II\x1a\0\0\0HEAPCCDR", "crw"),
    (b"GIF8", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"II\xbc\x01", "jxr"),
    (b"qoif", "qoi"),
    (b"8BPS", "psd"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"SIMPLE  =", "fits"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"/* XPM", "xpm"),
)
"""What the bytes begin with, and the kind of image."""

PDF = b"%PDF-"
ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b"
TILE_SET = b"\x89TWTILE\n"
"""Begins the file of pipeline.formats.tile_sets."""

ARCHIVE_HEAD = 8
"""Bytes by which an archive is known."""

ZSTD = b"\x28\xb5\x2f\xfd"

_OTHERS = (
    (PDF, "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (ZIP, "a ZIP archive or an Office document"),
    (GZIP, "a gzip file"),
    (b"ID3", "an MP3 recording"),
    (b"\xff\xfb", "an MP3 recording"),
    (b"\xff\xf3", "an MP3 recording"),
    (b"\xff\xf2", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
    (b"OggS", "an Ogg recording or video"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b"\x00\x00\x01\xba", "an MPEG video"),
    (b"\x00\x00\x01\xb3", "an MPEG video"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
)
"""What the bytes of files other than images begin with, and how a message names such a file."""

_PACKED = (
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"PK\x07\x08", "a part of a ZIP archive in several parts"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x5d\0\0\x80\0", "an LZMA file"),
    (b"\x5d\0\0\0\x04", "an LZMA file"),
    (b"LZIP", "an lzip file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (ZSTD, "a Zstandard file"),
    (b"\x1f\x9d", "a file of compress (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"MSCF\0\0\0\0", "a cabinet archive (CAB)"),
    (b"!<arch>\n", "an ar archive"),
    (b"070701", "a cpio archive"),
    (b"070707", "a cpio archive"),
    (b"xar!", "an xar archive"),
)
"""What archives and compressed files begin with that are not unpacked, and how a message names them."""

_ZSTD_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""A frame without data, which may come first in a Zstandard file."""

_LHA = re.compile(rb"..-l[hz][0-9ds]-", re.DOTALL)
_TAR_BLOCK, _TAR_SUM = 512, slice(148, 156)

_CR2 = re.compile(rb"II\*\0.{4}CR\x02\0", re.DOTALL)
_IIQ = re.compile(rb"II\*\0.{4}IIII.waR|MM\0\*.{4}MMMMRaw.", re.DOTALL)
_PNM = re.compile(rb"P[1-6Ff]\s+[\d#]|P7\n(?:#|WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)")
_BMP = re.compile(rb"BM.{12}[\x0c\x10\x18\x20\x28\x30\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
"""With the length of the second header, since two letters begin many a text."""

_APPLICATIONS = re.compile(rb"\xff[\xe0-\xef\xfe]")
"""The markers of a JPEG's segments for applications, and of comments."""

_RIFF = {b"WAVE": "a WAV recording", b"AVI ": "an AVI video"}

_IMAGE_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"miaf"}
    | {b"jp2 ", b"jpx ", b"jxl ", b"crx "}
)
"""Brands of ISO media files that hold images: HEIF, AVIF, JPEG 2000, JPEG XL, and raw photographs."""

_FILM_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"dash", b"M4V", b"M4A", b"M4P", b"qt  ", b"3g", b"f4v", b"mmp4")


def image_kind(head: bytes) -> str:
    """Return the kind of image that the bytes begin, or "": see pipeline.formats.kinds.kind_of. SVG is text."""
    if _CR2.match(head):
        return "cr2"
    if _IIQ.match(head):
        return "iiq"
    for signature, kind in _IMAGES:
        if head.startswith(signature):
            return "jls" if kind == "jpeg" and _is_jpeg_ls(head) else kind
    if head.startswith(b"RIFF"):
        return "webp" if head[8:12] == b"WEBP" else ""
    if head[4:8] == b"ftyp":
        return "cr3" if head[8:12] == b"crx " else "heif"
    if _PNM.match(head):
        return "pnm"
    if _BMP.match(head):
        return "bmp"
    return "tga" if tga_header.is_header(head) else ""


def _is_jpeg_ls(head: bytes) -> bool:
    """Return whether the first segment of a JPEG that is neither a comment nor an application's is JPEG-LS's header."""
    at = 2
    while _APPLICATIONS.match(head, at):
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return head[at : at + 2] == b"\xff\xf7"


def archive_kind(head: bytes) -> str:
    """Return "zip", "gzip" or "tiles" (pipeline.formats.tile_sets) if the bytes begin what is unpacked, or ""."""
    if head.startswith(ZIP):
        return "zip"
    if head.startswith(TILE_SET):
        return "tiles"
    return "gzip" if head.startswith(GZIP) else ""


def other_kind(head: bytes) -> str:
    """Return how a message names the well-known format other than images that the bytes begin, or ""."""
    for signature, name in _OTHERS:
        if head.startswith(signature):
            return name
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    return packed_kind(head)


def packed_kind(head: bytes) -> str:
    """Return how a message names the archive or compressed file that is not unpacked, or "".

    A TAR of old programs is known by the checksum of its first 512 bytes.
    """
    for signature, name in _PACKED:
        if head.startswith(signature):
            return name
    if _ZSTD_SKIPPED.match(head):
        return "a Zstandard file"
    if _LHA.match(head):
        return "an LHA archive"
    return "a TAR archive" if head[257:262] == b"ustar" or _is_tar(head[:_TAR_BLOCK]) else ""


def _is_tar(block: bytes) -> bool:
    stated = block[_TAR_SUM].strip(b" \0")
    if len(block) < _TAR_BLOCK or not block[0] or not stated.isdigit() or max(stated) > ord("7"):
        return False
    return int(stated, 8) == sum(block) - sum(block[_TAR_SUM]) + 8 * ord(" ")


def _iso_media(head: bytes) -> str:
    """Return the name of a video, unless any brand in the first box (ISO/IEC 14496-12 §4.3) is an image format's."""
    box = head[: int.from_bytes(head[:4], "big")]
    brands = {box[8:12], *(box[start : start + 4] for start in range(16, len(box), 4))}
    if brands & _IMAGE_BRANDS or not box[8:12].startswith(_FILM_BRANDS):
        return ""
    return "a video or recording (MP4 or QuickTime)"
