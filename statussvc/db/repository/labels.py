"""A client's own tags and metadata as the catalogue is filtered by them: docs/decisions/0032-a-clients-own-words.md.

Kept up to date in the transactions that change the datasets.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection

from protos.tilewright.status.v1 import status_pb2 as pb
from statussvc.db.tables import dataset_labels


def tag_hash(tag: str) -> str:
    """A tag as the index has it. No index can hold a text of any length."""
    return _hash("tag", tag)


def entry_hash(key: str, value: str) -> str:
    """An entry of the metadata as the index has it."""
    return _hash("metadata", key, value)


def put(connection: Connection, seq: int, texts: pb.Dataset) -> None:
    """Let a dataset be found by the tags and the metadata in a message."""
    hashes = {tag_hash(tag) for tag in texts.tags} | {entry_hash(each.key, each.value) for each in texts.metadata}
    if hashes:
        connection.execute(dataset_labels.insert(), [{"label_hash": found, "seq": seq} for found in sorted(hashes)])


def drop(connection: Connection, seq: int) -> None:
    """Keep a dataset from being found by its tags and its metadata."""
    connection.execute(dataset_labels.delete().where(dataset_labels.c.seq == seq))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
