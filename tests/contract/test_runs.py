"""Runs after their start, with the real journal and client, on the stand-in server: seen, said and recorded once."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from contract.test_engine import Clock, schedule, until
from standin import server as standins
from standin.server import API_KEY, Arrival, StandIn
from structlog.testing import capture_logs

from zendaemon.core import following
from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import JournalError, ServerError
from zendaemon.core.fire import Fire, FireState
from zendaemon.journal import Journal, read_history
from zendaemon.runs import Runs
from zendaemon.zenml import ApiKey, Limits, Secret, ZenML

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from zendaemon.core.schedule import Schedule

STUCK = timedelta(minutes=10)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FIRST": 0.05, "LIST": 0.02, "ALONE": 0.01, "AT_ONCE": 0.1}.items():
        monkeypatch.setattr(following, name, seconds)


@dataclass
class Watched:
    """Runs at work. `ended` and `alerts` are what was told of."""

    server: StandIn
    clock: Clock
    journal: Journal
    runs: Runs
    url: str
    ended: list[Fire] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    async def start(self, count: int = 1, *, age: timedelta = timedelta(), status: str = "initializing") -> list[Fire]:
        """Started fires with runs on the server, in the journal, and followed."""
        fires = []
        for number in range(count):
            name = f"nightly-{uuid4().hex}"
            row = self.server.runs[name] = self.server._row(name, status=status)
            at = self.clock() - age
            fires.append(
                Fire(
                    schedule="nightly",
                    fire_time=at.replace(microsecond=number),
                    state=FireState.STARTED,
                    run_id=row["id"],
                    run_name=name,
                    run_status=status,
                    claimed_at=at,
                    decided_at=at,
                )
            )
        await self.journal.claim([replace(fire, state=FireState.CLAIMED) for fire in fires], {})
        await asyncio.gather(*(self.journal.record(fire) for fire in fires))
        for fire in fires:
            self.runs.follow(fire)
        return fires

    def move(self, status: str, *fires: Fire, **metadata: str) -> None:
        for fire in fires:
            row = self.server.runs[fire.run_name or ""]
            row["body"]["status"] = status
            row["metadata"] |= metadata

    def row(self, fire: Fire) -> Fire:
        return next(row for row in read_history(self.url) if row.run_id == fire.run_id)

    @property
    def asked(self) -> list[Arrival]:
        return [arrival for arrival in self.server.arrivals if "/runs" in arrival.path]


@asynccontextmanager
async def watched(
    folder: Path, version: str = "0.98.0", *, polls: bool = True, schedules: Mapping[str, Schedule] | None = None
) -> AsyncIterator[Watched]:
    clock, url = Clock(), f"sqlite:///{folder / 'journal.db'}"
    journal = Journal.open(url)
    limits = Limits(connect=0.5, read=2, start=0.5, call=2)
    key = ApiKey(Secret(API_KEY))
    async with (
        StandIn(version) as server,
        ZenML(server.url, key, now=clock, elapsed=time.monotonic, limits=limits, trust_env=False) as zenml,
    ):
        runs = Runs(zenml, journal, now=clock, stuck_after=STUCK)
        made = Watched(server, clock, journal, runs, url)
        runs.on_ended, runs.tell = made.ended.append, made.alerts.append
        runs.schedule_of = (schedules or {}).get
        task = asyncio.create_task(runs.run()) if polls else None
        try:
            yield made
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await journal.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("version", list(standins.ROUTES))
async def test_many_runs_are_followed_to_their_ends(tmp_path: Path, version: str) -> None:
    async with watched(tmp_path, version) as world:
        fires = await world.start(120)
        world.move("running", *fires, start_time="2026-11-23T12:00:00")
        await until(lambda: all(row.run_status == "running" for row in read_history(world.url)))
        world.move("completed", *fires, end_time="2026-11-23T12:05:00")
        await until(lambda: len(world.ended) == len(fires))
        await asyncio.sleep(0.2)
        assert sorted(fire.run_id or "" for fire in world.ended) == sorted(fire.run_id or "" for fire in fires)
        assert await world.journal.followed() == []
        lists = [arrival.query["id"] for arrival in world.asked if "id" in arrival.query]
    times = {(row.run_status, row.run_started_at, row.run_ended_at) for row in read_history(world.url)}
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert times == {("completed", noon, noon + timedelta(minutes=5))}
    assert bool(lists) == (version != "0.62.0")
    assert all(query.count('"') <= 200 for query in lists)


@pytest.mark.parametrize(("version", "most"), [("0.62.0", 5), ("0.98.0", 1)])
async def test_the_bound_of_the_load_whatever_the_number_of_runs(tmp_path: Path, version: str, most: int) -> None:
    """So many requests a second, and what may be used up ahead."""
    async with watched(tmp_path, version) as world:
        await world.start(1000)
        await until(lambda: world.asked)
        first = world.asked[0].at
        await asyncio.sleep(4)
        asked = [arrival for arrival in world.asked if arrival.at - first <= 4]
    assert most * 4 <= len(asked) <= most * (4 + following.AT_ONCE) + 1


async def test_runs_that_are_due_soon_go_along(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.start(30, age=timedelta(minutes=3))
        for number, fire in enumerate(await world.start(30, age=timedelta(minutes=30))):
            world.runs.follow(fire, after=2 + number)
        await until(lambda: len(world.asked) >= 1)
        await asyncio.sleep(0.5)
        [asked] = world.asked
    assert len(asked.query["id"].split(",")) == 60


@pytest.mark.usefixtures("quick")
async def test_look_tells_the_truth_of_the_server_and_records_it(tmp_path: Path) -> None:
    async with watched(tmp_path, polls=False) as world:
        going, done, gone = fires = await world.start(3)
        world.move("running", going)
        world.move("failed", done)
        del world.server.runs[gone.run_name or ""]
        seen = await world.runs.look(fires)
        assert [fire.run_status for fire in seen] == ["running", "failed", "deleted"]
        assert [world.row(fire) for fire in fires] == seen, "on disk before it returns"
        assert [fire.run_id for fire in world.ended] == [done.run_id, gone.run_id]
        assert [fire.run_id for fire in await world.journal.followed()] == [going.run_id]
        assert [fire.run_status for fire in await world.runs.look(fires)] == ["running", "failed", "deleted"]
        assert len(world.ended) == 2, "an end is told of once"


@pytest.mark.usefixtures("quick")
async def test_look_and_the_following_at_once_end_a_run_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.server.draw = lambda _: standins.slow(0.05)
        fires = await world.start(20)
        recorded: list[Fire] = []
        record = world.journal.record_status

        async def counted(fire: Fire, *, follow: bool) -> None:
            recorded.append(fire)
            await record(fire, follow=follow)

        world.journal.record_status = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.1)
        world.move("completed", *fires)
        for seen in await asyncio.gather(*(world.runs.look(fires) for _ in range(5))):
            assert {fire.run_status for fire in seen} <= {"initializing", "completed"}
        await until(lambda: len(world.ended) >= 20)
        await asyncio.sleep(0.3)
    assert len({fire.run_id for fire in world.ended}) == len(world.ended) == 20
    assert len([fire for fire in recorded if fire.run_status == "completed"]) == 20


async def test_a_late_answer_changes_nothing(tmp_path: Path) -> None:
    """What was asked before tells of before."""
    async with watched(tmp_path, polls=False) as world:
        fires = await world.start(2)
        faults = [standins.slow(0.5), None, None, None]
        world.server.draw = lambda arrival: faults.pop(0) if "id" in arrival.query and faults else None
        late = asyncio.create_task(world.runs.look(fires))
        await until(lambda: len(world.asked) == 1)
        world.move("running", *fires)
        assert [fire.run_status for fire in await world.runs.look(fires)] == ["running"] * 2
        with capture_logs() as logs:
            assert [fire.run_status for fire in await late] == ["running"] * 2
        assert logs == []
        assert {world.row(fire).run_status for fire in fires} == {"running"}


async def test_the_end_of_a_run_that_somebody_waits_for_is_seen_soon(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        _, awaited = fires = await world.start(2, age=timedelta(hours=5), status="running")
        for fire in fires:
            world.runs.follow(fire, after=300)
        world.move("completed", *fires)
        world.runs.hurry([awaited, replace(awaited, run_id="unknown")])
        await until(lambda: world.ended, 6)
        assert [fire.run_id for fire in world.ended] == [awaited.run_id]


@pytest.mark.usefixtures("quick")
async def test_what_follows_an_end_is_written_with_it(tmp_path: Path) -> None:
    again_at = datetime(2026, 11, 23, 13, tzinfo=UTC)
    async with watched(tmp_path) as world:
        faulty, fire = fires = await world.start(2)
        faults = [RuntimeError("a fault of ours")]

        def follow_up(ended: Fire) -> Fire:
            if ended.run_id == faulty.run_id and faults:
                raise faults.pop()
            return replace(ended, retry_at=again_at)

        world.runs.follow_up = follow_up
        with capture_logs() as logs:
            world.move("failed", *fires)
            await until(lambda: len(world.ended) == 2)
    assert [fire.run_id for fire in world.ended] == [fire.run_id, faulty.run_id], "the other one need not wait"
    assert {row.retry_at for row in (*world.ended, *read_history(world.url))} == {again_at}
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"].count("engine.error") == 1


@pytest.mark.usefixtures("quick")
async def test_an_end_that_cannot_be_recorded_is_none_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path, polls=False) as world:
        fires = await world.start(2)
        world.move("completed", *fires)

        async def full(*_: object, **__: object) -> None:
            raise JournalError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(world.journal, "record_status", full)
            with pytest.raises(JournalError):
                await world.runs.look(fires)
        assert world.ended == []
        await world.runs.look(fires)
        assert len(world.ended) == 2


async def test_look_raises_when_the_server_does_not_tell(tmp_path: Path) -> None:
    async with watched(tmp_path, polls=False) as world:
        fires = await world.start(2)
        world.server.draw = lambda arrival: standins.down(1) if arrival.path.startswith("/api/v1/runs") else None
        with pytest.raises(ServerError):
            await world.runs.look(fires)
        world.server.draw = lambda arrival: (
            standins.Fault(422, ["ValueError", "no UUID"])
            if "id" in arrival.query or (fires[0].run_id or "") in arrival.path
            else None
        )
        with pytest.raises(ServerError, match=fires[0].run_id):
            await world.runs.look(fires)


@pytest.mark.usefixtures("quick")
async def test_a_run_that_vanished_is_said_to_have(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        gone, there = await world.start(2)
        with capture_logs() as logs:
            del world.server.runs[gone.run_name or ""]
            await until(lambda: world.ended)
            await asyncio.sleep(0.2)
    assert [(entry["log_level"], entry["run_id"]) for entry in logs if entry["event"] == "run.deleted"] == [
        ("error", gone.run_id)
    ]
    assert [world.row(fire).run_status for fire in (gone, there)] == ["deleted", "initializing"]


def said(logs: list[Any], *events: str) -> list[tuple[str, str]]:
    return [(entry["event"], entry["status"]) for entry in logs if entry["event"] in events]


async def test_a_stuck_run_is_said_to_be_once_for_each_status(tmp_path: Path) -> None:
    async with watched(tmp_path, polls=False, schedules={"nightly": schedule(stuck_after="1h")}) as world:
        fires = [fire] = await world.start()

        async def later(minutes: int, status: str) -> None:
            world.clock.leap(minutes=minutes)
            world.move(status, fire)
            await world.runs.look(fires)

        await world.runs.look(fires)  # the first answer tells since when, by the clock of a server that nobody sets on
        with capture_logs() as logs:
            await later(59, "initializing")
            assert said(logs, "run.stuck") == []
            for _ in range(3):
                await later(2, "initializing")
            await later(59, "running")
            await later(59, "running")
            assert said(logs, "run.stuck", "run.unstuck") == [("run.stuck", "initializing"), ("run.unstuck", "running")]
            for _ in range(3):
                await later(2, "running")
            await later(1, "completed")
    expected = [("run.stuck", "initializing"), ("run.unstuck", "running")]
    assert said(logs, "run.stuck", "run.unstuck") == [*expected, ("run.stuck", "running"), ("run.unstuck", "completed")]
    stuck, recovered = (AlertKind.RUN_STUCK, None), (AlertKind.RECOVERED, AlertKind.RUN_STUCK)
    assert [(alert.kind, alert.of) for alert in world.alerts] == [stuck, recovered, stuck, recovered]
    assert {alert.schedule for alert in world.alerts} == {"nightly"}
    assert f"run {fire.run_name} has been initializing for 3660 s" in world.alerts[0].text


async def test_without_a_key_only_what_a_run_passes_through_makes_it_stuck(tmp_path: Path) -> None:
    async with watched(tmp_path, polls=False) as world:
        fires = [going, stopping] = await world.start(2, status="running")
        await world.runs.look(fires)
        world.clock.leap(hours=5)
        world.move("stopping", stopping)
        await world.runs.look(fires)
        world.clock.leap(minutes=11)
        await world.runs.look(fires)
        assert [(alert.kind, alert.fire and alert.fire.run_id) for alert in world.alerts] == [
            (AlertKind.RUN_STUCK, stopping.run_id)
        ]
        assert world.row(going).run_status == "running"


async def test_after_a_restart_the_server_tells_since_when_a_run_is_what_it_is(tmp_path: Path) -> None:
    """Else every restart would make an hour of running look like the whole age of the run, or like none."""
    async with watched(tmp_path, polls=False, schedules={"nightly": schedule(stuck_after="1h")}) as world:
        moved, hanging = fires = await world.start(2, age=timedelta(hours=5), status="running")
        for fire, hours in ((moved, 0.5), (hanging, 3)):
            at = datetime.now(UTC) - timedelta(hours=hours)  # the stand-in's own clock
            world.server.runs[fire.run_name or ""]["body"]["updated"] = at.replace(tzinfo=None).isoformat()
        await world.runs.look(fires)
        assert [alert.fire and alert.fire.run_id for alert in world.alerts] == [hanging.run_id]


@pytest.mark.usefixtures("quick")
async def test_a_run_is_given_up_after_thirty_days(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        [fire] = await world.start(age=timedelta(days=29, hours=23), status="running")
        await world.runs.look([fire])
        assert world.ended == []
        world.clock.leap(hours=1)
        with capture_logs() as logs:
            await world.runs.look([fire])
        assert [(entry["event"], entry["age_days"]) for entry in logs] == [("run.given_up", 30)]
        assert [ended.run_status for ended in world.ended] == ["running"]
        assert await world.journal.followed() == []


async def test_a_server_that_is_away_is_asked_more_and_more_seldom(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.server.draw = lambda arrival: standins.down(1) if arrival.path.startswith("/api/v1/runs") else None
        fires = await world.start(50)
        await until(lambda: world.asked)
        await asyncio.sleep(5)
        assert len(world.asked) == 2, "now, and 2 s later"
        world.server.draw = lambda _: None
        world.move("completed", *fires)
        await until(lambda: len(world.ended) == 50)
