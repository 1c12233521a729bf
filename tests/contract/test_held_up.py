"""Trouble with one schedule, one request or one commit, and what it must not do to the rest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import World, loaded, schedule, the_one_run, until
from standin import server as standins
from standin.server import StandIn

from zendaemon.core.errors import JournalError, Unresolved
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

SECONDLY: dict[str, Any] = {"every": "1s", "catchup": "all", "catchup_window": "2d"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn() as server:
        yield World(tmp_path, server)


def each_second_once(rows: Sequence[Fire]) -> None:
    times = [fire.fire_time for fire in rows]
    assert {after - before for before, after in pairwise(times)} == {timedelta(seconds=1)}


@pytest.mark.parametrize("fault", [standins.slow(30, created=False), standins.ERROR], ids=["no answer", "500"])
async def test_look_ups_that_fail_for_some_names_hold_up_no_others(world: World, fault: standins.Fault) -> None:
    """Five fires of more priority are in doubt, and the server cannot be asked about them; it is well otherwise."""

    def poison(arrival: standins.Arrival) -> standins.Fault | None:
        if arrival.is_start:
            return standins.RESET if arrival.config["run_configuration"]["run_name"].startswith("bad") else None
        return fault if "bad" in arrival.query.get("name", "") else None

    bad = [schedule(name=f"bad-{number}", priority=100) for number in range(5)]
    async with world.daemon(*bad, schedule(name="good", every="1s"), slots=1) as daemon:
        await until(lambda: len(daemon.targets._checked) == len(bad) + 1)
        world.server.draw = poison
        world.clock.leap(seconds=6)

        def started() -> int:
            daemon.wake()
            return sum(fire.schedule == "good" and fire.state is FireState.STARTED for fire in world.rows)

        await until(lambda: started() >= 10, 60)
        assert {fire.state for fire in world.rows if fire.schedule != "good"} == {FireState.CLAIMED}
        world.server.draw = lambda _: None
        await until(lambda: all(fire.final for fire in world.rows), 30)
    assert {fire.state for fire in world.rows} == {FireState.STARTED}
    assert sorted(world.server.creations) == sorted(fire.run_name or "" for fire in world.rows)


@pytest.mark.parametrize("priorities", [(0, 100), (50, 50)], ids=["by priority", "then the oldest"])
async def test_two_schedules_that_are_behind_catch_up_in_turn(world: World, priorities: tuple[int, int]) -> None:
    first, second = (
        schedule(name=name, priority=priority, **SECONDLY) for name, priority in zip("ab", priorities, strict=True)
    )
    async with world.daemon(first, second):
        pass
    world.clock.leap(seconds=90)
    async with world.daemon(first, second) as daemon:
        daemon.engine.wake(["a", "b"])
        await until(lambda: len(world.server.creations) >= 180, 30)
        each_second_once([fire for fire in world.rows if fire.schedule == "a"])
        each_second_once([fire for fire in world.rows if fire.schedule == "b"])
    order = [name[0] for name in world.server.creations]
    assert len(set(world.server.creations)) == len(order)
    slices = 2 * 20
    if priorities[0] < priorities[1]:
        assert order[: order.index("b", 88)].count("a") <= slices
    else:
        assert all(abs(order[:end].count("a") - order[:end].count("b")) <= slices for end in range(180))


async def test_a_reload_while_it_is_not_known_what_the_disk_took(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit of a claim is reported as failed, and is there; there is a reload before it is tried again."""
    async with world.daemon(schedule(catchup="all")) as daemon:
        await until(lambda: daemon.targets._checked)
        claim = daemon.journal.claim
        failed = asyncio.Event()

        async def lies(planned: Sequence[Fire], watermarks: Mapping[str, datetime]) -> list[Fire]:
            await claim(planned, watermarks)
            failed.set()
            raise JournalError("the journal cannot be used: disk I/O error")

        monkeypatch.setattr(daemon.journal, "claim", lies)
        daemon.wake(seconds=6)
        await failed.wait()
        monkeypatch.setattr(daemon.journal, "claim", claim)
        assert [fire.state for fire in world.rows] == [FireState.CLAIMED]
        await daemon.engine.apply(loaded(schedule(catchup="none"), schedule(name="other", cron="30 * * * *")))
        (fire,) = await world.settled()
        daemon.wake()
        await asyncio.sleep(0.1)
        assert len(world.rows) == 1
    the_one_run(world, fire)
    assert len(world.server.starts) == 1


@pytest.mark.parametrize("made", [True, False], ids=["its run is made", "its run is not made"])
async def test_a_schedule_that_becomes_unresolved_while_its_request_is_lost(world: World, made: bool) -> None:  # noqa: FBT001
    """The request is at work for a second after we have given up waiting; its target is renamed meanwhile."""
    nightly = schedule()
    world.server.script(standins.Fault(created=made, late=1.2))
    async with world.daemon(nightly, settle=4) as daemon:
        await until(lambda: daemon.targets._checked)
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
        lists = world.server._lists
        world.server._lists = lambda: lists() | {"pipeline_snapshots": list}  # type: ignore[method-assign]
        with pytest.raises(Unresolved):
            await daemon.targets.resolve(nightly)
        daemon.targets.forget(nightly, world.server.target_id)
        (fire,) = await world.settled()
    if made:
        the_one_run(world, fire)
    else:
        assert (fire.state, fire.reason) == (FireState.FAILED, Reason.UNRESOLVED)
        assert not world.server.runs
    assert len(world.server.starts) == 1


async def test_a_schedule_that_is_removed_in_the_middle_of_its_catch_up(world: World) -> None:
    """What was claimed is started, as is what came due since the start; the rest of the misfires is not."""
    world.server.draw = lambda arrival: standins.slow(0.02) if arrival.is_start else None
    secondly = schedule(**SECONDLY)
    async with world.daemon(secondly):
        pass
    world.clock.leap(seconds=120)
    async with world.daemon(secondly, slots=1) as daemon:
        daemon.wake()
        await until(lambda: len(world.server.creations) >= 5)
        begun = len(world.rows)
        await daemon.engine.apply(loaded())
        await until(lambda: all(fire.final for fire in world.rows))
        rows = world.rows
    each_second_once(rows)
    started = [fire for fire in rows if fire.state is FireState.STARTED]
    given_up = [fire for fire in rows if fire.state is FireState.MISSED]
    assert {fire.reason for fire in given_up} == {Reason.REMOVED}
    assert len(started) + len(given_up) == len(rows) >= 120
    assert rows[:begun] == started[:begun]
    each_second_once(given_up)
    assert sorted(world.server.creations) == sorted(fire.run_name or "" for fire in started)


@pytest.mark.parametrize("suffixes", [("-wal",), ("-wal", "-shm")])
async def test_a_log_without_its_journal_is_left_alone(suffixes: tuple[str, ...], tmp_path: Path) -> None:
    """It holds the newest commits of a journal that is gone; a new journal would take it for its own, or delete it."""
    path, kept = tmp_path / "journal.db", tmp_path / "kept"
    kept.mkdir()
    journal = Journal.open(f"sqlite:///{path}")
    await journal.claim([Fire(schedule="a", fire_time=datetime(2026, 11, 23, tzinfo=UTC))], {})
    for suffix in suffixes:
        (kept / suffix).write_bytes((tmp_path / f"journal.db{suffix}").read_bytes())
    await journal.close()
    path.unlink()
    for suffix in suffixes:
        (tmp_path / f"journal.db{suffix}").write_bytes((kept / suffix).read_bytes())
    for _ in range(2):
        with pytest.raises(JournalError, match=r"is gone, and .*journal.db-wal is there"):
            Journal.open(f"sqlite:///{path}")
    assert not path.exists()
    for suffix in suffixes:
        assert (tmp_path / f"journal.db{suffix}").read_bytes() == (kept / suffix).read_bytes()
