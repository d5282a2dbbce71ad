"""How long what a dataset shows is remembered, and how often statussvc is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.tiles.dataset_addresses import CAPACITY, KEEP, RENEW_AFTER, DatasetAddresses
from pipeline.errors import NotFound, StatusUnavailable
from protos.tilewright.status.v1 import status_pb2 as pb

ID = "custom_0a1b2c3d"


class Status:
    """Stands for statussvc, and for the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.shown: str | Exception = "a"

    async def resolve(self, _dataset_id: str) -> pb.Pyramid:
        self.asked += 1
        found = self.shown
        await asyncio.sleep(0)
        if isinstance(found, Exception):
            raise found
        return pb.Pyramid(tile_id=found)


Story = Callable[[Status, DatasetAddresses], Awaitable[None]]


def tell(story: Story) -> None:
    async def run() -> None:
        status = Status()
        await story(status, DatasetAddresses(status.resolve, lambda: status.now))

    asyncio.run(run())


async def settle() -> None:
    """Let every task that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_requests_share_one_rpc() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        assert addresses.current(ID) is None
        assert await asyncio.gather(*(addresses.get(ID) for _ in range(50))) == ["a"] * 50
        assert (addresses.current(ID), status.asked) == ("a", 1)

    tell(story)


def test_an_answer_in_use_is_renewed_before_it_is_too_old() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        await addresses.get(ID)
        status.shown, status.now = "b", RENEW_AFTER + 0.1
        assert addresses.current(ID) == "a"
        await settle()
        assert (addresses.current(ID), status.asked) == ("b", 2)

    tell(story)


def test_an_old_answer_is_not_used() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        await addresses.get(ID)
        status.shown, status.now = "b", KEEP + 0.1
        assert addresses.current(ID) is None
        assert await addresses.get(ID) == "b"

    tell(story)


def test_the_last_answer_counts_while_statussvc_is_away() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        await addresses.get(ID)
        status.shown, status.now = StatusUnavailable("away"), 3600.0
        assert await addresses.get(ID) == "a"
        with pytest.raises(StatusUnavailable):
            await addresses.get("custom_ffffffff")

    tell(story)


def test_what_is_gone_is_forgotten() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        await addresses.get(ID)
        status.shown, status.now = NotFound("deleted"), RENEW_AFTER + 0.1
        assert addresses.current(ID) == "a"
        await settle()
        assert addresses.current(ID) is None
        with pytest.raises(NotFound):
            await addresses.get(ID)
        # When it is there again, it is found
        status.shown = "b"
        assert await addresses.get(ID) == "b"

    tell(story)


def test_a_client_that_leaves_does_not_end_the_rpc_of_the_others() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        first, second = asyncio.create_task(addresses.get(ID)), asyncio.create_task(addresses.get(ID))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "a"
        assert status.asked == 1

    tell(story)


def test_it_remembers_a_bounded_number() -> None:
    async def story(status: Status, addresses: DatasetAddresses) -> None:
        for number in range(CAPACITY + 10):
            await addresses.get(f"custom_{number:08x}")
        assert addresses.current(f"custom_{9:08x}") is None
        assert addresses.current(f"custom_{10:08x}") == "a"

    tell(story)
