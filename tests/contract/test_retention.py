"""Retention, on real SQLite files: what is pruned, what never is, and that nobody waits for it."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look again and again, and files may block its loop
from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from structlog.testing import capture_logs

from zendaemon import retention
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.journal import Journal, pruning, read_history
from zendaemon.retention import Retention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zendaemon.journal.pruning import Place, Swept

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
MANY = 10_000
FINAL = [state for state in FireState if state is not FireState.CLAIMED]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE", 0)


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(url(path))
    try:
        yield journal
    finally:
        await journal.close()


def row(ago: timedelta, schedule: str = "nightly", state: FireState = FireState.STARTED, **fields: Any) -> Fire:  # noqa: ANN401 - as Fire
    """A row whose fire time is `ago` before NOW."""
    run_id = "r" if state is FireState.STARTED else None
    return Fire(schedule=schedule, fire_time=NOW - ago, state=state, run_id=run_id, **fields)


async def fill(journal: Journal, rows: Iterable[Fire], followed: Iterable[Fire] = ()) -> None:
    """Insert rows as they are, and mark the runs that are still followed."""
    await journal.claim(list(rows), {})
    for fire in followed:
        await journal.record_status(fire, follow=True)


async def prune(journal: Journal, *, age: timedelta = 90 * DAY, count: int = MANY) -> int:
    """One round; the rows that it says were pruned."""
    with capture_logs() as logs:
        await Retention(journal, age=age, count=count, now=lambda: NOW)._prune()
    assert [entry["event"] for entry in logs] in ([], ["journal.pruned"])
    return logs[0]["rows"] if logs else 0


def left(path: Path) -> list[Fire]:
    return list(read_history(url(path)))


@pytest.mark.parametrize("state", FINAL)
async def test_a_row_goes_when_it_is_older_than_the_age(path: Path, state: FireState) -> None:
    old = [row(90 * DAY + number * SECOND, state=state, manual=number % 2 == 0) for number in range(1, 10)]
    young = [row(90 * DAY - number * SECOND, state=state) for number in range(9, -1, -1)]
    async with opened(path) as journal:
        await fill(journal, old + young)
        assert await prune(journal) == 9
        assert left(path) == young
        assert await prune(journal) == 0


async def test_a_row_that_stands_for_a_range_is_as_old_as_its_last_fire_time(path: Path) -> None:
    missed = {"state": FireState.MISSED, "reason": Reason.CATCHUP_NONE, "rule": "x"}
    long = row(200 * DAY, "a", through=NOW - 89 * DAY, **missed)
    gone = row(200 * DAY, "b", through=NOW - 91 * DAY, **missed)
    async with opened(path) as journal:
        await fill(journal, [long, gone])
        assert await prune(journal) == 1
        assert left(path) == [long]


@pytest.mark.parametrize("count", [1, 7, 199, 200, 201, 450])
async def test_a_row_goes_when_it_is_beyond_the_newest_of_its_schedule(path: Path, count: int) -> None:
    rows = {name: [row(2 * DAY + number * SECOND, name) for number in range(450)] for name in ("a", "b", "c")}
    few = [row(2 * DAY, f"few-{number}") for number in range(50)]
    async with opened(path) as journal:
        await fill(journal, [*rows["a"], *few, *rows["b"], *rows["c"]])
        assert await prune(journal, count=count) == 3 * (450 - count)
        for name, fires in rows.items():
            assert list(read_history(url(path), name)) == fires[:count]
        assert len(left(path)) == 3 * count + 50


async def test_of_rows_with_one_fire_time_the_later_ones_stay(path: Path) -> None:
    both = [row(2 * DAY), row(2 * DAY, manual=True)]
    async with opened(path) as journal:
        await fill(journal, both)
        await prune(journal, count=1)
        assert left(path) == both[1:]


async def test_claims_and_followed_runs_stay_and_take_their_places_in_the_count(path: Path) -> None:
    fires = [row(100 * DAY + number * SECOND) for number in range(20)]
    kept = [replace(fires[3], state=FireState.CLAIMED, run_id=None), fires[7]]
    fires[3] = kept[0]
    async with opened(path) as journal:
        await fill(journal, fires, followed=[fires[7]])
        assert await prune(journal, count=10, age=1000 * DAY) == 10
        assert left(path) == fires[:10]
        assert await prune(journal, count=10) == 8
        assert left(path) == kept
        assert await journal.claims() == [fires[3]]
        assert await journal.followed() == [fires[7]]
        await journal.record(replace(fires[3], state=FireState.FAILED))
        await journal.record_status(fires[7], follow=False)
        assert await prune(journal) == 2
        assert left(path) == []


async def test_many_old_rows_that_stay_hold_nothing_up(path: Path) -> None:
    claims = [row(200 * DAY + number * SECOND, state=FireState.CLAIMED) for number in range(1000)]
    gone = [row(100 * DAY + number * SECOND) for number in range(500)]
    async with opened(path) as journal:
        await fill(journal, claims + gone)
        assert await prune(journal, count=3) == 500
        assert len(await journal.claims()) == 1000


async def test_nothing_younger_than_a_day_goes(path: Path) -> None:
    young = [row(number * HOUR) for number in range(-5, 25)]
    old = [row(number * HOUR) for number in range(25, 40)]
    async with opened(path) as journal:
        await fill(journal, young + old)
        assert await prune(journal, count=1, age=SECOND) == len(old)
        assert left(path) == young
        assert await journal.claim([replace(young[-1], state=FireState.CLAIMED)], {}) == [], "it is still decided"


async def test_watermarks_stay(path: Path) -> None:
    async with opened(path) as journal:
        await journal.sync({"nightly": "1"}, [], NOW - 200 * DAY)
        await journal.claim([row(150 * DAY)], {"nightly": NOW - 150 * DAY})
        assert await prune(journal) == 1
    async with opened(path) as journal:
        assert await journal.sync({"nightly": "1"}, [], NOW) == {"nightly": NOW - 150 * DAY}


async def test_runs_that_are_pruned_count_for_max_runs(path: Path) -> None:
    names = ["nightly", "hourly", "gone"]
    fires = [
        row((100 + number) * DAY, name, state, manual=manual)
        for name in names
        for number, state in enumerate(FINAL * 100)
        for manual in (False, True)
    ]
    async with opened(path) as journal:
        await journal.sync({"nightly": "1", "hourly": "1"}, [], NOW)
        await fill(journal, [*fires, row(HOUR), row(0 * HOUR, state=FireState.CLAIMED)])
        assert await journal.run_counts(names) == {"nightly": 101, "hourly": 100, "gone": 100}
        assert await prune(journal, count=30) == len(fires)
        expected = {"nightly": 101, "hourly": 100}
        assert {name: count for name, count in (await journal.run_counts(names)).items() if count} == expected
        await journal.sync({"hourly": "2"}, [], NOW)
        await journal.sync({"nightly": "1", "hourly": "1"}, ["hourly"], NOW)
        await journal.record(row(0 * HOUR))
    async with opened(path) as journal:
        assert await journal.run_counts(["nightly"]) == {"nightly": 102}
        assert await journal.run_counts(["hourly"]) == {"hourly": 100}, "also removed, changed and back"


@pytest.mark.parametrize("age", [timedelta.max, 2000 * 365 * DAY], ids=["the longest", "before the calendar"])
async def test_an_age_beyond_the_calendar_keeps_everything(path: Path, age: timedelta) -> None:
    async with opened(path) as journal:
        await fill(journal, [row(20_000 * DAY)])
        assert await prune(journal, age=age, count=10**30) == 0


async def sweep(journal: Journal, age: timedelta, keep: int) -> AsyncIterator[Swept]:
    """Every transaction of a round in turn."""
    place: Place | None = None
    while (swept := await journal.prune_old(NOW - age, place)).place:
        yield swept
        place = swept.place
    yield swept
    place = None
    while (swept := await journal.prune_surplus(keep, NOW - DAY, place)).place:
        yield swept
        place = swept.place
    yield swept


async def test_a_transaction_is_small_whatever_there_is_to_do(path: Path) -> None:
    fires = [row(2 * DAY + number * SECOND, f"s{number % 4}") for number in range(20_000)]
    some = [replace(fire, schedule=f"t{number % 3000}") for number, fire in enumerate(fires[:6000])]
    costs: list[tuple[int, int]] = []
    async with opened(path) as journal:
        await fill(journal, fires + some)
        steps = 0

        def watch() -> None:
            def step() -> None:
                nonlocal steps
                steps += 1

            with journal._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert isinstance(raw, sqlite3.Connection)
                raw.set_progress_handler(step, 100)  # called for each hundred steps of SQLite's machine

        await asyncio.get_running_loop().run_in_executor(journal._thread, watch)
        async for swept in sweep(journal, 2 * DAY + 15_000 * SECOND, 2000):
            costs.append((swept.rows, steps))
            steps = 0
    assert max(rows for rows, _ in costs) == pruning.ROWS
    assert sum(rows for rows, _ in costs) == 20_000 - 4 * 2000
    first, *_, fifth, a, b, c, d = (costs[0][1], *sorted(cost for _, cost in costs))
    assert fifth <= 1.1 * first, "the work of a transaction does not grow with the journal"
    assert max(a, b, c, d) <= 2 * first, "nor much when it passes over the newest rows of another schedule"


async def test_every_query_goes_by_an_index(path: Path) -> None:
    plans: dict[str, str] = {}
    async with opened(path) as journal:
        await journal.sync({"nightly": "1"}, [], NOW)
        await fill(journal, [row(2 * DAY + number * SECOND, f"s{number % 3}") for number in range(2000)])

        @event.listens_for(journal._engine, "before_cursor_execute")
        def explain(connection: Any, _cursor: Any, statement: str, values: Any, _: Any, many: bool) -> None:  # noqa: ANN401, FBT001 - SQLAlchemy's
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                raw = connection.connection.dbapi_connection
                found = raw.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
                plans[statement] = "; ".join(line[3] for line in found)

        async for _ in sweep(journal, 2 * DAY + 1000 * SECOND, 100):
            pass
        await journal.run_counts(["nightly", "s1"])
        await journal.followed()
        await journal.claims()
        await journal.last_success("s1")
        await journal.first_fires(["s1"])
    assert len(plans) >= 12
    assert "fires_success (schedule=?)" in next(plan for query, plan in plans.items() if "run_status in" in query)
    for statement, plan in plans.items():
        assert "SEARCH" in plan or "USING INDEX" in plan, (statement, plan)
        assert "TEMP B-TREE" not in plan or "fires_claimed" in plan, (statement, plan)


async def test_a_claim_does_not_wait_for_the_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "ROWS", 10)
    async with opened(path) as journal:
        await fill(journal, [row(100 * DAY + number * SECOND) for number in range(3000)])
        pruning_all = asyncio.create_task(prune(journal))
        for number in range(20):
            new = Fire(schedule="new", fire_time=NOW + number * SECOND)
            assert await journal.claim([new], {}) == [new]
        assert not pruning_all.done()
        assert len(left(path)) > 2000, "a transaction went between two claims, and not many"
        assert await pruning_all == 3000


async def test_it_prunes_soon_after_the_start_and_again_and_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert retention._FIRST <= 60
    assert 1800 <= retention._BETWEEN <= 7200
    monkeypatch.setattr(retention, "_FIRST", 0.01)
    monkeypatch.setattr(retention, "_BETWEEN", 0.05)
    async with opened(path) as journal:
        with capture_logs() as logs:
            running = asyncio.create_task(Retention(journal, age=90 * DAY, count=MANY, now=lambda: NOW).run())
            for number in range(1, 4):
                await fill(journal, [row(100 * DAY)])
                async with asyncio.timeout(5):
                    while len(logs) < number:
                        await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert logs == 3 * [{"event": "journal.pruned", "rows": 1, "log_level": "info"}], "nothing is said of nothing"


async def test_no_fault_ends_the_task(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_FIRST", 0)
    monkeypatch.setattr(retention, "_BETWEEN", 0.01)
    clock = iter([ZeroDivisionError("no clock")])

    def now() -> datetime:
        for fault in clock:
            raise fault
        return NOW

    async with opened(path) as journal:
        await fill(journal, [row(100 * DAY)])
        path.rename(path.with_name("away"))
        with capture_logs() as logs:
            running = asyncio.create_task(Retention(journal, age=90 * DAY, count=MANY, now=now).run())
            async with asyncio.timeout(5):
                while len(logs) < 3:
                    await asyncio.sleep(0.01)
                path.with_name("away").rename(path)
                while logs[-1]["event"] != "journal.pruned":
                    await asyncio.sleep(0.01)
            assert not running.done()
            running.cancel()
    assert [entry["event"] for entry in logs[:2]] == ["engine.error", "journal.unavailable"]
    assert "moved away" in logs[1]["error"]


async def test_what_was_pruned_before_a_fault_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE", 30)
    async with opened(path) as journal:
        await fill(journal, [row(100 * DAY + number * SECOND) for number in range(300)])
        with capture_logs() as logs:
            pruning_all = asyncio.create_task(Retention(journal, age=90 * DAY, count=MANY, now=lambda: NOW)._prune())
            async with asyncio.timeout(5):
                while len(left(path)) == 300:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            pruning_all.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pruning_all
        assert [(entry["event"], entry["rows"]) for entry in logs] == [("journal.pruned", 200)]


def stays(rows: list[Fire], followed: set[Fire], age: timedelta, count: int) -> set[Fire]:
    """The rules, said once more and slowly. The rows are in the order in which they were inserted."""
    found = set()
    for name in {fire.schedule for fire in rows}:
        of_schedule = [fire for fire in rows if fire.schedule == name]
        newest = sorted(
            range(len(of_schedule)),
            key=lambda place: (of_schedule[place].through or of_schedule[place].fire_time, place),
            reverse=True,
        )
        for rank, place in enumerate(newest):
            fire = of_schedule[place]
            old = NOW - (fire.through or fire.fire_time)
            may_go = fire.final and fire not in followed and old > DAY
            if not (may_go and (old > age or rank >= count)):
                found.add(fire)
    return found


def random_rows(chance: random.Random) -> list[Fire]:
    names = chance.sample(["a", "a-1", "b", "nightly", "z", "z.1"], chance.randint(1, 6))
    rows = {}
    for _ in range(chance.randint(0, 150)):
        state = chance.choice(list(FireState))
        ago = chance.choice([chance.randint(0, 60) * HOUR, chance.randint(-3, 8) * DAY])
        through = (
            NOW - ago + chance.randint(0, 50) * HOUR if state is FireState.MISSED and chance.random() < 0.5 else None
        )
        fire = row(ago, chance.choice(names), state, manual=chance.random() < 0.3, through=through)
        rows[fire.schedule, fire.fire_time, fire.manual] = fire
    return list(rows.values())


@given(
    seed=st.integers(0, 2**48),
    age=st.sampled_from([HOUR, DAY, 36 * HOUR, 3 * DAY, 90 * DAY]),
    count=st.sampled_from([1, 2, 3, 10, 30, 1000]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 6)),
)
@settings(max_examples=60, deadline=None)
def test_what_stays_is_what_the_rules_say(seed: int, age: timedelta, count: int, size: tuple[int, int, int]) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    rows = random_rows(chance)
    followed = {fire for fire in rows if fire.state is FireState.STARTED and chance.random() < 0.2}
    names = {fire.schedule for fire in rows}
    runs = {
        name: sum(f.state is FireState.STARTED and not f.manual for f in rows if f.schedule == name) for name in names
    }

    async def all_of_it(path: Path) -> None:
        async with opened(path) as journal:
            await journal.sync(dict.fromkeys(names, "1"), [], NOW)
            await fill(journal, rows, followed)
            expected = stays(rows, followed, age, count)
            assert await prune(journal, age=age, count=count) == len(rows) - len(expected)
            assert set(left(path)) == expected
            counts = await journal.run_counts(names)
            assert {name: counts.get(name, 0) for name in names} == runs
            assert await prune(journal, age=age, count=count) == 0

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("ROWS", "STEPS", "STRIDE"), size, strict=True):
            patch.setattr(pruning, name, value)
        asyncio.run(all_of_it(Path(folder, "journal.db")))
        with closing(sqlite3.connect(Path(folder, "journal.db"))) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
