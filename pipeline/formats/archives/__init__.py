"""Find the image in a ZIP archive or a gzip file. The names in an archive are texts to compare, never paths.

Imports `pipeline`. The tiler uses it, and the probe, which has only parts of an archive: both find the same image.
Others import what is listed here.
"""

from pipeline.formats.archives.find import NO_ARCHIVE, beside, find
from pipeline.formats.archives.limits import FREE_BYTES, MOST_DIRECTORY, MOST_FILES, most_unpacked, too_large
from pipeline.formats.archives.member import Member, Withheld

__all__ = [
    "FREE_BYTES",
    "MOST_DIRECTORY",
    "MOST_FILES",
    "NO_ARCHIVE",
    "Member",
    "Withheld",
    "beside",
    "find",
    "most_unpacked",
    "too_large",
]
