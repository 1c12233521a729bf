"""Pauses with all real parts of a daemon, against the stand-in server: nothing starts, everything has its row."""

# ruff: noqa: FBT001 - columns of tables are flags
from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from alembic import command
from alembic.config import Config
from contract.test_engine import Daemon, World, loaded, schedule, the_one_run, until
from standin import server as standins
from standin.server import StandIn
from structlog.testing import capture_logs

from zendaemon import clock
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.journal import Journal, Reader, database
from zendaemon.operations import MAX_NOTE, NoSuchSchedule, Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from zendaemon.core.pause import Pause

PAUSED = (FireState.SKIPPED, Reason.PAUSED)
STARTED = (FireState.STARTED, None)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with StandIn() as server:
        made = World(tmp_path, server)
        monkeypatch.setattr(clock, "now", made.clock)
        yield made


def operating(world: World, daemon: Daemon) -> Operations:
    process = SimpleNamespace(started_at=world.clock(), reloads=(), healthy=True)
    return Operations(
        engine=daemon.engine,
        targets=daemon.targets,
        attempts=daemon.attempts,
        server=cast("Any", daemon.zenml),
        process=cast("Any", process),
        reader=Reader(world.url),
    )


def told(rows: list[Fire]) -> list[str]:
    return [" ".join(filter(None, (f"{row.fire_time:%H:%M:%S}", row.state, row.reason))) for row in rows]


async def live(daemon: Daemon, seconds: float) -> None:
    """So many seconds of the world's clock, in steps that are no sleep of the machine."""
    for _ in range(round(seconds * 2)):
        daemon.wake(seconds=0.5)
        await asyncio.sleep(0.02)


async def test_what_comes_due_is_skipped_until_it_is_resumed(world: World) -> None:
    with capture_logs() as logs:
        async with world.daemon(schedule(), schedule(name="other")) as daemon:
            operations = operating(world, daemon)
            shown = await operations.pause("nightly", note="  a look at the data ")
            assert (shown.note, shown.until, shown.by) == ("a look at the data", None, "operator")
            daemon.wake(seconds=6)
            rows = {fire.schedule: fire for fire in await world.settled(2)}
            assert {name: (fire.state, fire.reason) for name, fire in rows.items()} == {
                "nightly": PAUSED,
                "other": STARTED,
            }
            assert (rows["nightly"].attempts, rows["nightly"].run_name) == (0, None)
            states = {one.schedule: (one.state, one.paused) for one in operations.schedules()}
            assert states == {"nightly": ("paused", shown), "other": ("active", None)}
            assert operations.status().counts["paused"] == 1
            ended = await operations.resume("nightly")
            assert (ended.since, ended.note) == (shown.since, shown.note)
            assert operations.schedule("nightly").paused is None
            await daemon.engine.apply(loaded(schedule(cron="1 * * * *")))
            for _ in range(7):
                daemon.wake(seconds=9)
            rows = {fire.schedule: fire for fire in await world.settled(3)}
    assert (rows["nightly"].state, rows["nightly"].reason) == STARTED
    events = [(entry["event"], entry.get("schedule")) for entry in logs if entry["event"].startswith("schedule.")]
    assert [event for event in events if event[0] in ("schedule.paused", "schedule.resumed")] == [
        ("schedule.paused", "nightly"),
        ("schedule.resumed", "nightly"),
    ]
    assert [entry["reason"] for entry in logs if entry["event"] == "fire.skipped"] == [Reason.PAUSED]


async def test_a_fire_by_hand_starts_while_paused(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        operations = operating(world, daemon)
        await operations.pause("nightly")
        fire = await asyncio.wait_for(operations.fire("nightly", wait=True), 5)
        assert (fire.state, fire.manual) == (FireState.STARTED, True)
    assert list(world.server.runs) == [fire.run_name]


async def test_what_waits_in_an_outage_and_was_never_sent_is_skipped_at_once(world: World) -> None:
    async with world.daemon(schedule(), schedule(name="other")) as daemon:
        await until(lambda: len(daemon.targets._checked) == 2)
        await world.server.refuse()
        daemon.wake(seconds=6)
        await until(lambda: daemon.attempts.queue.unavailable_since)
        await operating(world, daemon).pause("nightly")
        await until(lambda: [fire for fire in world.rows if fire.final])
        assert [(fire.schedule, fire.state, fire.reason) for fire in world.rows if fire.final] == [("nightly", *PAUSED)]
        await world.server.listen()
        rows = await world.settled(2)
    assert {fire.schedule for fire in rows if fire.state is FireState.STARTED} == {"other"}
    assert list(world.server.runs) == ["other-20261123T120000Z"]


@pytest.mark.parametrize("made", [True, False], ids=["its run was made", "its run was not made"])
async def test_what_may_have_been_sent_is_looked_up_first(world: World, made: bool) -> None:
    world.server.script(standins.RESET_AFTER if made else standins.RESET)
    retry = {"initial_delay": "5s", "max_delay": "5s"}
    async with world.daemon(schedule(retry=retry)) as daemon:
        daemon.attempts._random.random = lambda: 0.2  # type: ignore[method-assign]
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
        await operating(world, daemon).pause("nightly")
        (fire,) = await world.settled()
    if made:
        the_one_run(world, fire)
    else:
        assert (fire.state, fire.reason, fire.attempts) == (*PAUSED, 1)
        assert world.server.runs == {}
    assert len(world.server.starts) == 1


@pytest.mark.parametrize("made", [True, False], ids=["its run was made", "its run was not made"])
async def test_what_a_killed_daemon_may_have_sent_is_looked_up_first(world: World, made: bool) -> None:
    world.server.script(standins.slow(30, created=made))
    async with world.daemon(schedule()) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
        await operating(world, daemon).pause("nightly")
    async with world.daemon(schedule()):
        (fire,) = await world.settled()
    if made:
        the_one_run(world, fire)
    else:
        assert (fire.state, fire.reason) == PAUSED
    assert len(world.server.starts) == 1


async def test_what_is_in_doubt_and_resumed_meanwhile_is_started(world: World) -> None:
    """The pause is over before the server can be asked, so that it is not the end of the fire."""
    world.server.script(standins.RESET)
    async with world.daemon(schedule()) as daemon:
        operations = operating(world, daemon)
        await until(lambda: daemon.targets._checked)
        lost = asyncio.create_task(until(lambda: world.server.starts))
        daemon.wake(seconds=6)
        await lost
        await world.server.refuse()
        await operations.pause("nightly")
        await until(lambda: daemon.attempts.queue.unavailable_since)
        await operations.resume("nightly")
        await world.server.listen()
        the_one_run(world, (await world.settled())[0])


async def test_a_pause_that_begins_while_a_target_is_resolved(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
        operations, resolved = operating(world, daemon), daemon.targets.resolved

        async def slowly(asked: Any) -> Any:  # noqa: ANN401
            await operations.pause("nightly")
            return await resolved(asked)

        daemon.targets.resolved = slowly  # type: ignore[method-assign]
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == PAUSED
    assert world.server.starts == []


async def test_a_restart_keeps_the_pause_and_says_so(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        shown = await operating(world, daemon).pause("nightly", note="hands off")
    with capture_logs() as logs:
        async with world.daemon(schedule()) as daemon:
            assert operating(world, daemon).schedule("nightly").paused == shown
            daemon.wake(seconds=6)
            (fire,) = await world.settled()
            await operating(world, daemon).resume("nightly")
        async with world.daemon(schedule()) as daemon:
            assert operating(world, daemon).schedule("nightly").state == "active"
    assert (fire.state, fire.reason) == PAUSED
    said = [entry for entry in logs if entry["event"] == "schedule.paused"]
    assert [(entry["schedule"], entry["note"]) for entry in said] == [("nightly", "hands off")]


async def test_a_pause_ends_by_itself_at_its_instant_and_says_so_once(world: World) -> None:
    end = datetime(2026, 11, 23, 12, 0, 3, tzinfo=UTC)
    with capture_logs() as logs:
        async with world.daemon(schedule(every="1s")) as daemon:
            await operating(world, daemon).pause("nightly", until=end)
            while world.clock() < end + timedelta(seconds=3):
                await live(daemon, 0.5)
            assert operating(world, daemon).schedule("nightly").state == "active"
            await until(lambda: all(fire.final for fire in world.rows))
    for fire in world.rows:
        assert (fire.state, fire.reason) == (PAUSED if fire.fire_time < end else STARTED), fire.fire_time
    assert {fire.state for fire in world.rows} == {FireState.SKIPPED, FireState.STARTED}
    times = [fire.fire_time for fire in world.rows]
    assert times == [times[0] + timedelta(seconds=second) for second in range(len(times))]
    assert [entry["schedule"] for entry in logs if entry["event"] == "schedule.resumed"] == ["nightly"]


@pytest.mark.parametrize(
    ("catchup", "expected"),
    [
        pytest.param("none", ["14:00:00 missed catchup_none", "15:00:00 missed catchup_none"], id="none"),
        pytest.param("latest", ["14:00:00 missed catchup_latest", "15:00:00 started"], id="latest"),
        pytest.param("all", ["14:00:00 started", "15:00:00 started"], id="all"),
    ],
)
async def test_a_pause_that_ends_while_the_daemon_is_down(world: World, catchup: str, expected: list[str]) -> None:
    nightly = schedule(catchup=catchup, catchup_window="9h")
    async with world.daemon(nightly) as daemon:
        await operating(world, daemon).pause("nightly", until=datetime(2026, 11, 23, 14, tzinfo=UTC))
    world.clock.leap(hours=3, minutes=10)
    async with world.daemon(nightly):
        rows = await world.settled(4)
    assert told(rows) == ["12:00:00 skipped paused", "13:00:00 skipped paused", *expected]


async def test_pausing_again_replaces_note_and_end_and_leaves_no_gap(world: World) -> None:
    async with world.daemon(schedule(every="1s")) as daemon:
        operations = operating(world, daemon)
        first = await operations.pause("nightly", note="first", until=world.clock() + timedelta(hours=1))
        for number in range(3):
            await live(daemon, 1)
            again = await operations.pause("nightly", note=str(number))
            assert (again.since, again.until, again.note) == (first.since, None, str(number))
        await live(daemon, 1)
        await until(lambda: len(world.rows) >= 4)
        await asyncio.sleep(0.1)
        assert {(fire.state, fire.reason) for fire in world.rows} == {PAUSED}
        assert [pause.note for pause in Reader(world.url).pauses()] == ["2"]
    assert world.server.starts == []


async def test_a_pause_is_no_run_for_max_runs_and_overlap(world: World) -> None:
    async with world.daemon(schedule(every="1s", max_runs=1, overlap="skip")) as daemon:
        operations = operating(world, daemon)
        await operations.pause("nightly")
        await live(daemon, 2)
        await operations.resume("nightly")
        await live(daemon, 2)
        await until(lambda: all(fire.final for fire in world.rows))
    started = [fire for fire in world.rows if fire.state is FireState.STARTED]
    assert len(started) == len(world.server.runs) == 1
    assert {fire.reason for fire in world.rows if fire.fire_time < started[0].fire_time} == {Reason.PAUSED}


async def test_a_held_fire_is_skipped_when_its_run_ends_in_a_pause(world: World) -> None:
    async with world.daemon(schedule(every="5s", overlap="buffer_one")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        await live(daemon, 5)
        await operating(world, daemon).pause("nightly")
        world.server.runs[first.run_name or ""]["body"]["status"] = "completed"
        daemon.runs.follow(first, after=0)
        rows = await world.settled(2)
    assert [(fire.state, fire.reason) for fire in rows] == [STARTED, PAUSED]


async def test_a_reload_that_removes_and_adds_it_leaves_it_paused(world: World) -> None:
    nightly, other = schedule(), schedule(name="other")
    async with world.daemon(nightly, other) as daemon:
        operations = operating(world, daemon)
        await operations.pause("nightly")
        await operations.pause("other")
        world.clock.leap(seconds=6)
        await daemon.engine.apply(loaded())
        assert {(fire.schedule, fire.state, fire.reason) for fire in await world.settled(2)} == {
            ("nightly", *PAUSED),
            ("other", *PAUSED),
        }
        await operations.resume("other")
        with pytest.raises(NoSuchSchedule):
            await operations.resume("other")
        await daemon.engine.apply(loaded(schedule(cron="1 * * * *"), schedule(name="other", cron="1 * * * *")))
        assert {one.schedule: one.state for one in operations.schedules()} == {"nightly": "paused", "other": "active"}
        for _ in range(7):
            daemon.wake(seconds=9)
        rows = await world.settled(4)
    assert {(fire.schedule, fire.state) for fire in rows[2:]} == {
        ("nightly", FireState.SKIPPED),
        ("other", FireState.STARTED),
    }


async def test_a_clock_that_is_set_back_lifts_no_pause_and_brings_none_back(world: World) -> None:
    async with world.daemon(schedule(), schedule(name="other")) as daemon:
        operations = operating(world, daemon)
        await operations.pause("nightly", until=world.clock() + timedelta(hours=1))
        await operations.pause("other")
        await operations.resume("other")
        daemon.wake(hours=-2)
        assert {one.schedule: one.state for one in operations.schedules()} == {"nightly": "paused", "other": "active"}
        await operations.resume("nightly")
        assert operations.schedule("nightly").state == "active"
        for _ in range(2):
            daemon.wake(seconds=9)
        await asyncio.sleep(0.1)
    assert world.rows == []


async def test_what_cannot_be_written_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 50)
    with capture_logs() as logs:
        async with world.daemon(schedule()) as daemon:
            operations = operating(world, daemon)
            await until(lambda: daemon.targets._checked)
            with closing(sqlite3.connect(world.folder / "journal.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                with pytest.raises(JournalError):
                    await operations.pause("nightly")
                assert operations.schedule("nightly").state == "active"
                other.execute("ROLLBACK")
                await operations.pause("nightly", note="kept")
                other.execute("BEGIN EXCLUSIVE")
                for deed in (operations.resume("nightly"), operations.pause("nightly", note="another")):
                    with pytest.raises(JournalError):
                        await deed
                assert operations.schedule("nightly").state == "paused"
                other.execute("ROLLBACK")
            daemon.wake(seconds=6)
            (fire,) = await world.settled()
    assert (fire.state, fire.reason) == PAUSED
    assert [pause.note for pause in Reader(world.url).pauses()] == ["kept"]
    events = [entry["event"] for entry in logs if entry["event"] in ("schedule.paused", "schedule.resumed")]
    assert events == ["schedule.paused"]


async def test_what_a_disk_took_and_reported_as_failed_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process would put it in force, and nobody was told."""
    async with world.daemon(schedule()) as daemon:
        operations, pauses = operating(world, daemon), daemon.engine.pauses
        save = pauses._journal.save_pause

        async def take(pause: Pause) -> None:
            await save(pause)
            raise JournalError("the journal cannot be used: disk I/O error")

        async def failing(deed: Callable[[str], Awaitable[object]]) -> None:
            with monkeypatch.context() as faulty:
                faulty.setattr(pauses._journal, "save_pause", take)
                with pytest.raises(JournalError):
                    await deed("nightly")
            await until(lambda: not pauses.in_doubt)

        await failing(operations.pause)
        assert Reader(world.url).pauses() == []
        await operations.pause("nightly")
        await failing(operations.resume)
        assert [pause.until for pause in Reader(world.url).pauses()] == [None]
        assert operations.schedule("nightly").state == "paused"


async def test_what_is_refused(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        operations = operating(world, daemon)
        with pytest.raises(NoSuchSchedule, match="did you mean nightly"):
            await operations.pause("nightli")
        with pytest.raises(ZendaemonError, match="not in the future"):
            await operations.pause("nightly", until=world.clock())
        with pytest.raises(ZendaemonError, match="1001 characters"):
            await operations.pause("nightly", note="x" * (MAX_NOTE + 1))
        with pytest.raises(ZendaemonError, match="'nightly' is not paused"):
            await operations.resume("nightly")
        assert Reader(world.url).pauses() == []
        assert (await operations.pause("nightly", note="half \udcff and \0")).note == "half ? and"


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_a_journal_from_before_pauses_keeps_its_rows(world: World, revision: str) -> None:
    path = world.folder / "journal.db"
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = database.connect(world.url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    mark = "2026-11-23 11:00:00.000000"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("INSERT INTO schedules (name, rule, watermark) VALUES ('nightly', NULL, ?)", [mark])
        old.execute(
            "INSERT INTO fires (schedule, fire_time, manual, state, attempts, followed, run_id, run_name)"
            " VALUES ('nightly', ?, 0, 'started', 1, 0, 'r1', 'nightly-x')",
            [mark],
        )
    assert Reader(world.url).pauses() == [], "read before it is migrated"
    async with world.daemon(schedule()) as daemon:
        assert daemon.engine.pauses.get("nightly") is None
        await operating(world, daemon).pause("nightly")
        daemon.wake(seconds=6)
        rows = await world.settled(2)
    assert told(rows) == ["11:00:00 started", "12:00:00 skipped paused"]
    assert rows[0].run_id == "r1"
    journal = Journal.open(world.url)
    assert [pause.schedule for pause in await journal.pauses()] == ["nightly"]
    await journal.close()
