"""Readers for the formats that libvips does not read well on its own: a module each, or a package for a larger one.

Each reader derives from tiler.decode.reader.Reader and is listed in tiler.decode.registry, the only module that
imports it. Large libraries are loaded in `prepare`, so that files of other formats do not wait for them.
"""
