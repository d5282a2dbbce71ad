"""The only SQL. Each function takes a Connection inside a transaction, and the time where it needs one.

catalogue   create, read, list, describe, delete
stages      begin and the outcomes of runs: the life cycle's writes
outbox      waiting rows to publish
garbage     what in storage no row refers to
"""
