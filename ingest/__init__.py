"""The ingest and inspect workers: they download what a URL leads to, and connect to permitted addresses only.

Imports `pipeline`. Packages: `http` and `download`.
"""
