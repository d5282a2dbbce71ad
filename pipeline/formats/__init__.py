"""Inspect image files without decoding them: kinds, headers, TIFF directories, limits.

Imports `pipeline.pyramids` and `pipeline.sandbox`. The gateway and statussvc never import this package.
"""
