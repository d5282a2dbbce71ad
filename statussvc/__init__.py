"""The status service: the one owner of the database, the life cycle and the live progress."""
