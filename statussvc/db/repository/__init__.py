"""The only SQL. Each function takes a Connection inside a transaction, and the time where it needs one.

catalogue   create, read, list, describe
stages      begin and the outcomes of runs
orders      cancel, retry, delete
inspections create, read, forget
known       what an ingest run may build on
moves       what stages and orders move rows by
outbox      waiting rows to publish
garbage     what in storage no row refers to
"""
