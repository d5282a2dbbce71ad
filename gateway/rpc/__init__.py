"""Calls to statussvc: deadlines, how many at once, how often.

Imports `pipeline`.
"""
