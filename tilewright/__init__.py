"""The `tilewright` command, a REST client, and the whole system in one process.

`commands` has the commands and `embedded` the system in one process. This package may import every service.
"""
