"""What a TIFF's directories say, read without a decoder: entries, layout, codecs, colours, raw photographs.

Imports `pipeline.errors` and the limits of `pipeline.formats`. Pure functions on an open file.
"""

from pipeline.formats.tiff.directory import NATIVE, PLACES, REDUCED, Directory, Entry, File, Tag, directories, find

__all__ = ["NATIVE", "PLACES", "REDUCED", "Directory", "Entry", "File", "Tag", "directories", "find"]
