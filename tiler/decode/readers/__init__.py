"""One reader for each format that libvips does not read well by itself: a module, or a package where it takes several.

Each derives from tiler.decode.reader.Reader and is listed in tiler.decode.registry; nothing else imports one. What a
reader needs a large library for is loaded by its `prepare`, so that other files do not wait for it.
"""
