"""What follows a run that failed: another run of its fire, a pause, and fires that depend on it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import World, loaded, schedule, until
from contract.test_overlap import fates
from standin import server as standins
from standin.server import StandIn
from structlog.testing import capture_logs

from zendaemon import gates
from zendaemon.core import following
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState, Reason
from zendaemon.core.pause import Pause
from zendaemon.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zendaemon.core.fire import Fire

AGAIN: dict[str, Any] = {"on_run_failure": {"retry_run": 2, "delay": "300ms"}}
RUN = "nightly-20261123T120000Z"


@pytest.fixture(params=["0.98.0"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn(request.param) as server:
        yield World(tmp_path, server)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_OTHER_SCHEDULES", 0.1)
    monkeypatch.setattr(following, "FIRST", 0.1)


def end(world: World, name: str, status: str) -> None:
    world.server.runs[name]["body"]["status"] = status


async def ended(world: World, name: str, status: str) -> None:
    """The run is made, and ends so."""
    await until(lambda: name in world.server.runs)
    end(world, name, status)


@pytest.mark.parametrize("world", ["0.62.0", "0.75.0", "0.98.0"], indirect=True)
async def test_a_run_that_fails_is_followed_by_others_of_the_same_fire(world: World) -> None:
    async with world.daemon(schedule(world.server.version, **AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await ended(world, f"{RUN}-r1", "failed")
        await ended(world, f"{RUN}-r2", "failed")
        await until(lambda: world.rows[0].run_status == "failed" and world.rows[0].run_name == f"{RUN}-r2")
        await asyncio.sleep(0.6)
    (fire,) = world.rows
    assert list(world.server.runs) == [RUN, f"{RUN}-r1", f"{RUN}-r2"]
    assert [(run.run_name, run.run_status) for run in fire.earlier_runs] == [(RUN, "failed"), (f"{RUN}-r1", "failed")]
    assert (fire.state, fire.retry_at, fire.attempts) == (FireState.STARTED, None, 3)
    keys = [arrival.headers["idempotency-key"] for arrival in world.server.starts]
    assert len(set(keys)) == 3
    assert fire.lateness_seconds is not None
    assert fire.lateness_seconds < 3


async def test_a_next_run_that_succeeds_ends_it(world: World) -> None:
    with capture_logs() as logs:
        async with world.daemon(schedule(**AGAIN)) as daemon:
            daemon.wake(seconds=6)
            await ended(world, RUN, "failed")
            await ended(world, f"{RUN}-r1", "completed")
            await until(lambda: world.rows[0].run_status == "completed")
            await asyncio.sleep(0.6)
    assert len(world.server.runs) == 2
    said = [entry["event"] for entry in logs if entry["event"] in ("fire.started", "run.retry", "run.retried")]
    assert said == ["fire.started", "run.retry", "run.retried"]


@pytest.mark.parametrize("status", ["stopped", "completed"])
async def test_only_a_failure_is_followed(world: World, status: str) -> None:
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, status)
        await until(lambda: world.rows[0].run_status == status)
        await asyncio.sleep(0.6)
    assert list(world.server.runs) == [RUN]


@pytest.mark.parametrize("when", ["before the end is seen", "before the next is due", "while its start is under way"])
async def test_a_next_run_comes_once_over_a_crash(world: World, when: str) -> None:
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs)
        if when != "before the end is seen":
            if when == "while its start is under way":
                world.server.script(standins.slow(30))
            end(world, RUN, "failed")
            await until(lambda: world.rows[0].retry_at is not None)
        if when == "while its start is under way":
            await until(lambda: f"{RUN}-r1" in world.server.runs)
    end(world, RUN, "failed")
    async with world.daemon(schedule(**AGAIN)):
        await ended(world, f"{RUN}-r1", "completed")
        await until(lambda: world.rows[0].run_status == "completed")
    assert world.server.creations == [RUN, f"{RUN}-r1"]
    assert len(world.rows) == 1


async def test_a_run_that_failed_before_anybody_knew_of_it_is_followed_by_another(world: World) -> None:
    world.server.script(standins.slow(30))
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs)
    end(world, RUN, "failed")
    async with world.daemon(schedule(**AGAIN)):
        await ended(world, f"{RUN}-r1", "completed")
        await until(lambda: world.rows[0].run_status == "completed")
    assert world.server.creations == [RUN, f"{RUN}-r1"]


async def test_a_claim_that_a_disk_took_and_reported_as_failed_starts_one_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_again, failures = Journal.claim_again, iter([True])

    async def fails_after(self: Journal, fire: Fire) -> bool:
        taken = await claim_again(self, fire)
        if next(failures, False):
            raise JournalError("disk I/O error")
        return taken

    monkeypatch.setattr(Journal, "claim_again", fails_after)
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await ended(world, f"{RUN}-r1", "completed")
        await until(lambda: world.rows[0].run_status == "completed")
        await asyncio.sleep(1.5)
    assert world.server.creations == [RUN, f"{RUN}-r1"]
    assert len(world.server.starts) == 2


async def test_a_pause_holds_for_next_runs_too(world: World) -> None:
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs and world.rows[0].final)
        async with daemon.engine.decided(["nightly"]) as now:
            await daemon.engine.pauses.begin(Pause(schedule="nightly", since=now), None)
        end(world, RUN, "failed")
        await until(lambda: world.rows[0].message is not None)
    (fire,) = world.rows
    assert (fire.message, fire.retry_at) == ("not run again: the schedule is paused", None)
    assert list(world.server.runs) == [RUN]


async def test_a_next_run_that_cannot_be_started_leaves_the_last_one_on_record(world: World) -> None:
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs)
        world.server.script(
            standins.Fault(400, {"detail": ["ValueError", "Can't set schedule when running pipeline via Rest API."]})
        )
        end(world, RUN, "failed")
        await until(lambda: world.rows[0].message and "not run again" in world.rows[0].message)
    (fire,) = world.rows
    assert (fire.state, fire.run_name, fire.run_status, fire.earlier_runs) == (FireState.STARTED, RUN, "failed", ())
    assert "rejected" in (fire.message or "")


async def test_a_fire_whose_next_run_comes_to_nothing_has_failed_for_good(world: World) -> None:
    async with world.daemon(schedule(pause_after_failures=1, **AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs)
        refusal = {"detail": ["ValueError", "Can't set schedule when running pipeline via Rest API."]}
        world.server.script(standins.Fault(400, refusal))
        end(world, RUN, "failed")
        await until(lambda: daemon.engine.pauses.holding("nightly", daemon.clock()))
    assert list(world.server.runs) == [RUN]


async def test_what_waits_for_its_next_run_keeps_others_from_starting(world: World) -> None:
    keys = {"overlap": "skip", "on_run_failure": {"retry_run": 1, "delay": "2s"}, "every": "1h"}
    async with world.daemon(schedule(**keys)) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await until(lambda: world.rows[0].retry_at is not None)
        waits = daemon.engine.schedules.schedules["nightly"]
        await until(lambda: daemon.engine.standing(waits).claimed and not daemon.engine.standing(waits).running)
        await ended(world, f"{RUN}-r1", "completed")
        await until(lambda: world.rows[0].run_status == "completed")
        await until(lambda: not daemon.engine.standing(waits).claimed and not daemon.engine.standing(waits).running)


async def test_a_fire_that_finds_the_run_failed_does_not_overtake_its_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the question before its start that brings to light that the run has failed."""
    monkeypatch.setattr(following, "FIRST", 300.0)
    async with world.daemon(schedule(overlap="skip", **AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        end(world, RUN, "failed")
        daemon.wake(hours=1)
        await until(lambda: f"{RUN}-r1" in world.server.runs)
        assert fates(await world.settled(2)) == [("started", None), ("skipped", "overlap")]
    assert list(world.server.runs) == [RUN, f"{RUN}-r1"]


async def test_max_runs_counts_a_fire_once_however_many_runs_it_had(world: World) -> None:
    limited = schedule(max_runs=2, **AGAIN)
    async with world.daemon(limited) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await ended(world, f"{RUN}-r1", "completed")
        await until(lambda: world.rows[0].run_status == "completed")
        daemon.wake(hours=1)
        await world.settled(2)
    async with world.daemon(limited) as daemon:
        daemon.wake(hours=1)
        rows = await world.settled(3)
    assert fates(rows) == [("started", None), ("started", None), ("skipped", "max_runs")]


async def failed(world: World, hour: int) -> None:
    """The run of that hour fails, and that is on record."""
    name = f"nightly-20261123T{hour}0000Z"
    await ended(world, name, "failed")
    await until(lambda: any((fire.run_name, fire.run_status) == (name, "failed") for fire in world.rows))


async def test_failures_in_a_row_pause_the_schedule(world: World) -> None:
    async with world.daemon(schedule(pause_after_failures=2)) as daemon:
        daemon.wake(seconds=6)
        await failed(world, 12)
        daemon.wake(hours=1)
        await failed(world, 13)
        await until(lambda: daemon.engine.pauses.holding("nightly", daemon.clock()))
        pause = daemon.engine.pauses.get("nightly")
        assert pause is not None
        assert (pause.by, pause.until) == ("failures", None)
        assert pause.note == "the runs of 2 fires in a row failed, the last one nightly-20261123T130000Z"
        daemon.wake(hours=1)
        assert fates(await world.settled(3))[-1] == ("skipped", "paused")
        await daemon.engine.pauses.end("nightly", daemon.clock())
        daemon.wake(hours=1)
        await failed(world, 15)  # one more is not two since the pause
        await asyncio.sleep(0.5)
        assert daemon.engine.pauses.holding("nightly", daemon.clock()) is None


async def test_who_resumes_a_schedule_while_its_failures_are_looked_at_has_the_last_word(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, looked = Journal.outcomes, asyncio.Event()

    async def looks(self: Journal, name: str, count: int) -> list[Fire]:
        found = await outcomes(self, name, count)
        if found:
            looked.set()
        return found

    monkeypatch.setattr(Journal, "outcomes", looks)
    async with world.daemon(schedule(pause_after_failures=1)) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: RUN in world.server.runs and world.rows[0].final)
        async with daemon.engine.decided(["nightly"]) as now:
            await daemon.engine.pauses.begin(Pause(schedule="nightly", since=now), None)
            end(world, RUN, "failed")
            await asyncio.wait_for(looked.wait(), 10)
            await asyncio.sleep(0.2)
            await daemon.engine.pauses.end("nightly", daemon.clock())
        await asyncio.sleep(0.5)
        assert daemon.engine.pauses.holding("nightly", daemon.clock()) is None


async def test_a_success_in_between_begins_the_count_anew(world: World) -> None:
    async with world.daemon(schedule(pause_after_failures=2)) as daemon:
        daemon.wake(seconds=6)
        for hour, status in ((12, "failed"), (13, "completed"), (14, "failed")):
            await ended(world, f"nightly-20261123T{hour}0000Z", status)
            await until(lambda: len(world.rows) and world.rows[-1].run_status in ("failed", "completed"))
            daemon.wake(hours=1)
        await asyncio.sleep(0.5)
        assert daemon.engine.pauses.holding("nightly", daemon.clock()) is None


async def test_a_pause_that_a_crash_prevented_is_made_at_the_next_start(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        await failed(world, 12)
    async with world.daemon(schedule(pause_after_failures=1)) as daemon:
        await until(lambda: daemon.engine.pauses.holding("nightly", daemon.clock()))


async def test_what_depends_on_another_waits_for_it_and_for_its_success(world: World) -> None:
    extract = schedule(name="extract")
    report = schedule(name="a-report", depends_on="extract", priority=100)
    async with world.daemon(extract, report) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: "extract-20261123T120000Z" in world.server.runs)
        await asyncio.sleep(0.5)
        assert "a-report-20261123T120000Z" not in world.server.runs
        end(world, "extract-20261123T120000Z", "completed")
        await ended(world, "a-report-20261123T120000Z", "completed")
        daemon.wake(hours=1)
        await ended(world, "extract-20261123T130000Z", "failed")
        rows = await world.settled(4)
    skipped = next(fire for fire in rows if fire.schedule == "a-report" and fire.fire_time.hour == 13)
    assert (skipped.state, skipped.reason) == (FireState.SKIPPED, Reason.DEPENDENCY)
    assert skipped.message == "schedule 'extract': run extract-20261123T130000Z is failed"


async def test_what_depends_on_another_does_not_go_by_a_later_run_that_is_under_way(world: World) -> None:
    extract = schedule(name="extract")
    report = schedule(name="report", depends_on="extract", catchup_window="3h")
    async with world.daemon(extract, report) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: "extract-20261123T120000Z" in world.server.runs)
        daemon.wake(hours=1)
        await until(lambda: "extract-20261123T130000Z" in world.server.runs)
        end(world, "extract-20261123T120000Z", "completed")
        daemon.runs.hurry(world.rows)
        await until(lambda: "report-20261123T120000Z" in world.server.runs)
        assert "report-20261123T130000Z" not in world.server.runs


async def test_what_depends_on_another_may_only_wait_for_it(world: World) -> None:
    report = schedule(name="report", depends_on="extract", only_if_last_succeeded=False)
    async with world.daemon(schedule(name="extract"), report) as daemon:
        daemon.wake(seconds=6)
        await ended(world, "extract-20261123T120000Z", "failed")
        assert fates(await world.settled(2)) == [("started", None)] * 2


async def test_a_reload_that_takes_the_policy_out_ends_it(world: World) -> None:
    waits = schedule(on_run_failure={"retry_run": 1, "delay": "2s"})
    async with world.daemon(waits) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await until(lambda: world.rows[0].retry_at is not None)
        await daemon.engine.apply(loaded(schedule()))
        await until(lambda: world.rows[0].retry_at is None)
    assert world.rows[0].message == "not run again: on_run_failure was taken out"
    with closing(sqlite3.connect(world.folder / "journal.db")) as raw:
        assert raw.execute("select count(*) from fires where followed").fetchone() == (0,)


async def test_a_schedule_that_is_removed_just_when_its_next_run_is_due_is_told_of_it(world: World) -> None:
    async with world.daemon(schedule(**AGAIN)) as daemon:
        daemon.wake(seconds=6)
        await ended(world, RUN, "failed")
        await until(lambda: world.rows[0].retry_at is not None)
        async with daemon.engine.decided() as now:
            await asyncio.sleep(0.5)  # the next run comes due, and waits for this
            await daemon.engine._replace(loaded(), now)
        await until(lambda: world.rows[0].retry_at is None)
        assert not daemon.engine.activity.failed("nightly")
    assert world.rows[0].message == "not run again: its schedule was removed or disabled"
    assert list(world.server.runs) == [RUN]
