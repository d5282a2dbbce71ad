"""Tiles and descriptors out of stored pyramids: Deep Zoom, XYZ, IIIF, each from one positioned read.

Imports `gateway.http`, `gateway.storage` and `pipeline`.
"""
