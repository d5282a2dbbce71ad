"""The status service: the one owner of the database, the life cycle and the live progress.

Imports `pipeline`. Its rooms: `rpc` and `db`.
"""
