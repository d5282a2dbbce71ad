"""From a source file to upright 8-bit sRGB: readers for what libvips does not read well, colours, damage.

Imports `pipeline` and the tiler's progress meter. Loads libvips: only children may import it.
"""
