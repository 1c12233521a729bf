"""The way of a fire with all its real parts, against the stand-in server and its faults: exactly one run, always."""

# ruff: noqa: ASYNC110, FBT001 - tests poll the journal as users do; columns of tables are flags
from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from standin import server as standins
from standin.server import API_KEY, StandIn
from structlog.testing import capture_logs

from zendaemon import engine as engines
from zendaemon import records
from zendaemon.activity import Activity
from zendaemon.aftermath import Aftermath
from zendaemon.attempts import Attempts
from zendaemon.core.errors import ZendaemonError
from zendaemon.core.fire import FireState, Reason
from zendaemon.core.planning import unfolded
from zendaemon.core.schedule import Schedule, ScheduleSet
from zendaemon.engine import Engine
from zendaemon.gates import Gates
from zendaemon.journal import Journal, database, read_history
from zendaemon.runs import Runs
from zendaemon.targets import Targets
from zendaemon.zenml import ApiKey, Limits, Resolver, Secret, ZenML

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from zendaemon.core.fire import Fire

VERSIONS = ["0.62.0", "0.75.0", "0.98.0"]
TARGETS: dict[str, dict[str, Any]] = {
    "0.62.0": {"pipeline": "training", "version": "45"},
    "0.75.0": {"template": "training-prod"},
    "0.98.0": {"snapshot": "training-prod"},
}
QUICK: dict[str, Any] = {"retry": {"initial_delay": "50ms", "max_delay": "100ms"}}


class Clock:
    """The real clock, set so that it shows 11:59:55 at first; tests set it on and back."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.set(datetime(2026, 11, 23, 11, 59, 55, tzinfo=UTC))

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def set(self, instant: datetime) -> None:
        self.offset = instant - datetime.now(UTC)

    def leap(self, **units: float) -> None:
        self.offset += timedelta(**units)


def schedule(version: str = "0.98.0", name: str = "nightly", **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    given = {"cron": "0 * * * *"} if not keys.keys() & {"every", "at", "cron"} else {}
    return Schedule.model_validate({"name": name, **TARGETS[version], **QUICK, **given, **keys})


def loaded(*schedules: Schedule) -> ScheduleSet:
    return ScheduleSet({schedule.name: schedule for schedule in schedules})


@dataclass
class Daemon:
    """All parts of a daemon but its timers: tests wake it. `crash` ends it as kill -9 does."""

    clock: Clock
    journal: Journal
    zenml: ZenML
    targets: Targets
    attempts: Attempts
    runs: Runs
    engine: Engine
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def wake(self, **units: float) -> None:
        """Set the clock on, and wake all schedules."""
        self.clock.leap(**units)
        self.engine.wake(self.engine.schedules.schedules)

    async def crash(self) -> None:
        for timer in (*self.attempts.queue._sleeping, self.attempts.queue._gate):
            if timer is not None:
                timer.cancel()
        self.attempts.queue._stopping = True
        tasks = [*self.tasks, *self.attempts.queue._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.journal.close()
        await self.zenml.close()


@dataclass
class World:
    """A state folder, a clock and a server; daemons come and go."""

    folder: Path
    server: StandIn
    clock: Clock = field(default_factory=Clock)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'journal.db'}"

    @property
    def rows(self) -> list[Fire]:
        return sorted(unfolded(read_history(self.url)), key=lambda fire: fire.fire_time)

    @asynccontextmanager
    async def daemon(self, *schedules: Schedule, settle: float = 0.3, slots: int = 2) -> AsyncIterator[Daemon]:
        journal, now = Journal.open(self.url), self.clock
        limits = Limits(connect=0.5, read=0.5, start=0.5, call=2)
        key = ApiKey(Secret(API_KEY))
        zenml = ZenML(self.server.url, key, now=now, elapsed=time.monotonic, limits=limits, trust_env=False)
        targets = Targets(Resolver(zenml, now), journal, now=now)
        after = timedelta(seconds=settle)
        activity = Activity()
        gates = Gates(zenml, activity, now=now)
        attempts = Attempts(
            zenml,
            targets,
            journal,
            gates,
            now=now,
            elapsed=time.monotonic,
            max_concurrency=slots,
            settle_after=after,
            seed=1,
        )
        runs = Runs(zenml, journal, now=now, stuck_after=timedelta(minutes=10))
        attempts.starts.schedule_of = lambda name: engine.schedules.schedules.get(name)  # noqa: PLW0108 - replaced
        engine = Engine(
            journal=journal,
            activity=activity,
            targets=targets,
            attempts=attempts,
            runs=runs,
            now=now,
            monotonic=time.monotonic,
        )
        aftermath = Aftermath(engine, attempts, journal, now=now)
        aftermath.connect(runs, gates)
        daemon = Daemon(now, journal, zenml, targets, attempts, runs, engine)
        try:
            await aftermath.load()
            await engine.start(loaded(*schedules))
            works = (engine.run(), attempts.starts.run(), targets.run(timedelta(hours=1)), runs.run(), aftermath.run())
            daemon.tasks = [asyncio.create_task(work) for work in works]
            yield daemon
        finally:
            await daemon.crash()

    async def settled(self, count: int = 1, seconds: float = 10) -> list[Fire]:
        """The rows, once there are so many and all are closed."""
        await until(lambda: len(self.rows) >= count and all(fire.final for fire in self.rows), seconds)
        await asyncio.sleep(0.05)  # what is said of a row is said once it is on disk
        assert len(self.rows) == count
        return self.rows


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(params=["0.98.0"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn(request.param) as server:
        yield World(tmp_path, server)


every_version = pytest.mark.parametrize("world", VERSIONS, indirect=True)


def the_one_run(world: World, fire: Fire) -> None:
    """The fire is started, with the id of the only run that there is."""
    assert (fire.state, fire.reason) == (FireState.STARTED, None)
    assert list(world.server.runs) == [fire.run_name]
    assert fire.run_id == world.server.runs[fire.run_name or ""]["id"]


@every_version
async def test_a_wake_at_the_fire_time_starts_one_run(world: World) -> None:
    async with world.daemon(schedule(world.server.version, config={"enable_cache": False})) as daemon:
        daemon.wake()
        await asyncio.sleep(0.1)
        assert world.rows == []
        for _ in range(3):
            daemon.wake(seconds=2)
        (fire,) = await world.settled()
        daemon.wake()
        await asyncio.sleep(0.05)
    the_one_run(world, fire)
    assert fire.run_name == "nightly-20261123T120000Z"
    assert fire.attempts == len(world.server.starts) == 1
    assert fire.lateness_seconds is not None
    assert 0 < fire.lateness_seconds < 3
    config = world.server.starts[0].config
    assert config.get("run_configuration", config)["enable_cache"] is False
    assert world.server.starts[0].headers["idempotency-key"] == str(fire.key)


@every_version
async def test_killed_after_the_claim_and_before_the_post(world: World) -> None:
    nightly = schedule(world.server.version)
    async with world.daemon(nightly) as daemon:
        daemon.attempts.queue._stopping = True
        daemon.wake(seconds=6)
        await until(lambda: world.rows)
    assert [fire.state for fire in world.rows] == [FireState.CLAIMED]
    assert not world.server.starts
    async with world.daemon(nightly):
        the_one_run(world, (await world.settled())[0])
    assert len(world.server.starts) == 1


@every_version
async def test_killed_after_the_post_and_before_the_record(world: World) -> None:
    nightly = schedule(world.server.version)
    world.server.script(standins.slow(30))
    async with world.daemon(nightly) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.runs)
    assert [fire.state for fire in world.rows] == [FireState.CLAIMED]
    async with world.daemon(nightly):
        the_one_run(world, (await world.settled())[0])
    assert len(world.server.starts) == 1


class Late(StandIn):
    """Begins to look at its first start only after a while."""

    delay = 0.4

    async def _answer(self, arrival: standins.Arrival, fault: standins.Fault | None) -> Any:  # noqa: ANN401
        if arrival.is_start and len(self.starts) == 1:
            await asyncio.sleep(self.delay)
        return await super()._answer(arrival, fault)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("window", ["1h", "10s"], ids=["in the window", "after the window"])
async def test_killed_while_the_post_is_still_at_work(version: str, window: str, tmp_path: Path) -> None:
    """Servers without unique names would make a second run out of a second POST, so there is none before they ended."""
    nightly = schedule(version, catchup_window=window)
    async with Late(version) as server:
        world = World(tmp_path, server)
        async with world.daemon(nightly) as daemon:
            daemon.wake(seconds=6)
            await until(lambda: server.starts)
        world.clock.leap(seconds=20)
        async with world.daemon(nightly, settle=0.8):
            the_one_run(world, (await world.settled())[0])
        assert len(server.starts) == 1 or (version != "0.62.0" and window == "1h")


@pytest.mark.parametrize("version", ["0.75.0", "0.98.0"])
async def test_given_up_while_the_post_of_an_earlier_process_is_still_at_work(version: str, tmp_path: Path) -> None:
    """The server refuses the second start at once; the first one makes its run a moment later."""
    async with Late(version) as server:
        server.delay = 1.5
        world = World(tmp_path, server)
        async with world.daemon(schedule(version)) as daemon:
            daemon.wake(seconds=6)
            await until(lambda: server.starts)
        server.draw = lambda arrival: (
            standins.Fault(400, {"detail": ["ValueError", "no"]}) if arrival.is_start else None
        )
        async with world.daemon(schedule(version), settle=3):
            the_one_run(world, (await world.settled())[0])


async def test_killed_after_the_record(world: World) -> None:
    for _ in range(3):
        async with world.daemon(schedule()) as daemon:
            daemon.wake(seconds=6 if not world.rows else 1)
            the_one_run(world, (await world.settled())[0])
    assert len(world.server.starts) == 1


async def test_killed_and_the_window_closes_while_the_server_is_away(world: World) -> None:
    """Whether the lost request made a run, only the server can tell, so it is waited for."""
    world.server.script(standins.slow(30))
    nightly = schedule(catchup_window="10s")
    async with world.daemon(nightly) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.runs)
    await world.server.refuse()
    world.clock.leap(minutes=5)
    async with world.daemon(nightly) as daemon:
        await until(lambda: daemon.attempts.queue.unavailable_since)
        await asyncio.sleep(0.3)
        assert [fire.state for fire in world.rows] == [FireState.CLAIMED]
        await world.server.listen()
        the_one_run(world, (await world.settled())[0])


@every_version
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(standins.RESET_AFTER, id="reset"),
        pytest.param(standins.ERROR_AFTER, id="500"),
        pytest.param(standins.TOO_BUSY_AFTER, id="429 that says too busy"),
        pytest.param(standins.CUT_SHORT_AFTER, id="half an answer"),
        pytest.param(standins.slow(3), id="no answer in time"),
    ],
)
@pytest.mark.parametrize("attempts", [1, 5], ids=["a single attempt", "attempts left"])
async def test_a_lost_answer_after_the_run_was_made(world: World, fault: standins.Fault, attempts: int) -> None:
    world.server.script(fault)
    retry = QUICK["retry"] | {"max_attempts": attempts}
    async with world.daemon(schedule(world.server.version, retry=retry)) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    the_one_run(world, fire)
    assert fire.attempts == len(world.server.starts) == 1


@every_version
async def test_a_lost_request_that_made_no_run_is_sent_again(world: World) -> None:
    world.server.script(standins.RESET, standins.ERROR)
    async with world.daemon(schedule(world.server.version)) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    the_one_run(world, fire)
    assert fire.attempts == len(world.server.starts) == 3


async def test_no_more_attempts_than_allowed_and_the_reason_is_told(world: World) -> None:
    world.server.script(*[standins.ERROR] * 9)
    with capture_logs() as logs:
        async with world.daemon(schedule(retry=QUICK["retry"] | {"max_attempts": 2})) as daemon:
            daemon.wake(seconds=6)
            (fire,) = await world.settled()
    assert (fire.state, fire.reason, fire.attempts) == (FireState.FAILED, Reason.RETRIES_EXHAUSTED, 2)
    assert "QueuePool" in (fire.message or "")
    assert len(world.server.starts) == 2
    assert [entry["log_level"] for entry in logs if entry["event"] == "fire.failed"] == ["error"]


@every_version
async def test_a_name_that_a_foreign_run_has(world: World) -> None:
    name = "nightly-20261123T120000Z"
    row = world.server._row(name, status="completed")
    row["body"]["created"] = "2020-01-01T00:00:00"
    world.server.runs[name] = row
    async with world.daemon(schedule(world.server.version)) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == (FireState.FAILED, Reason.NAME_TAKEN)
    assert row["id"] in (fire.message or "")
    assert list(world.server.runs) == [name]


async def test_a_server_that_is_away_and_comes_back(world: World) -> None:
    with capture_logs() as logs:
        async with world.daemon(schedule(), schedule(name="other"), schedule(name="third")) as daemon:
            await until(lambda: len(daemon.targets._checked) == 3)
            await world.server.refuse()
            daemon.wake(seconds=6)
            await until(lambda: daemon.attempts.queue.unavailable_since)
            await asyncio.sleep(0.7)
            assert {fire.state for fire in world.rows} == {FireState.CLAIMED}
            await world.server.listen()
            rows = await world.settled(3)
    assert {fire.state for fire in rows} == {FireState.STARTED}
    assert len(world.server.runs) == len(world.server.starts) == 3
    events = [entry["event"] for entry in logs]
    assert (events.count("server.unavailable"), events.count("server.back")) == (1, 1)
    assert events.count("fire.started") == 3


async def test_a_server_that_stays_away_for_the_whole_window(world: World) -> None:
    async with world.daemon(schedule(catchup_window="10s")) as daemon:
        await until(lambda: daemon.targets._checked)
        await world.server.refuse()
        daemon.wake(seconds=6)
        await until(lambda: daemon.attempts.queue.unavailable_since)
        world.clock.leap(seconds=9)
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == (FireState.MISSED, Reason.CATCHUP_WINDOW)
    assert world.server.runs == {}


async def test_two_slots_and_ten_fires_by_priority_and_age(world: World) -> None:
    world.server.script(*[standins.slow(0.05)] * 10)
    names = [f"s{number}" for number in range(10)]
    some = [schedule(name=name, priority=50 + (index == 9)) for index, name in enumerate(names)]
    async with world.daemon(*some) as daemon:
        await until(lambda: len(daemon.targets._checked) == 10)
        daemon.clock.leap(seconds=6)
        for name in names:
            daemon.engine.wake([name])
        rows = await world.settled(10)
    assert {fire.state for fire in rows} == {FireState.STARTED}
    assert {fire.attempts for fire in rows} == {1}
    assert len(world.server.runs) == 10
    assert "s9-20261123T120000Z" in list(world.server.runs)[:3]


async def test_no_free_slot_is_waited_for_however_often(world: World) -> None:
    world.server.script(*[standins.NO_SLOT] * 3)
    async with world.daemon(schedule(retry={"max_attempts": 1})) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled(seconds=8)
    the_one_run(world, fire)


@every_version
async def test_a_stale_id_is_resolved_once_more(world: World) -> None:
    async with world.daemon(schedule(world.server.version)) as daemon:
        await until(lambda: daemon.targets._checked)
        world.server.make_stale()
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    the_one_run(world, fire)
    assert len(world.server.starts) == 2


@every_version
async def test_an_id_that_was_renewed_and_goes_stale_too_is_renewed(world: World) -> None:
    def gone_again(arrival: standins.Arrival) -> None:
        if arrival.is_start and len(world.server.starts) < 3:
            world.server.make_stale()

    world.server.draw = gone_again
    async with world.daemon(schedule(world.server.version)) as daemon:
        await until(lambda: daemon.targets._checked)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    the_one_run(world, fire)
    assert len(world.server.starts) == 3


async def test_an_id_that_is_called_stale_and_has_no_successor_is_tried_once_more(world: World) -> None:
    text = "Unable to get pipeline_snapshots with ID 'x': not found"
    world.server.script(*[standins.Fault(404, {"detail": ["KeyError", text]})] * 3)
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == (FireState.FAILED, Reason.REJECTED)
    assert len(world.server.starts) == 2


async def test_a_target_that_does_not_exist_is_loud_before_and_at_its_fire_time(world: World) -> None:
    with capture_logs() as logs:
        async with world.daemon(schedule(snapshot="nope"), schedule(name="other")) as daemon:
            await until(lambda: daemon.targets.unresolved)
            assert "nope" in daemon.targets.unresolved["nightly"]
            daemon.wake(seconds=6)
            rows = {fire.schedule: fire for fire in await world.settled(2)}
    assert (rows["nightly"].state, rows["nightly"].reason) == (FireState.FAILED, Reason.UNRESOLVED)
    assert rows["other"].state is FireState.STARTED
    levels = {entry["event"]: entry["log_level"] for entry in logs}
    assert (levels["schedule.unresolved"], levels["fire.failed"]) == ("error", "error")


async def test_with_known_ids_a_daemon_starts_and_fires_though_nothing_can_be_asked(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
    lists = world.server._lists
    world.server._lists = dict  # type: ignore[method-assign]
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    world.server._lists = lists  # type: ignore[method-assign]
    the_one_run(world, fire)


async def test_a_journal_that_is_locked_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    monkeypatch.setattr(engines, "_JOURNAL_RETRY", 0.05)
    with capture_logs() as logs:
        async with world.daemon(schedule()) as daemon:
            await until(lambda: daemon.targets._checked)
            with closing(sqlite3.connect(world.folder / "journal.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                daemon.wake(seconds=6)
                await until(lambda: any(entry["event"] == "journal.unavailable" for entry in logs))
                other.execute("ROLLBACK")
            the_one_run(world, (await world.settled())[0])
    assert len(world.server.starts) == 1


async def test_a_journal_that_is_locked_between_the_post_and_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    world.server.script(standins.slow(0.2))
    with capture_logs() as logs:
        async with world.daemon(schedule()) as daemon:
            await until(lambda: daemon.targets._checked)
            daemon.wake(seconds=6)
            await until(lambda: world.server.runs)
            with closing(sqlite3.connect(world.folder / "journal.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                await until(lambda: any(entry["event"] == "journal.unavailable" for entry in logs))
                other.execute("ROLLBACK")
            the_one_run(world, (await world.settled())[0])
    assert len(world.server.starts) == 1


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param({}, [("12:00", "started", None)], id="due at the reload"),
        pytest.param({"jitter": "2h"}, [("12:00", "started", None)], id="waiting for its jitter"),
    ],
)
@pytest.mark.parametrize("after", ["30 * * * *", None], ids=["another trigger", "removed"])
async def test_a_fire_that_is_due_when_its_trigger_goes(
    world: World, before: dict[str, Any], expected: list[Any], after: str | None
) -> None:
    async with world.daemon(schedule(**before)) as daemon:
        world.clock.leap(seconds=6)
        await daemon.engine.apply(loaded(schedule(cron=after)) if after else loaded())
        daemon.wake()
        await world.settled()
        if after:
            daemon.wake(minutes=30)
            expected = [*expected, ("12:30", "started", None)]
        rows = await world.settled(len(expected))
    assert [(f"{fire.fire_time:%H:%M}", fire.state, fire.reason) for fire in rows] == expected
    assert len(world.server.runs) == len(expected)


async def test_a_held_fire_has_a_row_when_its_trigger_goes(world: World) -> None:
    async with world.daemon(schedule(overlap="buffer_one")) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        daemon.wake(hours=1)
        await asyncio.sleep(0.1)
        await world.settled()
        await daemon.engine.apply(loaded())
        rows = await world.settled(2)
    assert [(fire.state, fire.reason) for fire in rows] == [
        (FireState.STARTED, None),
        (FireState.SKIPPED, Reason.OVERLAP),
    ]


async def test_a_held_fire_is_started_when_the_run_ends_also_after_its_window(world: World) -> None:
    held = schedule(overlap="buffer_one", catchup_window="10s")
    async with world.daemon(held) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        for _ in range(420):  # an hour and more, in steps that are no sleep of the machine
            world.clock.leap(seconds=9)
            daemon.engine.awake._last_look = world.clock()
        daemon.wake()
        await asyncio.sleep(0.1)
        assert len(world.rows) == 1
        world.server.runs[first.run_name or ""]["body"]["status"] = "completed"
        daemon.runs.follow(first, after=0)
        rows = await world.settled(2)
    assert [fire.state for fire in rows] == [FireState.STARTED, FireState.STARTED]


async def test_a_reload_of_the_same_set_changes_nothing(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        for step in range(20):
            world.clock.leap(seconds=0.5)
            await daemon.engine.apply(loaded(schedule(priority=step)))
        the_one_run(world, (await world.settled())[0])


@pytest.mark.parametrize(
    ("catchup", "expected"),
    [
        pytest.param("none", "12:00 missed catchup_none, 13:00 missed catchup_none", id="none"),
        pytest.param("latest", "12:00 missed catchup_latest, 13:00 started", id="latest"),
        pytest.param("all", "12:00 started, 13:00 started", id="all"),
    ],
)
async def test_catch_up_over_a_restart(world: World, catchup: str, expected: str) -> None:
    nightly = schedule(catchup=catchup, catchup_window="3h")
    async with world.daemon(nightly):
        pass
    world.clock.leap(minutes=70)
    async with world.daemon(nightly):
        rows = await world.settled(2)
    found = [" ".join(filter(None, (f"{fire.fire_time:%H:%M}", fire.state, fire.reason))) for fire in rows]
    assert ", ".join(found) == expected
    assert len(world.server.runs) == expected.count("started")


async def test_a_clock_that_leaps_while_awake_is_a_sleep(world: World) -> None:
    async with world.daemon(schedule(catchup="none")) as daemon:
        daemon.wake(minutes=10)
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == (FireState.MISSED, Reason.CATCHUP_NONE)


async def test_a_clock_set_back_starts_nothing_twice(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        daemon.wake(seconds=-8)
        daemon.wake(seconds=8)
        await asyncio.sleep(0.2)
        the_one_run(world, (await world.settled())[0])
    world.clock.leap(hours=-1)
    with capture_logs() as logs:
        async with world.daemon(schedule()):
            pass
    assert "clock.behind" in [entry["event"] for entry in logs]


async def test_overlap_skip_and_max_runs_over_a_restart(world: World) -> None:
    limited = schedule(every="1s", overlap="skip", max_runs=2, catchup="all")
    async with world.daemon(limited) as daemon:
        daemon.wake(seconds=2)
        await until(lambda: len(world.rows) >= 2 and world.server.runs)
        (run,) = world.server.runs.values()
        await until(lambda: any(fire.state is FireState.STARTED for fire in world.rows))
    async with world.daemon(limited) as daemon:
        started = next(fire for fire in world.rows if fire.state is FireState.STARTED)
        assert daemon.engine.standing(limited).running
        assert daemon.engine.standing(limited).runs == 1
        run["body"]["status"] = "completed"
        daemon.runs.follow(started, after=0)
        await until(lambda: not daemon.engine.standing(limited).running)
        daemon.wake(seconds=1)
        await until(lambda: len(world.server.runs) == 2)
        daemon.wake(seconds=3)
        await until(lambda: any(fire.reason is Reason.MAX_RUNS for fire in world.rows))
    assert len(world.server.runs) == 2
    assert {fire.reason for fire in world.rows} <= {None, Reason.OVERLAP, Reason.MAX_RUNS}


async def test_a_manual_fire_is_a_fire_of_its_own(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        first, closed = await daemon.engine.fire_now("nightly")
        second, _ = await daemon.engine.fire_now("nightly")
        found = await asyncio.wait_for(closed, 3)
        rows = await world.settled(2)
        with pytest.raises(ZendaemonError, match="there is no schedule 'nope'"):
            await daemon.engine.fire_now("nope")
    assert (found.state, found.key, found.manual) == (FireState.STARTED, first.key, True)
    assert first.key != second.key
    assert {fire.run_name for fire in rows} == set(world.server.runs)
    assert (first.run_name or "").startswith("nightly-manual-2026")


async def test_draining_ends_the_attempt_in_hand_and_leaves_the_claims(world: World) -> None:
    world.server.script(standins.slow(0.3))
    async with world.daemon(schedule(name="a"), schedule(name="b"), slots=1) as daemon:
        await until(lambda: len(daemon.targets._checked) == 2)
        daemon.wake(seconds=6)
        await until(lambda: world.server.runs)
        await daemon.engine.stop()
        assert await daemon.attempts.drain(timedelta(seconds=2)) == 1
    assert sorted(fire.state for fire in world.rows) == [FireState.CLAIMED, FireState.STARTED]
    async with world.daemon(schedule(name="a"), schedule(name="b")):
        rows = await world.settled(2)
    assert {fire.state for fire in rows} == {FireState.STARTED}
    assert len(world.server.runs) == len(world.server.starts) == 2


async def test_draining_does_not_wait_for_ever(world: World) -> None:
    world.server.script(standins.slow(30))
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.runs)
        assert await daemon.attempts.drain(timedelta(seconds=0.1)) == 1
    assert [fire.state for fire in world.rows] == [FireState.CLAIMED]


@pytest.mark.parametrize("made", [True, False], ids=["its run was made", "its run was not made"])
async def test_a_claim_whose_schedule_is_gone_is_settled_by_asking(world: World, made: bool) -> None:
    world.server.script(standins.slow(30, created=made))
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
        await asyncio.sleep(0.05)
    async with world.daemon(settle=0):
        (fire,) = await world.settled()
    if made:
        the_one_run(world, fire)
    else:
        assert (fire.state, fire.reason) == (FireState.FAILED, Reason.REMOVED)
    assert len(world.server.starts) == 1


async def test_a_run_is_followed_to_its_end(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        assert fire.run_status == "initializing"
        world.server.runs[fire.run_name or ""]["body"]["status"] = "failed"
        with capture_logs() as logs:
            daemon.runs.follow(fire, after=0)
            await until(lambda: world.rows[0].run_status == "failed")
            await until(lambda: not daemon.engine.activity.active("nightly"))
    assert [(entry["log_level"], entry["status"]) for entry in logs if entry["event"] == "run.status"] == [
        ("error", "failed")
    ]


async def test_the_times_of_a_run_are_those_of_the_server(world: World) -> None:
    def told(instant: str) -> datetime:
        return datetime.fromisoformat(instant).replace(tzinfo=UTC)

    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        run = world.server.runs[fire.run_name or ""]
        assert (fire.run_started_at, fire.run_ended_at) == (told(run["metadata"]["start_time"]), None)
        run["metadata"] |= {"start_time": "2026-11-23T12:00:07.25", "end_time": "2026-11-23T12:00:08"}
        run["body"]["status"] = "running"
        daemon.runs.follow(fire, after=0)
        await until(lambda: world.rows[0].run_status == "running")
        (fire,) = world.rows
        assert (fire.run_started_at, fire.run_ended_at) == (told("2026-11-23T12:00:07.25"), None), "it goes on"
        run["metadata"]["end_time"] = "2026-11-23T12:03:00"
        run["body"]["status"] = "completed"
        daemon.runs.follow(fire, after=0)
        await until(lambda: world.rows[0].run_status == "completed")
        (fire,) = world.rows
    assert (fire.run_started_at, fire.run_ended_at) == (told("2026-11-23T12:00:07.25"), told("2026-11-23T12:03:00"))


@pytest.mark.parametrize(
    ("start", "end", "ended"),
    [
        pytest.param(-60, None, None, id="no end: ours, when it was seen"),
        pytest.param(3600, None, 3600, id="no end, and a clock ahead of ours: not before the start"),
        pytest.param(-60, -61, -60, id="an end without its fraction: not before the start"),
    ],
)
async def test_an_end_that_the_server_does_not_tell_or_not_well(
    world: World, start: int, end: int | None, ended: int | None
) -> None:
    """Seconds from the instant at which the run failed."""
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        failed_at = world.clock()

        def naive(seconds: int) -> str:
            return (failed_at + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()

        run = world.server.runs[fire.run_name or ""]
        run["metadata"] |= {"start_time": naive(start), "end_time": None if end is None else naive(end)}
        run["body"]["status"] = "failed"
        daemon.runs.follow(fire, after=0)
        await until(lambda: world.rows[0].run_status == "failed")
        (fire,) = world.rows
    assert fire.run_started_at == failed_at + timedelta(seconds=start)
    assert fire.run_ended_at is not None
    if ended is None:
        assert failed_at <= fire.run_ended_at <= world.clock()
    else:
        assert fire.run_ended_at == failed_at + timedelta(seconds=ended)


async def test_when_a_run_that_is_gone_ended_is_not_known(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        del world.server.runs[fire.run_name or ""]
        daemon.runs.follow(fire, after=0)
        await until(lambda: world.rows[0].run_status == "deleted")
        (gone,) = world.rows
    assert gone.run_started_at == fire.run_started_at is not None
    assert gone.run_ended_at is None


async def test_a_fault_of_one_schedule_does_not_touch_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = vars(engines)["plan"]

    def faulty(planned: Schedule, *args: Any, **keys: Any) -> Any:  # noqa: ANN401
        if planned.name == "a":
            raise RuntimeError("a fault of ours")
        return plan(planned, *args, **keys)

    monkeypatch.setattr(engines, "plan", faulty)
    with capture_logs() as logs:
        async with world.daemon(schedule(name="a"), schedule(name="b")) as daemon:
            daemon.wake(seconds=6)
            (fire,) = await world.settled()
    assert fire.schedule == "b"
    assert [entry["schedule"] for entry in logs if entry["event"] == "engine.error"][:1] == ["a"]


async def test_a_fault_while_an_end_is_recorded_leaves_no_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_DELAY", 0.05)
    with capture_logs() as logs:
        async with world.daemon(schedule()) as daemon:
            await until(lambda: daemon.targets._checked)
            record = daemon.journal.record

            async def faulty(_: Fire) -> None:
                monkeypatch.setattr(daemon.journal, "record", record)
                raise RuntimeError("a fault of ours")

            monkeypatch.setattr(daemon.journal, "record", faulty)
            daemon.wake(seconds=6)
            the_one_run(world, (await world.settled())[0])
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["engine.error"]
    assert len(world.server.starts) == 1


async def test_the_tasks_end_also_when_they_are_woken_and_cancelled_at_once(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        await asyncio.sleep(0.3)
        daemon.runs.follow(fire)
        await daemon.engine.apply(loaded(schedule()))
        for task in daemon.tasks:
            task.cancel()
        ended, going = await asyncio.wait(daemon.tasks, timeout=1)
    assert (len(ended), len(going)) == (len(daemon.tasks), 0)
