"""The tiler: a worker that starts a confined child process to turn a stored source into a pyramid.

Imports `pipeline`. Its subpackages: `decode` reads sources, `build` writes pyramids, `compare` verifies them.
"""
