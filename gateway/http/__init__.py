"""What any HTTP request goes through: limits, origins, request ids, conditional requests, problems.

Imports `pipeline` only.
"""
