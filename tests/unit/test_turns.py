"""When the engine turns, who looks at the clocks meanwhile, and what counts as a jump or a sleep."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from zendaemon import turns
from zendaemon.awake import ASLEEP, Awake
from zendaemon.turns import GlancingSelector, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 11, 30, 12, tzinfo=UTC)
TICK = 0.05


@pytest.fixture
def selector(monkeypatch: pytest.MonkeyPatch) -> Iterator[GlancingSelector]:
    monkeypatch.setattr(turns, "TICK", TICK)
    with GlancingSelector() as made:
        yield made


class Glances:
    """How often there was one; `leap` is what the next ones tell."""

    def __init__(self) -> None:
        self.count = 0
        self.leap = False

    def __call__(self) -> bool:
        self.count += 1
        return self.leap


class Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 0.0

    def run(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def awake(self) -> Awake:
        return Awake(lambda: self.wall, lambda: self.seconds)


def waited(selector: GlancingSelector, timeout: float | None) -> float:
    """The seconds of a wait for nothing."""
    begin = time.monotonic()
    assert selector.select(timeout) == []
    return time.monotonic() - begin


def test_a_long_wait_is_one_wait_with_glances(selector: GlancingSelector) -> None:
    selector.glance = glances = Glances()
    assert waited(selector, 6.5 * TICK) >= 6.5 * TICK
    assert 2 <= glances.count <= 7


@pytest.mark.parametrize("timeout", [None, 100 * TICK])
def test_a_leap_ends_a_wait(selector: GlancingSelector, timeout: float | None) -> None:
    selector.glance = glances = Glances()
    waited(selector, 0)
    glances.leap = True
    assert waited(selector, timeout) < 50 * TICK
    assert glances.count == 2


def test_a_leap_that_nobody_heeds_does_not_spin(selector: GlancingSelector) -> None:
    selector.glance = glances = Glances()
    glances.leap = True
    end = time.monotonic() + 4 * TICK
    while time.monotonic() < end:
        waited(selector, 10 * TICK)
    assert glances.count <= 5


def test_a_loop_that_never_waits_for_long_glances_too(selector: GlancingSelector) -> None:
    selector.glance = glances = Glances()
    end = time.monotonic() + 6 * TICK
    while time.monotonic() < end:
        waited(selector, 0)
        waited(selector, -1)
        waited(selector, TICK / 10)
    assert 3 <= glances.count <= 7


def test_what_comes_ends_a_wait(selector: GlancingSelector) -> None:
    here, there = socket.socketpair()
    with here, there:
        selector.register(here, selectors.EVENT_READ, "data")
        there.send(b"x")
        [(key, events)] = selector.select(None)
    assert (key.data, events) == ("data", selectors.EVENT_READ)


def test_a_loop_keeps_its_times_and_is_woken_by_others(selector: GlancingSelector) -> None:
    async def lived() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(3.3 * TICK)
        slept = loop.time() - begin
        begin = loop.time()
        assert await asyncio.to_thread(lambda: 1) == 1
        return slept, loop.time() - begin

    selector.glance = glances = Glances()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        slept, asked = runner.run(lived())
    assert slept >= 3.3 * TICK
    assert asked < 100 * TICK
    assert glances.count >= 2


async def test_a_rest_is_long_and_ends_when_it_is_hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TICK", TICK)
    made = Turns(time.monotonic)
    begin = time.monotonic()
    await made.next()
    assert TICK / 2 < time.monotonic() - begin < turns.REST / 2
    made.calm = lambda: True
    resting = asyncio.create_task(made.next())
    await asyncio.sleep(6 * TICK)
    assert not resting.done()
    assert made.beat > time.monotonic() + turns.REST / 2, "in a rest there is no turn to be missed"
    made.hasten()
    await resting
    assert made.beat <= time.monotonic()


async def test_a_rest_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REST", 3 * TICK)
    made = Turns(time.monotonic)
    made.calm = lambda: True
    async with asyncio.timeout(5):
        await made.next()


def test_a_rest_that_is_glanced_at_is_no_sleep() -> None:
    clocks = Clocks()
    awake = clocks.awake()
    for _ in range(30):
        clocks.run(0.9)
        assert not awake.glance()
    assert awake.look() == clocks.wall
    assert (awake.jumps, awake.since) == (0, START)


def test_a_rest_without_a_glance_is_a_sleep() -> None:
    clocks = Clocks()
    awake = clocks.awake()
    clocks.run(ASLEEP.total_seconds() + 1)
    assert awake.glance()
    assert awake.since == START, "a look decides, and no glance"
    assert awake.look() == clocks.wall
    assert (awake.jumps, awake.since) == (1, clocks.wall)
    assert not awake.glance()


@pytest.mark.parametrize(
    ("leap", "jumps", "sleeps"),
    [(0.5, 0, False), (5, 0, False), (3600, 1, True), (-0.5, 0, False), (-3600, 1, False)],
)
def test_a_clock_that_is_set_is_told_until_there_is_a_look(leap: float, jumps: int, sleeps: bool) -> None:  # noqa: FBT001
    clocks = Clocks()
    awake = clocks.awake()
    clocks.run(0.9)
    assert not awake.glance()
    clocks.wall += timedelta(seconds=leap)
    for _ in range(3):
        clocks.run(0.9)
        assert awake.glance()
    awake.look()
    assert awake.jumps == jumps
    assert (awake.since == clocks.wall) is (sleeps or leap < -1)
    clocks.run(0.9)
    assert not awake.glance()


def test_what_a_decision_took_is_no_leap() -> None:
    clocks = Clocks()
    awake = clocks.awake()
    with awake.deciding():
        clocks.run(25)  # as with a locked journal
    clocks.run(0.9)
    assert not awake.glance()
    awake.look()
    assert (awake.jumps, awake.since) == (0, START)
