"""The tiler: a worker that has a confined child turn a stored source into a pyramid.

Imports `pipeline`. Its rooms: `decode`, `build` and `compare`.
"""
