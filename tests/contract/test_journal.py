"""The journal, on real SQLite files."""

# ruff: noqa: ASYNC221, ASYNC240 - files and processes of a test may block its loop
from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from privileges import nobody

from zendaemon.core.errors import JournalError, SettingsError
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.journal import Journal, Reader, database, read_history, reading
from zendaemon.journal.tables import LATEST, TROUBLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIME = datetime(2026, 11, 23, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRE = Fire(schedule="nightly", fire_time=TIME, run_name="nightly-x", claimed_at=TIME)
STARTED = replace(FIRE, state=FireState.STARTED, run_id="r1", run_status="initializing", attempts=1, decided_at=TIME)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(url(path))
    try:
        yield journal
    finally:
        await journal.close()


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


async def test_a_claim_is_given_once_and_outlives_the_process(path: Path) -> None:
    async with opened(path) as journal:
        assert await journal.claim([FIRE], {}) == [FIRE]
        assert await journal.claim([FIRE], {}) == []
    async with opened(path) as journal:
        assert await journal.claim([FIRE, replace(FIRE, fire_time=TIME + HOUR)], {}) == [
            replace(FIRE, fire_time=TIME + HOUR)
        ]
        assert await journal.claims() == [FIRE, replace(FIRE, fire_time=TIME + HOUR)]


async def test_a_manual_fire_of_the_same_second_is_another_fire(path: Path) -> None:
    async with opened(path) as journal:
        assert len(await journal.claim([FIRE, replace(FIRE, manual=True)], {})) == 2


async def test_a_claim_is_on_disk_when_the_call_returns(path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from datetime import UTC, datetime\n"
        "from zendaemon.core.fire import Fire\n"
        "from zendaemon.journal import Journal\n"
        "journal = Journal.open(sys.argv[1])\n"
        "fires = [Fire(schedule='nightly', fire_time=datetime(2026, 11, 23, 2, tzinfo=UTC))]\n"
        "asyncio.run(journal.claim(fires, {}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, url(path)], check=False)
    assert killed.returncode == -9
    async with opened(path) as journal:
        assert [fire.fire_time for fire in await journal.claims()] == [TIME]


async def test_every_field_comes_back(path: Path) -> None:
    full = Fire(
        schedule="nightly",
        fire_time=TIME + timedelta(microseconds=5),
        manual=True,
        state=FireState.MISSED,
        reason=Reason.CATCHUP_NONE,
        message="'; drop table fires; -- ü \u2028",
        run_id="r1",
        run_name="n",
        run_status="completed",
        attempts=3,
        lateness_seconds=1.25,
        claimed_at=TIME,
        decided_at=datetime.fromisoformat("2026-11-23T03:00:00+01:00"),
        project="vision",
        through=TIME + HOUR,
        rule='{"every": 60}',
        run_started_at=TIME + timedelta(seconds=1, microseconds=7),
        run_ended_at=datetime.fromisoformat("2026-11-23T04:00:00+01:00"),
    )
    async with opened(path) as journal:
        await journal.claim([full], {})
        assert list(read_history(url(path))) == [full]


async def test_a_text_that_no_database_takes_is_kept_as_far_as_can_be(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        await journal.record(replace(FIRE, state=FireState.FAILED, message="half a pair: \ud83d"))
        assert [fire.message for fire in read_history(url(path))] == ["half a pair: ?"]


async def test_record_closes_claimed_rows_and_no_others(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        await journal.record(STARTED)
        await journal.record(replace(FIRE, state=FireState.FAILED, reason=Reason.REJECTED))
        await journal.record(replace(STARTED, schedule="unknown"))
        assert list(read_history(url(path))) == [STARTED]
        assert await journal.claims() == []


async def test_the_status_of_a_run_and_whether_it_is_followed(path: Path) -> None:
    later = replace(FIRE, fire_time=TIME + HOUR)
    async with opened(path) as journal:
        await journal.claim([FIRE, later], {})
        await journal.record(STARTED)
        await journal.record(replace(later, state=FireState.FAILED))
        assert await journal.followed() == [STARTED]
        running = replace(STARTED, run_status="running", run_started_at=TIME + timedelta(seconds=1))
        await journal.record_status(running, follow=True)
        assert await journal.followed() == [running]
        failed = replace(running, run_status="failed", message="oom", run_ended_at=TIME + HOUR)
        await journal.record_status(failed, follow=False)
        assert await journal.followed() == []
        assert list(read_history(url(path), state="started")) == [failed]


async def test_sync_gives_each_schedule_its_watermark(path: Path) -> None:
    later, latest = TIME + HOUR, TIME + 2 * HOUR
    async with opened(path) as journal:
        assert await journal.sync({"a": "1", "b": "1", "c": "1"}, [], TIME) == {"a": TIME, "b": TIME, "c": TIME}
        await journal.claim([], {"a": TIME + timedelta(minutes=30)})
        found = await journal.sync({"a": "1", "b": "2", "d": "1"}, [], later)
        assert found == {"a": TIME + timedelta(minutes=30), "b": later, "d": later}, "unchanged, another rule, new"
        found = await journal.sync({"a": "1", "b": "2", "c": "1"}, ["a"], latest)
        assert found == {"a": latest, "b": later, "c": latest}, "restarted, unchanged, removed and back"
    async with opened(path) as journal:
        assert await journal.sync({"a": "1", "b": "2"}, [], latest + HOUR) == {"a": latest, "b": later}


async def test_sync_of_nothing(path: Path) -> None:
    async with opened(path) as journal:
        assert await journal.sync({}, [], TIME) == {}
        await journal.sync({"a": "1"}, [], TIME)
        assert await journal.sync({}, [], TIME) == {}
        assert await journal.sync({"a": "1"}, [], TIME + HOUR) == {"a": TIME + HOUR}


async def test_sync_of_many(path: Path) -> None:
    rules = {f"s{number}": "1" for number in range(2000)}
    async with opened(path) as journal:
        await journal.sync(rules, [], TIME)
        marks = dict.fromkeys(rules, TIME + HOUR)
        fires = [replace(FIRE, schedule=name) for name in rules]
        assert len(await journal.claim(fires, marks)) == 2000
        assert await journal.sync(rules, [], TIME) == marks


async def test_history_is_sorted_and_filtered_over_many_pages(path: Path) -> None:
    rows = [
        replace(
            FIRE, schedule=f"s{number % 3}", fire_time=TIME + timedelta(minutes=number // 2), manual=number % 2 == 1
        )
        for number in range(1300)
    ]
    ranged = replace(
        FIRE, state=FireState.MISSED, fire_time=TIME - HOUR, through=TIME + timedelta(minutes=100, seconds=1)
    )
    async with opened(path) as journal:
        await journal.claim([*rows, ranged], {})
        found = list(read_history(url(path)))
        latest = [fire.through or fire.fire_time for fire in found]
        assert latest == sorted(latest, reverse=True)
        assert len(found) == len(set(found)) == 1301
        assert found[found.index(ranged) + 1].fire_time == TIME + timedelta(minutes=100)
        assert [fire for fire in found if fire.schedule == "s1"] == list(read_history(url(path), "s1"))
        assert list(read_history(url(path), state="missed")) == [ranged]
        assert list(read_history(url(path), "nope")) == []


async def test_run_counts(path: Path) -> None:
    states = [FireState.CLAIMED, FireState.STARTED, FireState.FAILED, FireState.SKIPPED, FireState.MISSED]
    rows = [replace(FIRE, fire_time=TIME + number * HOUR, state=state) for number, state in enumerate(states)]
    async with opened(path) as journal:
        manual = replace(FIRE, manual=True, state=FireState.STARTED)
        await journal.claim([*rows, manual, replace(FIRE, schedule="other")], {})
        counts = await journal.run_counts(["nightly", "other", *(f"none-{number}" for number in range(2000))])
        assert {name: count for name, count in counts.items() if count} == {"nightly": 1}, "open claims are no runs yet"
        assert await journal.run_counts([]) == {}


async def test_resolved_targets(path: Path) -> None:
    async with opened(path) as journal:
        await journal.save_resolved("a", "1", TIME)
        await journal.save_resolved("a", "2", TIME)
        await journal.save_resolved("b", "3", TIME)
        await journal.forget_resolved(["b", "c"])
        await journal.forget_resolved([])
        assert await journal.load_resolved() == {"a": "2"}


async def test_many_records_are_committed_together(path: Path) -> None:
    rows = [replace(FIRE, fire_time=TIME + timedelta(seconds=number)) for number in range(500)]
    async with opened(path) as journal:
        await journal.claim(rows, {})
        commits = 0

        def count(statement: str) -> None:
            nonlocal commits
            commits += statement.strip().upper() == "COMMIT"

        def watch() -> None:
            with journal._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert isinstance(raw, sqlite3.Connection)
                raw.set_trace_callback(count)

        await asyncio.get_running_loop().run_in_executor(journal._thread, watch)
        await asyncio.gather(*(journal.record(replace(fire, state=FireState.FAILED)) for fire in rows))
        assert await journal.claims() == []
        assert 1 <= commits <= 5


async def test_a_write_that_fails_is_told_to_its_caller_and_the_next_one_works(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        with pytest.raises(TypeError, match="serializable"):
            await asyncio.wait_for(journal.record(replace(FIRE, attempts={1})), 1)  # type: ignore[arg-type]
        await journal.record(STARTED)
        assert await journal.claims() == []


async def test_a_write_whose_caller_is_gone_is_written(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        writing = asyncio.create_task(journal.record(STARTED))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert list(read_history(url(path))) == [STARTED]


async def test_a_second_owner_is_refused_and_told_who_the_first_is(path: Path) -> None:
    async with opened(path) as journal:
        program = "import sys; from zendaemon.journal import Journal; Journal.open(sys.argv[1])"
        second = subprocess.run([sys.executable, "-c", program, url(path)], check=False, capture_output=True, text=True)
        assert f"another zendaemon (PID {os.getpid()})" in second.stderr
        assert "--state" in second.stderr
        assert await journal.claim([FIRE], {}) == [FIRE]


@pytest.mark.parametrize("missing", [1, 100, 4095])
async def test_a_file_without_its_end_is_refused(path: Path, missing: int) -> None:
    """Which SQLite itself may not notice; unless a log is beside it, which may have what is missing."""
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
    content = path.read_bytes()[:-missing]
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"end is missing; .*restoring .*journal\.db; it is never replaced"):
        Journal.open(url(path))
    assert path.read_bytes() == content


async def test_a_file_whose_end_is_in_the_log_beside_it_is_used(path: Path) -> None:
    """As a copy of both that was made while a checkpoint was on its way."""
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        copies = {file: file.read_bytes() for file in (path, path.with_name(path.name + "-wal"))}
    for file, content in copies.items():
        file.write_bytes(content if file != path else content + b"half a page")
    async with opened(path):
        pass
    assert list(read_history(url(path))) == [FIRE]


async def test_the_right_to_write_ends_with_close(path: Path) -> None:
    for _ in range(2):
        async with opened(path):
            pass


async def test_history_is_read_beside_an_open_journal_and_without_one(path: Path) -> None:
    assert list(read_history(url(path))) == []
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        reading = read_history(url(path))
        assert next(reading) == FIRE
        await journal.claim([replace(FIRE, fire_time=TIME + HOUR)], {})
        assert list(reading) == []
        assert len(list(read_history(url(path)))) == 2
    assert len(list(read_history(url(path)))) == 2


async def test_reading_history_writes_nothing(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
    before = path.read_bytes()
    assert len(list(read_history(url(path)))) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"this is no database\n" * 1000, id="another file"),
        pytest.param(b"SQLite format 3\x00" + b"\xff" * 5000, id="a damaged header"),
    ],
)
def test_a_file_that_is_no_journal_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"restoring .*journal\.db; it is never replaced"):
        Journal.open(url(path))
    assert path.read_bytes() == content


async def test_a_journal_with_a_damaged_page_is_told(path: Path) -> None:
    async with opened(path) as journal:
        rows = [replace(FIRE, fire_time=TIME + timedelta(seconds=number)) for number in range(500)]
        await journal.claim(rows, {})
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 12288)
    path.write_bytes(bytes(content))
    with pytest.raises(JournalError):
        async with opened(path) as journal:
            await journal.claims()
    with pytest.raises(JournalError):
        list(read_history(url(path)))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """`/proc` refuses new files, also to root."""
    with pytest.raises(JournalError, match=r"state folder /proc/sys cannot be used.*--state"):
        Journal.open("sqlite:////proc/sys/journal.db")
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be used"):
        Journal.open(url(tmp_path / "file" / "journal.db"))


def test_a_folder_that_is_read_only(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with nobody(), pytest.raises(JournalError, match="cannot be used"):
        Journal.open(url(path))


async def test_a_journal_of_a_newer_version(path: Path) -> None:
    async with opened(path):
        pass
    sql(path, "update alembic_version set version_num = '9' || version_num")
    with pytest.raises(JournalError, match="newer zendaemon"):
        Journal.open(url(path))
    sql(path, "update alembic_version set version_num = substr(version_num, 2)")
    async with opened(path):
        pass


async def test_a_journal_of_an_older_version_is_brought_up_with_its_rows(path: Path) -> None:
    path.parent.mkdir()
    engine = database.connect(url(path))
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    sql(path, "insert into schedules (name, rule, watermark) values ('nightly', '1', '2026-11-23 02:00:00.000000')")
    sql(
        path,
        "insert into fires (schedule, fire_time, manual, state, run_id, run_name, run_status, attempts, claimed_at,"
        " decided_at, followed) values ('nightly', '2026-11-23 02:00:00.000000', 0, 'started', 'r1', 'nightly-x',"
        " 'initializing', 1, '2026-11-23 02:00:00.000000', '2026-11-23 02:00:00.000000', 1)",
    )
    async with opened(path) as journal:
        assert list(read_history(url(path))) == [STARTED] == await journal.followed()
        assert await journal.run_counts(["nightly"]) == {"nightly": 1}
        assert await journal.sync({"nightly": "1"}, [], TIME + HOUR) == {"nightly": TIME}
    assert sql(path, "select version_num from alembic_version") == [("0008",)]
    assert sql(path, "select name, pruned_runs from schedules") == [("nightly", 0)]


async def test_what_the_status_page_reads(path: Path) -> None:
    """The latest fire of each schedule, loaded or not, the latest of all, and those that want attention."""
    through = TIME + 3 * HOUR
    missed = replace(FIRE, state=FireState.MISSED, reason=Reason.CATCHUP_NONE, through=through, rule="{}")
    run_failed = replace(STARTED, schedule="other", fire_time=TIME + HOUR, run_status="failed")
    early = replace(FIRE, fire_time=TIME - HOUR, state=FireState.FAILED, reason=Reason.REJECTED)
    async with opened(path) as journal:
        await journal.claim([early, missed, replace(STARTED, schedule="other"), run_failed], {})
    reader = Reader(url(path))
    assert reader.last() == {
        "nightly": (through, FireState.MISSED, None),
        "other": (TIME + HOUR, FireState.STARTED, "failed"),
    }
    assert reader.recent(2) == [missed, run_failed]
    assert reader.trouble(TIME - 2 * HOUR, 9) == [missed, run_failed, early]
    assert reader.trouble(TIME, 1) == [missed]
    assert reader.trouble(TIME, 9) == [missed, run_failed]
    assert reader.latest(["other", "nobody"], 1) == {"other": [run_failed], "nobody": []}
    plan = sql(path, f"explain query plan select * from fires where {TROUBLE} order by {LATEST} desc, id desc")  # noqa: S608
    assert "fires_trouble" in str(plan)
    reader.close()


async def test_what_the_status_page_reads_of_a_journal_that_is_not_there(path: Path) -> None:
    reader = Reader(url(path))
    assert (reader.last(), reader.recent(1), reader.trouble(TIME, 1)) == ({}, [], [])


async def test_a_migration_that_is_interrupted_begins_anew(path: Path) -> None:
    path.parent.mkdir()
    sql(path, "create table resolved (x)")
    with pytest.raises(JournalError):
        Journal.open(url(path))
    assert sql(path, "select name from sqlite_master where type = 'table'") == [("resolved",)], "no half of a journal"
    sql(path, "drop table resolved")
    async with opened(path) as journal:
        assert await journal.claims() == []


async def test_a_locked_database_is_told_and_works_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 100)
    async with opened(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            begun = time.monotonic()
            for work in (journal.claim([FIRE], {}), journal.record(STARTED), journal.sync({"a": "1"}, [], TIME)):
                with pytest.raises(JournalError, match="locked"):
                    await work
            assert 0.3 <= time.monotonic() - begun < 2
            other.execute("ROLLBACK")
        assert await journal.claim([FIRE], {}) == [FIRE]
        await journal.record(STARTED)
        assert list(read_history(url(path))) == [STARTED]


def test_a_locked_database_is_not_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 100)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match="locked"):
            Journal.open(url(path))


async def test_a_lock_of_another_is_waited_for(path: Path) -> None:
    async with opened(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            claiming = asyncio.create_task(journal.claim([FIRE], {}))
            await asyncio.sleep(0.2)
            other.execute("COMMIT")
            assert await claiming == [FIRE]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"], ids=["journal", "log", "index of the log"])
async def test_a_file_that_is_moved_away_is_noticed_and_works_again_when_it_is_back(path: Path, suffix: str) -> None:
    file = beside(path, suffix)
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        file.rename(path.with_name("away"))
        for work in (
            journal.claim([replace(FIRE, schedule="other")], {}),
            journal.record(STARTED),
            journal.claims(),
            journal.sync({"a": "1"}, [], TIME),
        ):
            with pytest.raises(JournalError, match=rf"{file} was deleted or moved away .*; .*docs/journal\.md"):
                await work
        assert not file.exists(), "no other was made in its place"
        path.with_name("away").rename(file)
        assert await journal.claims() == [FIRE], "nothing was written meanwhile"
        await journal.record(STARTED)
    assert list(read_history(url(path))) == [STARTED]


async def test_a_new_connection_opens_the_same_file_or_none(path: Path) -> None:
    """There is one connection for the life of a journal; should it ever break, this is what the next one must do."""
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        journal._engine.dispose()
        assert not beside(path, "-wal").exists()
        assert await journal.claims() == [FIRE], "a log that went with its connection is not missed"
        path.rename(path.with_name("away"))
        journal._engine.dispose()
        with pytest.raises(JournalError, match="moved away"):
            await journal.claims()
        assert not path.exists(), "no empty journal was made"
        path.with_name("away").rename(path)
        assert await journal.claims() == [FIRE]
        assert await journal.claims() == [FIRE], "the new connection's log is known"
        beside(path, "-wal").rename(path.with_name("away"))
        with pytest.raises(JournalError, match="moved away"):
            await journal.claims()


async def test_a_disk_that_was_full_is_told_and_works_again(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([FIRE], {})
        size = beside(path, "-wal").stat().st_size
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
        try:
            with pytest.raises(JournalError, match="cannot be used"):
                await journal.claim([replace(FIRE, schedule="other")], {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert await journal.claims() == [FIRE]
        assert await journal.claim([replace(FIRE, schedule="other")], {}) == [replace(FIRE, schedule="other")]


async def test_a_folder_that_is_moved_away_is_noticed_and_works_again_when_it_is_back(path: Path) -> None:
    async with opened(path) as journal:
        path.parent.rename(path.parent.with_name("away"))
        with pytest.raises(JournalError, match="moved away"):
            await journal.claim([FIRE], {})
        path.parent.with_name("away").rename(path.parent)
        assert await journal.claim([FIRE], {}) == [FIRE]


async def test_a_journal_that_is_replaced_is_noticed(path: Path) -> None:
    async with opened(path) as journal:
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        with pytest.raises(JournalError, match="was replaced"):
            await journal.claim([FIRE], {})


async def test_a_claim_is_undone_when_the_journal_goes_while_it_waits_for_a_lock(path: Path) -> None:
    async with opened(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            claiming = asyncio.create_task(journal.claim([FIRE], {}))
            await asyncio.sleep(0.2)
            path.rename(path.with_name("away"))
            other.execute("ROLLBACK")
        with pytest.raises(JournalError, match="moved away"):
            await claiming
        path.with_name("away").rename(path)
        assert await journal.claims() == []
        assert await journal.claim([FIRE], {}) == [FIRE]


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_what_was_in_a_deleted_log_is_written_at_the_end(path: Path, suffix: str) -> None:
    rows = [replace(FIRE, fire_time=TIME + timedelta(seconds=number)) for number in range(50)]
    async with opened(path) as journal:
        for fire in rows:
            await journal.claim([fire], {})
        beside(path, suffix).unlink()
        with pytest.raises(JournalError, match="deleted"):
            await journal.claim([replace(FIRE, schedule="other")], {})
    async with opened(path) as journal:
        assert await journal.claims() == rows
    assert sql(path, "pragma integrity_check") == [("ok",)]


async def test_a_folder_that_cannot_be_looked_into_is_told(path: Path) -> None:
    async with opened(path) as journal:
        path.parent.chmod(0o755)
        path.chmod(0o666)
        path.parent.parent.chmod(0)
        try:
            with nobody(), pytest.raises(JournalError, match="cannot be looked at: Permission denied"):
                await journal.claim([FIRE], {})
        finally:
            path.parent.parent.chmod(0o755)
        assert await journal.claim([FIRE], {}) == [FIRE]


async def test_later_pages_of_the_history_cost_no_more_than_the_first(path: Path) -> None:
    rows = [replace(FIRE, fire_time=TIME + timedelta(seconds=number)) for number in range(10_000)]
    async with opened(path) as journal:
        await journal.claim(rows, {})
    engine = database.connect(url(path), read_only=True)
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        costs = [0]

        def cost() -> None:
            costs[-1] += 1

        raw.set_progress_handler(cost, 100)  # called for each hundred steps of SQLite's machine
        for number, _ in enumerate(reading.history(connection)):
            if number % 500 == 499:
                costs.append(0)
    engine.dispose()
    assert len(costs) == 21
    assert max(costs) <= 1.5 * costs[0]


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "nonsense", "postgresql://u:secret@h/d"])
def test_urls_that_cannot_be_used(bad: str) -> None:
    with pytest.raises((SettingsError, JournalError)) as caught:
        Journal.open(bad)
    assert "secret" not in str(caught.value)


async def test_the_last_success_is_the_one_whose_run_began_last(path: Path) -> None:
    def done(hour: int, status: str, began: int | None, name: str = "nightly") -> Fire:
        began_at = None if began is None else TIME + began * HOUR
        more = {"schedule": name, "fire_time": TIME + hour * HOUR, "run_status": status, "run_started_at": began_at}
        return replace(STARTED, **more)

    async with opened(path) as journal:
        assert await journal.last_success("nightly") is None
        assert await journal.first_fires(["nightly"]) == {}
        caught_up = done(1, "cached", 9)
        rows = [done(0, "completed", 0), caught_up, done(2, "completed", 3), done(4, "failed", 11)]
        others = [done(5, "completed", 12, "hourly"), done(6, "running", 13), done(7, "skipped", None, "weekly")]
        await journal.claim([*rows, *others], {})
        assert await journal.last_success("nightly") == caught_up
        assert await journal.last_successes(["weekly", "hourly", "none"]) == {"weekly": others[2], "hourly": others[0]}
        assert await journal.first_fires(["nightly", "weekly", "none"]) == {"nightly": rows[0], "weekly": others[2]}
