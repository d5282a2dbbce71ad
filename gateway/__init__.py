"""The HTTP side: REST, tiles, the web page, and the relay that publishes wake-ups.

Imports `pipeline`, and never libvips. Its rooms: `api`, `rpc`, `tiles`, `http`, `storage` and `background`.
"""
