"""The ingest and inspect workers: fetch what a URL leads to, and nothing that a URL must not reach.

Imports `pipeline`. Its rooms: `http` and `download`.
"""
