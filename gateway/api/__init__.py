"""The REST contract: routes of datasets and inspections, their JSON, OpenAPI, health.

Imports `gateway.rpc`, `gateway.http` and `pipeline`.
"""
