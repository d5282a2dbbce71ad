"""Inspect image files without decoding them: kinds, headers, TIFF directories, limits.

Imports `pipeline.pyramids` and `pipeline.sandbox`. The gateway and statussvc never import this package. Its modules are
imported by name, because some of them load libvips. `tiff` and `probe` are packages with a façade each.
"""
