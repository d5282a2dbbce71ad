"""The HTTP service: REST API, tiles, web page, and the relay that publishes wake-ups.

Imports `pipeline`, but never libvips. Packages: `api`, `rpc`, `tiles`, `http`, `storage` and `background`.
"""
