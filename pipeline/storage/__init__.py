"""Storage of sources and pyramids: its keys, a directory that implements it, and the mark that identifies it.

Imports only `errors` and `texts` of this project. Everyone else imports what is listed here.
"""

from pipeline.storage.directory import DirectoryStorage, Storage, pyramid_folder, pyramid_key, require_room, source_key
from pipeline.storage.mark import StorageMark
from pipeline.storage.writeback import sync, written_back

__all__ = [
    "DirectoryStorage",
    "Storage",
    "StorageMark",
    "pyramid_folder",
    "pyramid_key",
    "require_room",
    "source_key",
    "sync",
    "written_back",
]
