"""Write the files of a pyramid from decoded pixels: tiles, index, edge tiles, thumbnail, preview.

Imports `tiler.decode` and `pipeline`. It loads libvips, so only child processes may import it.
"""
