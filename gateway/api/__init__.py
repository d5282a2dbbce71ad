"""The REST API: routes for datasets and inspections, their JSON, OpenAPI, and health checks.

Imports `gateway.rpc`, `gateway.http` and `pipeline`.
"""
