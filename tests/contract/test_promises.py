"""Promises (`sla`) with all real parts of a daemon, against the stand-in server: broken, told once, kept again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import Daemon, World, loaded, schedule, until
from standin.server import StandIn
from structlog.testing import capture_logs

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.pause import Pause
from zendaemon.core.sla import Promise
from zendaemon.events import Observers
from zendaemon.sla import Promises

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zendaemon.core.schedule import Schedule

LATE, LONG, STALE = ({"sla": {promise.value: "2h"}} for promise in Promise)
AHEAD: dict[str, Any] = {"catchup_window": "1d"}


@dataclass
class Watched:
    """A daemon whose promises are looked at when a test says so."""

    world: World
    daemon: Daemon
    promises: Promises
    alerts: list[Alert] = field(default_factory=list)
    skew: timedelta = timedelta()

    def synchronise(self) -> None:
        """The time of the tests has passed at the server, too; else its clock stands still while a test leaps."""
        self.skew = datetime.now(UTC) - self.world.clock()

    async def look(self, **units: float) -> list[str]:
        """Set the clock on, look, and return the words for what is broken then."""
        self.world.clock.leap(**units)
        await self.promises.look()
        return [each.text for some in self.promises.broken.values() for each in some]

    @property
    def told(self) -> list[tuple[AlertKind, AlertKind | None]]:
        """What is news: that all is well is told at the start, too, for what an earlier process has told."""
        found: list[tuple[AlertKind, AlertKind | None]] = []
        for alert in self.alerts:
            if alert.of is None or (alert.of, None) in found:
                found.append((alert.kind, alert.of))
        return found

    async def starts(self, **units: float) -> dict[str, Any]:
        """The next fire time comes and its run is created; returned as the server has it."""
        count = len(self.world.server.runs)
        self.daemon.wake(**(units or {"seconds": 6}))
        self.synchronise()
        await until(lambda: len(self.world.server.runs) > count and not self.daemon.engine.activity.claims("nightly"))
        run: dict[str, Any] = list(self.world.server.runs.values())[-1]
        return run

    async def ends(self, run: dict[str, Any], status: str, took: timedelta) -> None:
        """The run ends so long after its start, and the daemon sees it."""
        run["metadata"]["end_time"] = (datetime.fromisoformat(run["metadata"]["start_time"]) + took).isoformat()
        run["body"]["status"] = status
        for fire in self.daemon.engine.activity.active("nightly"):
            self.daemon.runs.follow(fire, after=0)
        await until(lambda: not self.daemon.engine.activity.active("nightly"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn() as server:
        yield World(tmp_path, server)


@asynccontextmanager
async def watched(world: World, *schedules: Schedule) -> AsyncIterator[Watched]:
    async with world.daemon(*schedules) as daemon:
        promises = Promises(daemon.engine, daemon.journal, now=world.clock, skew=lambda: made.skew)
        made = Watched(world, daemon, promises)
        made.synchronise()
        promises.tell = made.alerts.append
        daemon.attempts.observer = daemon.runs.observer = Observers(promises)
        yield made


async def test_a_fire_that_cannot_be_started(world: World) -> None:
    async with watched(world, schedule(**AHEAD, **LATE)) as it:
        assert await it.look() == []
        it.daemon.wake(seconds=5)
        await world.server.refuse()
        it.daemon.wake(seconds=1)
        await until(lambda: it.daemon.engine.activity.claims("nightly"))
        assert await it.look(hours=1) == []
        text = "the fire of 2026-11-23T12:00:00Z has not been started within 2h"
        with capture_logs() as logs:
            assert await it.look(hours=1) == [text]
            assert await it.look(seconds=5) == [text]
        assert [(entry["event"], entry["promise"], entry["since"]) for entry in logs] == [
            ("promise.broken", "late_after", "2026-11-23T14:00:00Z")
        ]
        assert [(alert.kind, alert.text, alert.schedule) for alert in it.alerts[1:]] == [
            (AlertKind.LATE_START, text, "nightly")
        ]
        it.synchronise()
        await world.server.listen()
        await until(lambda: world.server.runs, 20)
        await until(lambda: not it.daemon.engine.activity.claims("nightly"))
        assert len(await it.look()) == 1, "how late it was is known now"
        with capture_logs() as logs:
            assert await it.look() == []
        assert [(entry["event"], entry["promise"]) for entry in logs if "promise" in entry] == [
            ("promise.kept", "late_after")
        ]
        assert it.told == [(AlertKind.LATE_START, None), (AlertKind.RECOVERED, AlertKind.LATE_START)]
        assert it.alerts[-1].text == "late_after is kept again"


async def test_a_fire_that_came_due_while_the_daemon_was_down_is_told_of(world: World) -> None:
    nightly = schedule(cron="0 12 * * *", **AHEAD, **LATE)
    async with watched(world, nightly) as it:
        assert await it.look() == []
    world.clock.leap(hours=3)
    async with watched(world, nightly) as it:
        await until(lambda: world.server.runs and not it.daemon.engine.activity.claims("nightly"))
        (text,) = await it.look()
        assert "was started at 2026-11-23T14:59:5" in text or "has not been started" in text
        assert await it.look() == []
        assert it.told == [(AlertKind.LATE_START, None), (AlertKind.RECOVERED, AlertKind.LATE_START)]


async def test_a_run_that_takes_too_long(world: World) -> None:
    async with watched(world, schedule(at="2026-11-23T12:00:00Z", **LONG)) as it:
        run = await it.starts()
        assert await it.look(hours=1, minutes=59) == []
        (text,) = await it.look(minutes=2)
        assert text.startswith("run nightly-20261123T120000Z has been active for longer than 2h, since 20")
        (shown,) = it.promises.broken["nightly"]
        assert f"{shown.since:%H:%M}" == "14:00"
        assert await it.look(hours=2) == [text]
        await it.ends(run, "completed", timedelta(hours=4))
        assert await it.look() == ["run nightly-20261123T120000Z took 4h, longer than 2h"]
        assert await it.look() == []
        assert it.told == [(AlertKind.LATE_FINISH, None), (AlertKind.RECOVERED, AlertKind.LATE_FINISH)]


async def test_a_run_that_was_too_long_between_two_looks(world: World) -> None:
    async with watched(world, schedule(**LONG)) as it:
        await it.ends(await it.starts(), "failed", timedelta(hours=2, seconds=1))
        assert await it.look() == ["run nightly-20261123T120000Z took 2h1s, longer than 2h"]
        await it.ends(await it.starts(hours=1), "failed", timedelta(hours=2))
        assert await it.look() == []


async def test_no_success_for_too_long_while_nothing_fires(world: World) -> None:
    """Nothing wakes the engine here. The wait begins when the schedule was first known, in another process, too."""
    daily = schedule(cron="0 0 * * *", **STALE)
    words = "no run has succeeded within 2h, since 2026-11-23T11:59:5"
    async with watched(world, daily) as it:
        assert await it.look(hours=1) == []
        (text,) = await it.look(hours=1, seconds=1)
        assert text.startswith(words)
    async with watched(world, daily) as it:
        assert await it.look() == [text]
        assert await it.look(hours=5) == [text]
        assert it.told == [(AlertKind.NO_SUCCESS, None)]
        await it.daemon.engine.fire_now("nightly")
        await until(lambda: it.daemon.engine.activity.active("nightly"))
        assert await it.look() == [text], "started is not succeeded"
        (run,) = world.server.runs.values()
        await it.ends(run, "failed", timedelta(seconds=1))
        assert await it.look() == [text]


async def test_the_last_success_counts_over_a_restart(world: World) -> None:
    nightly = schedule(at=["2026-11-23T12:00:00Z", "2026-11-30T12:00:00Z"], **STALE)
    async with watched(world, nightly) as it:
        await it.ends(await it.starts(), "completed", timedelta(minutes=30))
        assert await it.look(hours=2, minutes=29) == []
        (text,) = await it.look(minutes=2)
        assert text.startswith("no run has succeeded within 2h, the last one that did ended at 20")
        (shown,) = it.promises.broken["nightly"]
        assert f"{shown.since:%H:%M}" == "14:30"
    skew = it.skew
    async with watched(world, nightly) as it:
        it.skew = skew
        assert await it.look() == [text]
        await it.daemon.engine.fire_now("nightly")
        await until(lambda: it.daemon.engine.activity.active("nightly"))
        await it.ends(list(world.server.runs.values())[-1], "completed", timedelta(hours=3))
        assert await it.look() == []
        assert it.told == [(AlertKind.NO_SUCCESS, None), (AlertKind.RECOVERED, AlertKind.NO_SUCCESS)]


async def test_what_was_broken_before_a_restart_is_told_to_be_kept_after_it(world: World) -> None:
    nightly = schedule(cron="0 0 * * *", **STALE)
    async with watched(world, nightly) as it:
        assert len(await it.look(hours=3)) == 1
        await it.daemon.engine.fire_now("nightly")
        await until(lambda: it.daemon.engine.activity.active("nightly"))
        it.synchronise()
        await it.ends(list(world.server.runs.values())[-1], "completed", timedelta(seconds=1))
        assert it.told == [(AlertKind.NO_SUCCESS, None)]
    async with watched(world, nightly) as it:
        assert await it.look() == []
        assert await it.look() == []
        (alert,) = it.alerts
        assert (alert.kind, alert.of, alert.schedule) == (AlertKind.RECOVERED, AlertKind.NO_SUCCESS, "nightly")


async def test_a_pause_stops_the_starts_and_not_the_wait_for_a_success(world: World) -> None:
    both = {"sla": {"late_after": "1h", "max_time_since_success": "2h"}}
    async with watched(world, schedule(**AHEAD, **both)) as it:
        await it.daemon.engine.pauses.begin(Pause(schedule="nightly", since=world.clock(), note=""), None)
        (text,) = await it.look(hours=3)
        assert text.startswith("no run has succeeded within 2h")
        await it.daemon.engine.pauses.end("nightly", world.clock())
        assert len(await it.look()) == 2


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"enabled": False, **STALE}, id="disabled"),
        pytest.param({"at": "2026-11-23T11:00:00Z", **STALE}, id="without fire times to come"),
        pytest.param({}, id="without promises"),
        pytest.param(None, id="removed"),
    ],
)
async def test_what_is_promised_no_more_is_not_broken(world: World, after: dict[str, Any] | None) -> None:
    async with watched(world, schedule(**STALE), schedule(name="other", **STALE)) as it:
        assert len(await it.look(hours=3)) == 2
        reloaded = [] if after is None else [schedule(**after)]
        await it.daemon.engine.apply(loaded(*reloaded, schedule(name="other", **STALE)))
        assert len(await it.look()) == 1
        assert it.told == [(AlertKind.NO_SUCCESS, None)] * 2 + [(AlertKind.RECOVERED, AlertKind.NO_SUCCESS)]


async def test_the_last_of_max_runs_is_waited_for_and_no_other(world: World) -> None:
    async with watched(world, schedule(max_runs=1, sla={"late_after": "2h", "max_time_since_success": "2h"})) as it:
        await it.starts()
        assert await it.look(hours=9) == []


async def test_a_journal_that_is_away_is_asked_later(world: World) -> None:
    async with watched(world, schedule(**STALE)) as it:
        file = world.folder / "journal.db"
        file.rename(aside := world.folder / "aside")
        assert await it.look(hours=3) == []
        aside.rename(file)
        assert len(await it.look()) == 1


async def test_it_looks_by_itself_and_a_fault_of_ours_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zendaemon.sla._EVERY", 0.05)
    async with watched(world, schedule(**STALE)) as it:

        def fail(_: Alert) -> None:
            it.promises.tell = it.alerts.append
            raise RuntimeError("no")

        it.promises.tell = fail
        world.clock.leap(hours=3)
        with capture_logs() as logs:
            watching = asyncio.create_task(it.promises.run())
            await until(lambda: any(entry["event"] == "engine.error" for entry in logs))
            await it.daemon.engine.apply(loaded())
            await until(lambda: it.alerts)
        watching.cancel()
        assert [(alert.kind, alert.of) for alert in it.alerts] == [(AlertKind.RECOVERED, AlertKind.NO_SUCCESS)]


async def test_it_looks_again_once_something_is_promised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zendaemon.sla._EVERY", 0.01)
    async with watched(world, schedule()) as it:
        watching = asyncio.create_task(it.promises.run())
        await until(lambda: it.promises._looked)
        await asyncio.sleep(0.05)
        await it.daemon.engine.apply(loaded(schedule(**STALE)))
        it.promises.reloaded.set()
        await until(lambda: it.promises._waiting)
        world.clock.leap(hours=3)
        await until(lambda: it.alerts)
        watching.cancel()
        assert [(alert.kind, alert.of) for alert in it.alerts] == [(AlertKind.NO_SUCCESS, None)]
