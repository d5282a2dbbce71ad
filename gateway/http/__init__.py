"""Handling that all HTTP requests share: limits, origins, request ids, conditional requests, problems.

Imports `pipeline` only.
"""
