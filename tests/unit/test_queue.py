"""The queue: what is left of an attempt waits for those that are to begin, and never for long."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from zendaemon.core.pacing import Pace
from zendaemon.queue import Queue

if TYPE_CHECKING:
    from zendaemon.queue import Rest


class Counted:
    """A queue of numbers whose attempts and rests are noted; the attempts in `hang` take until `go` is set."""

    def __init__(self, hang: range = range(0), *, quick: bool = True) -> None:
        self.began: list[int] = []
        self.done: list[int] = []
        self.began_first: list[int] = []
        self.hang = hang
        self.go = asyncio.Event()
        self.queue = Queue(
            self.begin,
            lambda _: (0.0, 0, 0.0, 0.0),
            now=lambda: datetime.now(UTC),
            max_concurrency=2,
            random=random.Random(1),  # noqa: S311 - jitter, not secrets
        )
        self.queue.pace = Pace(maximum=2, limit=3 if quick else 2, most=3)

    async def begin(self, number: int) -> Rest:
        self.began.append(number)
        await (self.go.wait() if number in self.hang else asyncio.sleep(0))

        async def rest() -> None:
            self.began_first.append(len(self.began))
            self.done.append(number)

        return rest

    async def until(self, done: int) -> None:
        async with asyncio.timeout(5):
            while len(self.done) < done:  # noqa: ASYNC110 - of a queue that tells nobody
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("count", [3, 50, 900])
async def test_in_a_hurry_all_begin_before_any_rest_is_done(count: int) -> None:
    one = Counted()
    for number in range(count):
        one.queue.push(number)
    await one.until(count)
    assert sorted(one.done) == list(range(count))
    assert min(one.began_first) >= count - 2, "those that begin last may be beside the first rests"


async def test_at_the_usual_pace_each_is_done_before_the_next_begins() -> None:
    one = Counted(quick=False)
    for number in range(50):
        one.queue.push(number)
    await one.until(50)
    assert max(first - place for place, first in enumerate(one.began_first)) <= 2


async def test_no_more_is_put_off_than_a_crash_may_leave_behind() -> None:
    one = Counted()
    for number in range(2500):
        one.queue.push(number)
    await one.until(2500)
    behind = [first - place for place, first in enumerate(one.began_first)]
    assert 900 < max(behind) <= 1003, "of 3 workers"


async def test_what_was_put_off_is_done_though_all_that_is_in_flight_hangs() -> None:
    one = Counted(hang=range(10, 13))
    for number in range(20):
        one.queue.push(number)
    await one.until(10)
    assert sorted(one.done) == list(range(10))
    one.go.set()
    await one.until(20)


async def test_a_drain_waits_for_what_was_put_off() -> None:
    one = Counted(hang=range(10, 12))
    for number in range(20):
        one.queue.push(number)
    async with asyncio.timeout(5):
        while len(one.began) < 13:  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
    assert not one.done
    left = await one.queue.drain(timedelta(seconds=1))
    assert len(one.done) >= 10
    assert left == 20 - len(one.done), "nothing that has begun is forgotten"
