"""Compare a stored pyramid with its source, for `tilewright verify --source`.

Imports the rest of the tiler. Others use `parent`, which starts a child process, and `protocol`, which defines the
messages. `child` and `comparison` run in the child, which starts quickly because this package loads nothing itself.
"""
