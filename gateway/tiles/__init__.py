"""Serve tiles and descriptors from stored pyramids as Deep Zoom, XYZ and IIIF. A tile takes one positioned read.

Imports `gateway.http`, `gateway.storage` and `pipeline`.
"""
