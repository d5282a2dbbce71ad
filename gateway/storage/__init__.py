"""The gateway's access to storage: threads for blocking calls, and checks that the storage is usable.

Imports `pipeline`.
"""
