"""The database: tables, connections, the claim on it, migrations. All SQL is in `repository`.

Imports `pipeline`.
"""
