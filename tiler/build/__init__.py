"""From decoded pixels to the files of a pyramid: tiles, index, edge tiles, thumbnail, preview.

Imports `tiler.decode` and `pipeline`. Loads libvips: only children may import it.
"""
