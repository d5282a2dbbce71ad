"""Where sources and pyramids lie: keys, a directory, and the mark by which a storage is known.

Imports nothing of this project but errors and texts.
"""

from pipeline.storage.directory import DirectoryStorage, Storage, pyramid_key, require_room, source_key
from pipeline.storage.mark import StorageMark
from pipeline.storage.writeback import sync, written_back

__all__ = [
    "DirectoryStorage",
    "Storage",
    "StorageMark",
    "pyramid_key",
    "require_room",
    "source_key",
    "sync",
    "written_back",
]
