"""What runs beside the requests: the relay, the janitor, and the supervisor of such tasks.

Imports `pipeline`.
"""
