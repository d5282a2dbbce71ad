"""The gateway's way to storage: threads of its own, and whether it is the right one and has room.

Imports `pipeline`.
"""
