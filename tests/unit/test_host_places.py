"""Connections to a host that refuses some of them."""

from __future__ import annotations

import pytest

from ingest.http import Cancellation
from ingest.http.hosts import LOWER_SECONDS, Hosts
from pipeline.errors import StageError


def enter(hosts: Hosts) -> None:
    hosts.enter("h", Cancellation(), lambda: pytest.fail("it waits"))


def test_a_refusal_is_made_good_by_additional_connections_and_lowers_the_limit_for_a_while() -> None:
    now = 0.0
    hosts = Hosts(8, clock=lambda: now)
    # Given a download with two connections, and one whose first connection is refused
    enter(hosts)
    assert hosts.try_enter("h")
    enter(hosts)
    assert hosts.refused("h")
    hosts.leave("h")
    # When the additional one has left, then the other download has its place, and nobody gets another
    hosts.leave("h", additional=True)
    enter(hosts)
    assert not hosts.try_enter("h")
    # And a third download does not wait here, since nobody has a connection to spare
    with pytest.raises(StageError) as raised:
        enter(hosts)
    assert raised.value.refused
    # And after a while there is room again
    now = LOWER_SECONDS
    assert hosts.try_enter("h")


def test_without_additional_connections_a_refusal_is_the_downloads_own() -> None:
    hosts = Hosts(8)
    enter(hosts)
    enter(hosts)
    assert not hosts.refused("h")


def test_a_download_may_be_limited_to_one_connection_and_counts_all_the_same() -> None:
    hosts = Hosts(1)
    single = hosts.without_additional()
    assert not single.try_enter("h")
    enter(single)
    assert not hosts.try_enter("h")
    single.leave("h")
    assert hosts.try_enter("h")
