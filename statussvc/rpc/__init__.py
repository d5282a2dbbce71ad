"""The two gRPC services, and rows as their messages.

Imports the rest of statussvc and `pipeline`.
"""
