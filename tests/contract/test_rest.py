"""An engine that rests, since nothing is to come, and what ends its rest."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from contract.test_engine import Daemon, World, loaded, schedule, the_one_run, until
from contract.test_pauses import operating, world
from contract.test_starts import resolved
from standin import server as standins
from structlog.testing import capture_logs

from zendaemon import clock
from zendaemon.cli.wiring import let_rest
from zendaemon.core.errors import JournalError
from zendaemon.turns import REST, GlancingSelector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zendaemon.core.schedule import Schedule

__all__ = ["world"]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EARLY = NOON - timedelta(minutes=30)
"""Nothing is due for long then."""
NEVER = datetime.max.replace(tzinfo=UTC)


def near(daemon: Daemon, now: datetime) -> bool:
    """What timers know, by the world's clock and not by the real one."""
    schedules, soonest = daemon.engine.schedules.enabled(), daemon.clock()
    return any((schedule.trigger.next_after(soonest) or NEVER) <= now for schedule in schedules)


@asynccontextmanager
async def resting(world: World, *schedules: Schedule) -> AsyncIterator[tuple[Daemon, GlancingSelector]]:
    """A daemon whose engine rests, and the selector that its loop would have."""
    world.clock.set(EARLY)
    async with world.daemon(*schedules) as daemon:
        with GlancingSelector() as selector:
            let_rest(daemon.engine, partial(near, daemon), selector)
            await resolved(daemon)
            await until(lambda: rests(daemon))
            yield daemon, selector


def rests(daemon: Daemon) -> bool:
    return daemon.engine.beat > clock.monotonic() + REST / 2


async def soon(daemon: Daemon) -> None:
    """It rests no more, since something is to come."""
    await until(lambda: not rests(daemon), 3)
    await asyncio.sleep(0.1)
    assert not rests(daemon)


async def test_a_rest_ends_before_a_fire_time_comes_near(world: World) -> None:
    async with resting(world, schedule()) as (daemon, _):
        world.clock.set(NOON - timedelta(seconds=REST))
        daemon.engine.wake(())
        await soon(daemon)
        daemon.wake(seconds=REST)
        (fire,) = await world.settled()
    the_one_run(world, fire)


async def test_a_glance_that_finds_the_clock_set_ends_a_rest(world: World) -> None:
    async with resting(world, schedule()) as (daemon, selector):
        assert not selector.glance()
        world.clock.leap(hours=1)
        assert not daemon.engine.awake.jumps
        assert selector.glance()
        await until(lambda: daemon.engine.awake.jumps, 3)
        await until(lambda: rests(daemon), 3)
        assert not selector.glance()


async def test_a_pause_that_is_given_an_end_is_over_in_time(world: World) -> None:
    with capture_logs() as logs:
        async with resting(world, schedule()) as (daemon, _):
            await operating(world, daemon).pause("nightly", until=world.clock() + timedelta(seconds=1))
            await soon(daemon)
            await until(lambda: "schedule.resumed" in {line["event"] for line in logs}, 3)
            await until(lambda: rests(daemon), 3)


async def test_there_is_no_rest_while_a_fire_is_in_hand(world: World) -> None:
    world.server.script(standins.slow(0.4, created=True))
    async with resting(world, schedule()) as (daemon, _):
        _, closed = await daemon.engine.fire_now("nightly")
        await until(lambda: world.server.starts, 3)
        assert not rests(daemon)
        fire = await closed
        await until(lambda: rests(daemon), 3)
    the_one_run(world, fire)


async def test_a_claim_of_which_nobody_knows_ends_a_rest(world: World) -> None:
    async with resting(world, schedule()) as (daemon, _):
        claim = daemon.journal.claim

        async def taken_all_the_same(*given: object) -> object:
            daemon.journal.claim = claim  # type: ignore[method-assign]
            await claim(*given)  # type: ignore[arg-type]
            raise JournalError("no space left")

        daemon.journal.claim = taken_all_the_same  # type: ignore[method-assign, assignment]
        try:
            await daemon.engine.fire_now("nightly")
        except JournalError:
            (fire,) = await world.settled(seconds=3)
    the_one_run(world, fire)


async def test_a_reload_ends_a_rest(world: World) -> None:
    async with resting(world, schedule()) as (daemon, _):
        await daemon.engine.apply(loaded(schedule(), schedule(name="often", every="10s")))
        await soon(daemon)
