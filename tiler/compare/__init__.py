"""Compares a stored pyramid with its source, for `tilewright verify --source`.

Imports the rest of the tiler. `parent` starts the child; the other modules run in it.
"""
