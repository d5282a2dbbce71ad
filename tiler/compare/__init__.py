"""Compare a stored pyramid with its source, for `tilewright verify --source`.

Imports the rest of the tiler. `parent` starts a child process; `child` and `comparison` run in it; `protocol` defines
their messages.
"""
