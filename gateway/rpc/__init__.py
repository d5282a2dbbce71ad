"""Rpcs to statussvc: deadlines, concurrency and rate.

Imports `pipeline`.
"""
