"""The last moments before a fire time: rehearsed without effect, and never in the way."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from contract.test_engine import Daemon, World, schedule, the_one_run, until, world
from contract.test_starts import resolved
from standin.server import Fault

from zendaemon import clock
from zendaemon.core.errors import JournalError, Unavailable
from zendaemon.core.fire import Fire, FireState
from zendaemon.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

__all__ = ["world"]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@asynccontextmanager
async def rehearsing(daemon: Daemon) -> AsyncIterator[tuple[Rehearsal, list[list[str]]]]:
    """A rehearsal beside a daemon, and the schedules of each time that the journal was rehearsed."""
    rehearsal = Rehearsal(daemon.engine, daemon.zenml, daemon.journal, daemon.attempts.queue, daemon.clock)
    rounds: list[list[str]] = []
    rehearse = daemon.journal.rehearse

    async def noted(fires: Sequence[Fire], watermarks: dict[str, datetime]) -> None:
        rounds.append([fire.schedule for fire in fires])
        assert watermarks == dict.fromkeys(rounds[-1], NOON)
        await rehearse(fires, watermarks)

    daemon.journal.rehearse = noted  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(rehearsal.run())
    try:
        yield rehearsal, rounds
    finally:
        assert not task.done()
        task.cancel()


def questions(world: World) -> int:
    return sum(arrival.path.endswith("/current-user") for arrival in world.server.arrivals)


def log_size(world: World) -> int:
    """Bytes that were ever written behind the file of the journal."""
    path: Path = world.folder / "journal.db-wal"
    return path.stat().st_size


def till_noon(daemon: Daemon, seconds: float = 0.3) -> None:
    """Set the clock so shortly before noon."""
    daemon.clock.set(NOON - timedelta(seconds=seconds))


async def past_noon(daemon: Daemon) -> None:
    await until(lambda: daemon.clock() > NOON + timedelta(milliseconds=20))


async def test_a_rehearsal_has_no_effect_and_the_fire_is_started_once(world: World) -> None:
    async with world.daemon(schedule(), schedule(name="hourly")) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        await resolved(daemon)
        await daemon.journal.check()  # what was resolved is on disk
        before = log_size(world)
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        rehearsal.expect(NOON, ["gone"])
        await past_noon(daemon)
        assert len(rounds) > 2
        assert rounds == [["nightly"]] * len(rounds)
        assert questions(world) == 1
        assert not world.server.starts
        assert not world.rows
        assert log_size(world) == before
        assert daemon.engine.marks["nightly"] < NOON
        daemon.engine.wake(["nightly"])
        (fire,) = await world.settled()
    the_one_run(world, fire)
    assert fire.fire_time == NOON


async def test_a_journal_takes_back_what_it_rehearsed(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        before = daemon.engine.marks["nightly"]
        first, second = (
            Fire(schedule="nightly", fire_time=NOON + timedelta(hours=hour), run_name=f"run-{hour}", claimed_at=NOON)
            for hour in range(2)
        )
        assert await daemon.journal.claim([first], {}) == [first]
        for _ in range(2):  # one that is there, and one that is not
            await daemon.journal.rehearse([first, second], {"nightly": second.fire_time})
        assert (await daemon.journal.watermarks())["nightly"] == before
        assert await daemon.journal.claims() == [first]
        assert await daemon.journal.claim([first, second], {}) == [second]
        with closing(sqlite3.connect(world.folder / "journal.db")) as journal:
            assert journal.execute("SELECT id FROM fires ORDER BY id").fetchall() == [(1,), (2,)]


async def test_the_server_is_asked_now_and_then_alone(world: World) -> None:
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
        had = len(rounds)
        rehearsal._before = None
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
    assert len(rounds) > had > 0
    assert questions(world) == 1


async def test_a_server_that_is_away_is_not_asked(world: World) -> None:
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        daemon.attempts.queue.away(Unavailable("nobody there"))
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
    assert rounds
    assert not questions(world)


async def test_what_the_server_answers_does_not_matter(world: World) -> None:
    world.server.draw = lambda arrival: Fault(500) if arrival.path.endswith("/current-user") else None
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
        assert rounds
        assert questions(world) == 1
        assert not daemon.attempts.queue.opens_in
        daemon.engine.wake(["nightly"])
        (fire,) = await world.settled()
    the_one_run(world, fire)


async def test_an_answer_that_does_not_come_is_not_waited_for(world: World) -> None:
    world.server.draw = lambda arrival: Fault(200, {}, seconds=5) if arrival.path.endswith("/current-user") else None
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
        assert len(rounds) > 2
        daemon.engine.wake(["nightly"])
        (fire,) = await world.settled()
    the_one_run(world, fire)


@pytest.mark.parametrize("error", [JournalError("no space left"), ZeroDivisionError("a fault of ours")])
async def test_a_journal_that_fails_ends_this_rehearsal_alone(world: World, error: Exception) -> None:
    async def failing(*_: object) -> None:
        raise error

    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        noted, daemon.journal.rehearse = daemon.journal.rehearse, failing  # type: ignore[method-assign]
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
        assert not rounds
        daemon.journal.rehearse = noted  # type: ignore[method-assign]
        rehearsal._before = None
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
    assert rounds


async def test_there_is_none_for_what_is_due_just_after_something_else(world: World) -> None:
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon)
        rehearsal.expect(NOON - timedelta(seconds=0.29), ["gone"])
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
    assert ["nightly"] not in rounds


async def test_there_is_none_once_the_clock_was_set_back(world: World) -> None:
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon, 0.5)
        rehearsal.expect(NOON, ["nightly"])
        await asyncio.sleep(0.1)
        daemon.clock.leap(hours=-1)
        await asyncio.sleep(0.6)
    assert not rounds


async def test_there_is_none_till_a_clock_that_was_set_back_before_it_is_there_again(world: World) -> None:
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon, 0.5)
        rehearsal.expect(NOON - timedelta(seconds=0.1), ["gone"])
        rehearsal.expect(NOON + timedelta(seconds=1), ["nightly"])
        await asyncio.sleep(0.1)
        daemon.clock.leap(days=-365)
        await asyncio.sleep(0.5)
        assert not rounds
        till_noon(daemon)
        rehearsal.expect(NOON, ["nightly"])
        await past_noon(daemon)
    assert rounds, "it does not wait for a year"


async def test_a_connection_is_left_for_the_fire_whatever_the_question_takes(world: World) -> None:
    world.server.draw = lambda arrival: Fault(200, {}, seconds=5) if arrival.path.endswith("/current-user") else None
    async with world.daemon(schedule()) as daemon, rehearsing(daemon) as (rehearsal, _):
        await resolved(daemon)
        daemon.clock.set(NOON - timedelta(seconds=1))
        daemon.attempts.starts.expect(NOON, ["nightly"])
        rehearsal.expect(NOON, ["nightly"])
        await until(lambda: questions(world))
        made = world.server.connections
        await past_noon(daemon)
        daemon.engine.wake(["nightly"])
        await until(lambda: world.server.starts)
        assert world.server.connections == made


async def test_a_journal_that_could_not_be_written_is_not_well_for_a_rehearsal(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        daemon.journal.writable = False
        await daemon.journal.rehearse([], {})
        assert not daemon.journal.writable
        await daemon.journal.check()
        assert daemon.journal.writable


async def test_a_locked_journal_beats_though_the_rehearsal_is_over(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        with closing(sqlite3.connect(world.folder / "journal.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(daemon.journal.rehearse([], {}))
            await asyncio.sleep(0.1)
            asking.cancel()
            gone_at = clock.monotonic()
            other.execute("ROLLBACK")
        await until(lambda: daemon.journal.beat > gone_at)


async def test_those_that_go_first_are_enough(world: World) -> None:
    first = [f"number-{number}" for number in range(50)]
    last = [f"later-{number}" for number in range(50)]
    schedules = [*(schedule(name=name, priority=51) for name in first), *(schedule(name=name) for name in last)]
    async with world.daemon(*schedules) as daemon, rehearsing(daemon) as (rehearsal, rounds):
        till_noon(daemon)
        for name in last:
            rehearsal.expect(NOON, [name])
        rehearsal.expect(NOON, first)
        await past_noon(daemon)
        assert rounds[0] == sorted(first)
        daemon.engine.wake([*first, *last])
        rows = await world.settled(len(schedules))
    assert {row.state for row in rows} == {FireState.STARTED}
