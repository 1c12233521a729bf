"""Starts that are made before their fires are due: the same as those that are made then, or not used at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import Daemon, World, every_version, loaded, schedule, the_one_run, until, world
from standin import server as standins

from zendaemon.core.fire import FireState

if TYPE_CHECKING:
    from zendaemon.core.fire import Fire

__all__ = ["world"]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONFIG = {"enable_cache": False, "extra": {"day": "{{ fire_time | date }}"}}


def made(daemon: Daemon) -> dict[str, Any]:
    return daemon.attempts.starts._made


def config_of(world: World, number: int = -1) -> Any:  # noqa: ANN401 - JSON
    config = world.server.starts[number].config
    return config.get("run_configuration", config)


async def resolved(daemon: Daemon) -> None:
    await until(lambda: all(map(daemon.targets.get, daemon.engine.schedules.schedules.values())))


async def expected(daemon: Daemon, at: datetime = NOON) -> None:
    """What is due then is made in advance."""
    names = list(daemon.engine.schedules.schedules)
    daemon.attempts.starts.expect(at, names)
    await until(lambda: made(daemon).keys() == set(names))


async def the_fire(world: World, daemon: Daemon, count: int = 1) -> Fire:
    """The last of so many fires."""
    daemon.wake(seconds=6)
    return (await world.settled(count))[-1]


@every_version
async def test_what_is_made_in_advance_is_what_would_be_sent(world: World) -> None:
    async with world.daemon(schedule(world.server.version, config=CONFIG)) as daemon:
        await resolved(daemon)
        first = await the_fire(world, daemon)
        await expected(daemon, NOON.replace(hour=13))
        (start,) = [one.start for one in made(daemon).values()]
        daemon.clock.set(NOON.replace(hour=12, minute=59, second=57))
        second = await the_fire(world, daemon, 2)
        assert not made(daemon)
    late, early = world.server.starts
    assert early.headers["idempotency-key"] == str(second.key) == str(start.key)
    assert early.body == start.request.content
    assert early.body.decode() == late.body.decode().replace(first.run_name or "", second.run_name or "")
    assert early.headers.keys() == late.headers.keys()


async def test_a_changed_schedule_is_started_as_it_is_now(world: World) -> None:
    async with world.daemon(schedule(config=CONFIG)) as daemon:
        await resolved(daemon)
        await expected(daemon)
        await daemon.engine.apply(loaded(schedule(config=CONFIG | {"enable_cache": True})))
        await the_fire(world, daemon)
    assert config_of(world)["enable_cache"] is True


async def test_ids_that_have_changed_are_those_that_are_used(world: World) -> None:
    async with world.daemon(schedule(config=CONFIG)) as daemon:
        await resolved(daemon)
        await expected(daemon)
        (old,) = made(daemon).values()
        nightly = daemon.engine.schedules.schedules["nightly"]
        daemon.targets.forget(nightly, old.resolved.id)
        new = await daemon.targets.resolve(nightly)
        assert new is not old.resolved
        fire = await the_fire(world, daemon)
    assert fire.state is FireState.STARTED
    assert len(world.server.starts) == 1


@pytest.mark.parametrize(
    "at",
    [pytest.param(NOON.replace(hour=11), id="an earlier fire"), pytest.param(NOON.replace(hour=13), id="a later fire")],
)
async def test_it_is_of_one_fire_alone(world: World, at: datetime) -> None:
    async with world.daemon(schedule(config=CONFIG)) as daemon:
        await resolved(daemon)
        daemon.clock.set(at.replace(hour=at.hour - 1, minute=59, second=57))
        await expected(daemon, at)
        daemon.clock.set(NOON.replace(hour=11, minute=59, second=57))
        fire = await the_fire(world, daemon)
    assert config_of(world)["run_name"] == fire.run_name == "nightly-20261123T120000Z"


async def test_a_fire_by_hand_has_a_start_of_its_own(world: World) -> None:
    async with world.daemon(schedule(config=CONFIG)) as daemon:
        await resolved(daemon)
        await expected(daemon)
        daemon.clock.set(NOON)
        _, closed = await daemon.engine.fire_now("nightly")
        fire = await closed
    assert fire.manual
    assert config_of(world)["run_name"] == fire.run_name == "nightly-manual-20261123T120000Z"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        pytest.param({"extra": {"a": "{{ 1 / 0 }}"}}, "division", id="its config cannot be rendered"),
        pytest.param({"run_name": "{{ '' }}"}, "empty", id="its run has no name"),
    ],
)
async def test_what_cannot_be_made_is_left_to_the_fire(world: World, config: dict[str, Any], why: str) -> None:
    async with world.daemon(schedule(config=config), schedule(name="other")) as daemon:
        await resolved(daemon)
        daemon.attempts.starts.expect(NOON, ["nightly", "gone", "other"])
        await until(lambda: "other" in made(daemon))
        assert made(daemon).keys() == {"other"}
        await the_fire(world, daemon, 2)
    failed = next(fire for fire in world.rows if fire.schedule == "nightly")
    assert failed.state is FireState.FAILED
    assert why in (failed.message or "")


async def test_nothing_is_made_for_what_is_due_already(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await resolved(daemon)
        daemon.attempts.starts.expect(NOON.replace(hour=11), ["nightly"])
        await asyncio.sleep(0.1)
        assert not made(daemon)


async def test_what_was_not_sent_is_let_go(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await resolved(daemon)
        await expected(daemon)
        daemon.clock.set(NOON.replace(minute=2))
        daemon.attempts.starts.expect(NOON, [])
        await until(lambda: not made(daemon))


async def test_a_token_is_at_hand_before_the_fire(world: World) -> None:
    logins = 0

    def count() -> int:
        return sum(arrival.path.endswith("/login") for arrival in world.server.arrivals)

    async with world.daemon(schedule()) as daemon:
        await resolved(daemon)
        daemon.zenml._auth._access = None
        logins = count()
        await expected(daemon)
        await until(lambda: count() == logins + 1)
        fire = await the_fire(world, daemon)
        assert count() == logins + 1
    assert fire.state is FireState.STARTED


@pytest.mark.parametrize(
    "trouble", [pytest.param(standins.RESET, id="cuts"), pytest.param(standins.slow(30, created=False), id="is silent")]
)
async def test_a_login_that_fails_beforehand_is_tried_again_by_the_fire(world: World, trouble: standins.Fault) -> None:
    async with world.daemon(schedule()) as daemon:
        await resolved(daemon)
        daemon.zenml._auth._access = None
        faults = [trouble]
        world.server.draw = lambda arrival: faults.pop() if faults and arrival.path.endswith("/login") else None
        await expected(daemon)
        await until(lambda: not faults)
        await expected(daemon, NOON.replace(hour=13))  # and meanwhile the others are made
        fire = await the_fire(world, daemon)
    the_one_run(world, fire)
