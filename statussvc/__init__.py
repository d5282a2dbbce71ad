"""The status service: the only owner of the database, of datasets' life cycle and of live progress.

Imports `pipeline`. `db` has all SQL, `rpc` the two gRPC services.
"""
