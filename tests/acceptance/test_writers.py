"""A sample of `python -m bench.writers`: what other programs write is shown as another decoder reads it."""

from __future__ import annotations

from pathlib import Path

from bench.writers.__main__ import shuffled
from bench.writers.posting import outcomes, written
from tests.support.network.sources import SourceServer
from tilewright.client import Client

COUNT = 90


def test_what_writers_write_is_shown_as_another_decoder_reads_it_or_refused_by_name(
    client: Client, files: SourceServer, tmp_path: Path
) -> None:
    # Given files of every kind, with options chosen at random, but always the same ones
    chosen = list(written(shuffled(seed=2), tmp_path, COUNT))
    # When they are posted, many at once
    ended = list(outcomes(client, files.url(""), chosen))
    # Then each has the pixels that another decoder finds, or its message says what is not supported
    assert [(outcome.file.name, outcome.wrong) for outcome in ended if outcome.wrong] == []
    assert len(ended) == COUNT
    assert len({outcome.file.kind for outcome in ended if not outcome.code}) > 20
