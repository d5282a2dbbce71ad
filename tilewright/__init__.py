"""The front door: the `tilewright` command, a REST client, and the whole system in one process.

Imports every service. Its rooms: `commands` and `embedded`.
"""
