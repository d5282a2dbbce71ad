"""The farm that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from tests.conftest import FAILED
from tests.faults.conftest import SharedFarm
from tests.faults.farm import Farm


class FakeFarm:
    def __init__(self) -> None:
        self.story = ["started"]

    def reset(self) -> None:
        self.story.append("reset")


def test_a_farm_outlives_a_test_that_passed_and_none_that_failed() -> None:
    farms: list[FakeFarm] = []

    @contextmanager
    def make() -> Iterator[Farm]:
        farms.append(FakeFarm())
        yield cast("Farm", farms[-1])
        farms[-1].story.append("closed")

    shared, passed, failed = SharedFarm(make), pytest.Stash(), pytest.Stash()
    failed[FAILED] = True
    # When a farm is lent to tests that pass, and then to one that fails
    for test in (passed, passed, failed):
        with shared.lend(test) as farm:
            assert farm is cast("Farm", farms[0])
    # Then the next one gets another
    with shared.lend(passed) as farm:
        assert farm is cast("Farm", farms[1])
    assert [one.story for one in farms] == [["started", "reset", "reset", "closed"], ["started", "reset"]]
