"""Background work: the relay, the janitor, and the supervisors that restart them.

Imports `pipeline`.
"""
