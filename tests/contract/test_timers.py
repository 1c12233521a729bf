"""The timers, with the real APScheduler and the real clock."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from zendaemon.core.schedule import Schedule
from zendaemon.timers import AHEAD, Timers, _CadenceTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

YEAR = timedelta(days=365)


def schedule(name: str, **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    return Schedule.model_validate({"name": name, "snapshot": "prod", **(keys or {"every": "1s"})})


def now() -> datetime:
    return datetime.now(UTC)


class Wakes(list[tuple[datetime, frozenset[str]]]):
    """Every wake with its instant."""

    def note(self, names: frozenset[str]) -> None:
        self.append((now(), names))


@asynccontextmanager
async def running(*schedules: Schedule) -> AsyncIterator[tuple[Timers, Wakes]]:
    wakes = Wakes()
    timers = Timers(wakes.note)
    timers.start()
    try:
        timers.set(schedules)
        yield timers, wakes
    finally:
        timers.stop()


def jobs(timers: Timers) -> dict[str, datetime | None]:
    """The next wake of every job, by the names that it wakes."""
    return {" ".join(sorted(job.args[0])): job.next_run_time for job in timers._scheduler.get_jobs()}


async def test_a_cadence_wakes_all_its_schedules_at_each_fire_time() -> None:
    jittered = schedule("jittered", every="1h", jitter="1h")
    async with running(schedule("a"), schedule("b"), jittered) as (timers, wakes):
        delayed = jobs(timers)["jittered"]
        assert delayed is not None
        assert (delayed - jittered.delay).strftime("%M:%S") == "00:00"
        await asyncio.sleep(2.3)
    assert len(wakes) in (2, 3)
    for instant, names in wakes:
        assert names == {"a", "b"}
        assert instant.microsecond < 200_000
    seconds = [instant.replace(microsecond=0) for instant, _ in wakes]
    assert seconds == [seconds[0] + timedelta(seconds=number) for number in range(len(seconds))]


async def test_a_wake_is_told_of_once_and_before() -> None:
    told: list[tuple[datetime, datetime, frozenset[str]]] = []
    begin = (now() + timedelta(seconds=4)).replace(microsecond=0)
    once = {name: schedule(name, at=[begin.isoformat()]) for name in ("a", "b")}
    async with running(*once.values(), schedule("far", every="20000h")) as (
        timers,
        wakes,
    ):
        timers.soon = (lambda at, names: told.append((now(), at, names)),)
        while not wakes:
            timers.tick(now(), time.monotonic())
            await asyncio.sleep(0.05)
        timers.tick(now(), time.monotonic() + 1)
    ((when, at, names),) = told
    assert (at, names) == (begin, {"a", "b"})
    assert timedelta(seconds=1.5) < begin - when <= AHEAD


async def test_a_wake_is_near_some_time_before() -> None:
    begin = (now() + timedelta(hours=1)).replace(microsecond=0)
    async with running() as (timers, _):
        assert not timers.near(now() + YEAR)
        timers.set([schedule("once", at=[begin.isoformat()])])
        assert not timers.near(begin - AHEAD - timedelta(seconds=1))
        assert timers.near(begin - AHEAD)
        assert timers.near(begin + YEAR)


async def test_set_wakes_the_schedules_of_a_timer_that_is_set_anew() -> None:
    """It may have been about to go off: what it carried till then is looked at."""
    kept, stays, goes = schedule("kept", every="1h"), schedule("stays", every="2h"), schedule("goes", every="2h")
    async with running(kept, stays, goes) as (timers, wakes):
        assert wakes == []
        timers.set([kept, stays])
        assert [names for _, names in wakes] == [{"stays"}]


async def test_set_keeps_the_jobs_of_unchanged_cadences() -> None:
    kept, gone, grown = schedule("kept", every="1h"), schedule("gone", every="2h"), schedule("grown", every="3h")
    async with running(kept, gone, grown) as (timers, _):
        before = {job.args[0]: job.id for job in timers._scheduler.get_jobs()}
        timers.set([kept, grown, schedule("new", every="3h"), schedule("other", every="4h")])
        after = {job.args[0]: job.id for job in timers._scheduler.get_jobs()}
        assert sorted(map(sorted, after)) == [["grown", "new"], ["kept"], ["other"]]
        assert after[frozenset({"kept"})] == before[frozenset({"kept"})]
        timers.set([])
        assert jobs(timers) == {}


async def test_a_thousand_schedules_of_ten_cadences_are_ten_jobs() -> None:
    some = [schedule(f"s{number}", every=f"{number % 10 + 1}h") for number in range(1000)]
    async with running(*some) as (timers, _):
        found = jobs(timers)
    assert len(found) == 10
    assert sorted(name for names in found for name in names.split()) == sorted(one.name for one in some)


async def test_a_clock_set_back_sets_every_timer_anew() -> None:
    async with running(schedule("a", every="1h")) as (timers, _):
        (job,) = timers._scheduler.get_jobs()
        begun = now()
        timers.tick(begun, 0)
        job.modify(next_run_time=begun + YEAR)  # as it would be, had the clock been a year ahead when it was set
        timers.tick(begun + timedelta(seconds=1), 1)
        timers.tick(begun + timedelta(seconds=3), 4.5)
        assert jobs(timers)["a"] == begun + YEAR, "a small step is none"
        timers.tick(begun - YEAR, 5.5)
        found = jobs(timers)["a"]
        assert found is not None
        assert found <= now() + timedelta(hours=1)


async def test_a_clock_set_on_wakes_at_the_next_tick() -> None:
    async with running(schedule("a", every="1h")) as (timers, wakes):
        (job,) = timers._scheduler.get_jobs()
        await asyncio.sleep(0.05)
        job.next_run_time = now()  # as after a suspend: the loop's timer knows nothing of it
        timers._scheduler._jobstores["default"].update_job(job)
        timers.tick(now(), time.monotonic())
        await asyncio.sleep(0.1)
    assert [names for _, names in wakes] == [{"a"}]


async def test_a_trigger_that_is_over_has_no_wake_and_does_no_harm() -> None:
    over = schedule("over", at="2020-01-01T00:00:00")
    async with running(over, schedule("a")) as (timers, wakes):
        timers.tick(now(), 0)
        timers.tick(now() - YEAR, 1)
        timers.set([over, schedule("b")])
        timers.set([])
        await asyncio.sleep(0.05)
    assert not [names for _, names in wakes if "over" in names]


async def test_an_at_that_has_fired_can_be_removed_and_set_again() -> None:
    soon = (now() + timedelta(seconds=1)).replace(microsecond=0)
    once = schedule("once", at=soon.isoformat())
    async with running(once) as (timers, wakes):
        await asyncio.sleep((soon - now()).total_seconds() + 0.2)
        timers.tick(now(), 0)
        timers.tick(now() - YEAR, 1)
        timers.set([])
        timers.set([once])
    assert [names for _, names in wakes] == [{"once"}]


def test_the_next_wake_is_always_after_now() -> None:
    jittered = schedule("jittered", cron="0 * * * *", jitter="30m")
    trigger = _CadenceTrigger(jittered.trigger, jittered.delay)
    instant = datetime(2026, 11, 23, tzinfo=UTC)
    for _ in range(50):
        found = trigger.get_next_fire_time(None, instant)
        assert found is not None
        assert found > instant
        assert (found - jittered.delay).minute == 0
        instant = found
