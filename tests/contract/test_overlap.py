"""What becomes of a fire while a run is active: told from the server at that moment, against the stand-in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import World, schedule, until
from standin import server as standins
from standin.server import StandIn

from zendaemon import gates
from zendaemon.core import following
from zendaemon.core.fire import FireState, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zendaemon.core.fire import Fire

VERSIONS = ["0.62.0", "0.75.0", "0.98.0"]
SECONDLY: dict[str, Any] = {"every": "1s", "catchup": "all"}


@pytest.fixture(params=["0.98.0"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn(request.param) as server:
        yield World(tmp_path, server)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STOPPING", "_OTHER_RUNS", "_OTHER_SCHEDULES"):
        monkeypatch.setattr(gates, name, 0.1)


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is the last to learn that a run has ended: it looks at runs after minutes."""
    monkeypatch.setattr(following, "FIRST", 300.0)


def end(world: World, name: str, status: str = "completed") -> None:
    world.server.runs[name]["body"]["status"] = status


def fates(rows: list[Fire]) -> list[tuple[str, str | None]]:
    return [(fire.state.value, fire.reason and fire.reason.value) for fire in rows]


@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize("world", VERSIONS, indirect=True)
async def test_skip_goes_by_what_the_server_says_at_that_moment(world: World) -> None:
    async with world.daemon(schedule(world.server.version, overlap="skip")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        daemon.wake(hours=1)
        second = (await world.settled(2))[1]
        assert (second.state, second.reason) == (FireState.SKIPPED, Reason.OVERLAP)
        assert second.message == f"run {first.run_name} is active"
        end(world, first.run_name or "")
        daemon.wake(hours=1)
        assert fates(await world.settled(3)) == [("started", None), ("skipped", "overlap"), ("started", None)]
    assert world.rows[0].run_status == "completed"  # what was seen is recorded


@pytest.mark.usefixtures("nobody_looks")
async def test_a_server_that_does_not_say_is_waited_for(world: World) -> None:
    async with world.daemon(schedule(overlap="skip")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        world.server.draw = lambda arrival: standins.ERROR if "/runs" in arrival.path else None
        daemon.wake(hours=1)
        await until(lambda: len(world.rows) == 2)
        await asyncio.sleep(0.5)
        assert fates(world.rows)[1] == ("claimed", None)
        end(world, first.run_name or "")
        world.server.draw = lambda _: None
        assert fates(await world.settled(2, seconds=20))[1] == ("started", None)


@pytest.mark.usefixtures("nobody_looks")
async def test_a_server_that_does_not_say_it_of_one_of_several_runs_is_waited_for(world: World) -> None:
    async with world.daemon(schedule(overlap="skip")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        await daemon.engine.fire_now("nightly")
        by_hand = next(fire for fire in await world.settled(2) if fire.manual)
        end(world, by_hand.run_name or "")
        world.server.draw = lambda it: standins.ERROR if it.path.endswith(first.run_id) or "id" in it.query else None
        daemon.wake(hours=1)
        await until(lambda: len(world.rows) == 3)
        await asyncio.sleep(0.5)
        assert fates(world.rows)[2] == ("claimed", None)
        end(world, first.run_name or "")
        world.server.draw = lambda _: None
        assert fates(await world.settled(3, seconds=20))[2] == ("started", None)


async def test_a_buffered_fire_starts_when_the_run_has_ended(world: World) -> None:
    async with world.daemon(schedule(overlap="buffer_one")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        daemon.wake(hours=1)
        await asyncio.sleep(0.3)
        assert len(world.rows) == 1
        end(world, first.run_name or "")
        assert fates(await world.settled(2, seconds=20)) == [("started", None)] * 2
    assert len(world.server.starts) == 2


@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize("overlap", ["skip", "buffer_one"])
async def test_a_stuck_run_blocks_no_longer_than_the_timeout(world: World, overlap: str) -> None:
    async with world.daemon(schedule(overlap=overlap, overlap_timeout="90m")) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        daemon.wake(hours=1)
        await asyncio.sleep(0.3)
        if overlap == "skip":
            assert fates(await world.settled(2))[1] == ("skipped", "overlap")
            daemon.wake(hours=1)
        else:
            assert len(world.rows) == 1
            world.clock.leap(minutes=31)
        rows = await world.settled(3 if overlap == "skip" else 2)
        assert fates(rows)[-1] == ("started", None)


@pytest.mark.usefixtures("nobody_looks")
async def test_cancel_running_stops_the_run_before_it_starts_another(world: World) -> None:
    async with world.daemon(schedule(overlap="cancel_running")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        world.server.move(first.run_name or "", "running")
        daemon.wake(hours=1)
        assert fates(await world.settled(2)) == [("started", None)] * 2
        assert world.server.runs[first.run_name or ""]["body"]["status"] == "stopped"
        stops = world.server.stops
        assert len(stops) == 1
        assert stops[0].at < world.server.starts[1].at
        assert world.rows[0].run_status == "stopped"


@pytest.mark.usefixtures("nobody_looks")
async def test_cancel_running_where_the_run_cannot_be_stopped_fails_with_the_reason(world: World) -> None:
    def refuse(arrival: standins.Arrival) -> standins.Fault | None:
        body = {"detail": ["RuntimeError", "No module named 'kubernetes'"]}
        return standins.Fault(500, body) if arrival.path.endswith("/stop") else None

    async with world.daemon(schedule(overlap="cancel_running")) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        world.server.draw = refuse
        daemon.wake(hours=1)
        second = (await world.settled(2))[1]
        assert (second.state, second.reason) == (FireState.FAILED, Reason.OVERLAP)
        assert "No module named 'kubernetes'" in (second.message or "")


async def test_a_run_that_is_not_taken_yet_is_stopped_when_it_can_be(world: World) -> None:
    async with world.daemon(schedule(overlap="cancel_running")) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        daemon.wake(hours=1)
        await until(lambda: len(world.server.stops) == 2)
        world.server.move(first.run_name or "", "running")
        assert fates(await world.settled(2)) == [("started", None)] * 2


async def test_of_fires_that_replace_each_other_the_latest_is_left(world: World) -> None:
    """During an outage each waits for its start; only the last one gets it."""
    async with world.daemon(schedule(overlap="cancel_running", **SECONDLY)) as daemon:
        await until(lambda: daemon.targets._checked)
        await world.server.refuse()
        daemon.wake(seconds=3)
        await until(lambda: len(world.rows) >= 3)
        await asyncio.sleep(1)
        await world.server.listen()
        rows = await world.settled(len(world.rows), seconds=30)
    assert fates(rows) == [*[("skipped", "overlap")] * (len(rows) - 1), ("started", None)]


@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize("world", VERSIONS, indirect=True)
@pytest.mark.parametrize("overlap", ["skip", "buffer_one"])
async def test_runs_by_hand_of_the_pipeline_count_where_that_is_wanted(world: World, overlap: str) -> None:
    by_hand = world.server._row("by-hand", status="running")
    world.server.runs["by-hand"] = by_hand
    keys = {"overlap": overlap, "overlap_scope": "pipeline"}
    async with world.daemon(schedule(world.server.version, **keys)) as daemon:
        daemon.wake(seconds=6)
        if overlap == "skip":
            (first,) = await world.settled()
            assert (first.state, first.reason) == (FireState.SKIPPED, Reason.OVERLAP)
            assert first.message == "run by-hand of pipeline training is active"
        else:
            await asyncio.sleep(0.5)
            assert fates(world.rows) == [("claimed", None)]
            end(world, "by-hand")
            assert fates(await world.settled()) == [("started", None)]


async def test_a_fire_by_hand_starts_beside_an_active_run(world: World) -> None:
    async with world.daemon(schedule(overlap="skip")) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        _, closed = await daemon.engine.fire_now("nightly")
        assert (await closed).state is FireState.STARTED


async def test_a_claim_of_a_killed_process_meets_the_gate_too(world: World) -> None:
    """Between its claim and its start the process died, and a run by hand has begun since."""
    world.server.script(standins.slow(30, created=False))
    async with world.daemon(schedule(overlap="skip", overlap_scope="pipeline"), settle=0) as daemon:
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
    world.server.runs["by-hand"] = world.server._row("by-hand", status="running")
    async with world.daemon(schedule(overlap="skip", overlap_scope="pipeline"), settle=0.3):
        (fire,) = await world.settled()
    assert (fire.state, fire.reason) == (FireState.SKIPPED, Reason.OVERLAP)


@pytest.mark.parametrize(
    ("overlap", "second"), [("skip", ("skipped", "overlap")), ("buffer_one", ("started", None))], ids=str
)
async def test_of_two_claims_of_a_process_that_allowed_overlap_the_earlier_starts_first(
    world: World, overlap: str, second: tuple[str, str | None]
) -> None:
    async with world.daemon(schedule(overlap="allow", catchup_window="5h"), settle=0) as daemon:
        await until(lambda: daemon.targets._checked)
        await world.server.refuse()
        daemon.wake(seconds=6)
        await until(lambda: len(world.rows) == 1)
        daemon.wake(hours=1)
        await until(lambda: len(world.rows) == 2)
        await daemon.crash()
    await world.server.listen()
    async with world.daemon(schedule(overlap=overlap, catchup_window="5h"), settle=0):
        await until(lambda: world.server.runs)
        await asyncio.sleep(0.5)
        first = world.rows[0].run_name or ""
        assert list(world.server.runs) == [first]
        if overlap == "buffer_one":
            end(world, first)
        assert fates(await world.settled(2)) == [("started", None), second]


async def test_a_lost_start_that_arrives_while_its_fire_waits_for_another_run_is_found(world: World) -> None:
    """It had been asked for too soon, and in the end a fire would wait for its own run."""
    world.server.script(standins.Fault(created=True, late=1.2))
    async with world.daemon(schedule(overlap="buffer_one", overlap_scope="pipeline"), settle=4) as daemon:
        await until(lambda: daemon.targets._checked)
        daemon.wake(seconds=6)
        await until(lambda: world.server.starts)
        world.server.runs["by-hand"] = world.server._row("by-hand", status="running")
        (fire,) = await world.settled()
    assert (fire.state, fire.run_id) == (FireState.STARTED, world.server.runs[fire.run_name or ""]["id"])
    assert len(world.server.starts) == 1


@pytest.mark.parametrize("world", ["0.75.0"], indirect=True)
async def test_cancel_running_is_unresolved_where_runs_cannot_be_stopped(world: World) -> None:
    """Said when it is loaded, and not when a run is to be stopped; others of the same target are not touched."""
    stopping, other = schedule("0.75.0", overlap="cancel_running"), schedule("0.75.0", name="other")
    async with world.daemon(stopping, other) as daemon:
        await until(lambda: daemon.targets.unresolved)
        text = "the server (ZenML 0.75.0) cannot stop runs, which overlap: cancel_running needs; use skip or buffer_one"
        assert daemon.targets.unresolved == {"nightly": text}
        daemon.wake(seconds=6)
        rows = await world.settled(2)
    assert {fire.schedule: fates([fire])[0] for fire in rows} == {
        "nightly": ("failed", "unresolved"),
        "other": ("started", None),
    }


async def test_of_two_next_runs_the_earlier_fire_has_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have been started beside each other, by a definition of the schedule that allowed it."""
    monkeypatch.setattr(following, "FIRST", 0.1)
    monkeypatch.setattr(following, "LONGEST", 0.1)
    again = {"retry_run": 1, "delay": "2s"}
    async with world.daemon(schedule(overlap="allow", on_run_failure=again)) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        daemon.wake(hours=1)
        first, second = (fire.run_name or "" for fire in await world.settled(2))
        end(world, first, "failed")
        end(world, second, "failed")
        await until(lambda: all(fire.retry_at for fire in world.rows))
    world.server.script(standins.slow(0.3))
    async with world.daemon(schedule(overlap="skip", on_run_failure=again)):
        await until(lambda: f"{first}-r1" in world.server.runs)
        await asyncio.sleep(1)
        assert list(world.server.runs) == [first, second, f"{first}-r1"]
        end(world, f"{first}-r1")
        await until(lambda: f"{second}-r1" in world.server.runs)


async def test_a_next_run_gives_way_to_a_fire_that_takes_its_place(world: World) -> None:
    again = {"retry_run": 1, "delay": "0s"}
    patient = schedule(overlap="cancel_running", on_run_failure=again, catchup_window="2h")
    async with world.daemon(patient) as daemon:
        daemon.wake(seconds=6)
        (first,) = await world.settled()
        world.server.draw = lambda arrival: standins.ERROR if arrival.is_start else None
        end(world, first.run_name or "", "failed")
        daemon.runs.hurry(world.rows)
        await until(lambda: world.rows[0].state is FireState.CLAIMED)
        daemon.wake(hours=1)
        await until(lambda: len(world.rows) == 2)
        world.server.draw = lambda _: None
        rows = await world.settled(2)
        assert rows[0].message is not None
        assert rows[0].message.startswith("not run again: overlap: the fire of ")
        assert list(world.server.runs) == [first.run_name, rows[1].run_name]
