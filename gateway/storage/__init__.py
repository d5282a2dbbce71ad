"""The gateway's access to storage: threads for blocking calls, and checks that the storage is usable.

Imports `pipeline`. The rest of the gateway imports what is listed here.
"""

from gateway.storage.threads import StorageThreads
from gateway.storage.watch import StorageWatch

__all__ = [
    "StorageThreads",
    "StorageWatch",
]
