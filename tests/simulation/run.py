"""Lives through one seed and tells what is wrong with it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from simulation.oracle import violations
from simulation.process import Disk, Process, prepare
from simulation.scenario import Event, scenario
from simulation.world import Life, World
from standin import server as standin

from zendaemon import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.scenario import Scenario

_LATER = 700.0
"""When an operator tries again who reached nobody."""
_DOWN = (2, 2, 2, 5, 60, 700, 8000, 40_000)
_WELL = {"engine.error", "control.error"}


@dataclass(slots=True)
class Result:
    """What a seed came to. `trace` is its fingerprint: the same in every replay."""

    seed: int
    violations: list[str]
    trace: int
    steps: int
    days: float
    rows: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class _Ear:
    """Hears every event of the daemon's log."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.errors: list[str] = []

    def __call__(self, _logger: Any, _name: str, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
        what = event.pop("event")
        if self.world is not None:
            self.world.note(f"{what} {' '.join(f'{k}={v}' for k, v in event.items() if k not in _UNTOLD)}")
            if what in _WELL:
                self.errors.append(f"{what}: {event}")
        raise structlog.DropEvent


_UNTOLD = {"fire_key", "lateness_seconds", "exc_info", "down_seconds"}
_EAR = _Ear()


@cache
def _disk() -> Disk:
    return prepare(_EAR)


def simulate(seed: int, *, tell: Callable[[str], None] | None = None) -> Result:
    """Live through one seed; `tell` gets every line of its history."""
    world, disk, errors = live_through(scenario(seed), tell=tell)
    found = [*errors, *violations(world, disk.raw)]
    rows = Counter(state for (state,) in disk.raw.execute("select state from fires"))
    return Result(seed, found, world.trace, world.steps, world.true / 86_400, rows, world.faults)


def live_through(plan: Scenario, *, tell: Callable[[str], None] | None = None) -> tuple[World, Disk, list[str]]:
    """The world when all is over, what is on its disk, and what went wrong in the processes."""
    disk = _disk()
    disk.clear()
    ids = random.Random(plan.seed)  # noqa: S311 - a simulation
    standin.uuid4 = lambda: UUID(int=ids.getrandbits(128), version=4)  # type: ignore[attr-defined]
    world = World(plan, tell=tell)
    _EAR.world, _EAR.errors = world, []
    disk.true = lambda: world.true
    clock.now = world.read_clock
    for reload in plan.reloads[1:]:
        world.at(reload.at, lambda reload=reload: _reload(world, reload.schedules))
    for event in plan.events:
        world.at(event.at, lambda event=event: _happen(world, disk, event))
    errors = _live(world, disk)
    _EAR.world = None
    return world, disk, [*errors, *_EAR.errors]


def _live(world: World, disk: Disk) -> list[str]:
    """One process after the other until the end; what went wrong in them."""
    errors: list[str] = []
    over = False

    def end() -> None:
        nonlocal over
        behind = (world.highest - world.wall).total_seconds() + 3600
        if behind > 3600 or world.process is None:
            world.after(max(behind, 3600), end)
            return
        over = True
        world.process.stop()

    world.at(world.scenario.end, end)
    while not over:
        begin = world.true, world.wall
        world.note("a process begins")
        process = world.process = Process(world, disk)
        world.in_hand.clear()
        by_itself = process.live()
        world.process = None
        world.steps += process.loop.steps
        world.note(f"it ends {'by itself' if by_itself else 'killed'} after {process.loop.steps} steps")
        world.lives.append(Life(begin[0], world.true, begin[1], world.wall, killed=not by_itself))
        if process.error is not None:
            errors.append(f"the daemon died of {process.error!r}")
        errors += [f"unhandled: {fault.get('message')} {fault.get('exception')!r}" for fault in process.loop.faults]
        if len(errors) > 3:
            break
        if not over:
            down = world.random.choice(_DOWN if world.true < world.scenario.calm_from - 50_000 else _DOWN[:4])
            world.idle(world.true + (world.down_for or down))
            world.down_for = 0.0
    return errors


def _reload(world: World, schedules: Any) -> None:  # noqa: ANN401
    process = world.process
    if process is not None and not world.sleeping:
        world.count("reload")
        process.do(lambda: process.reload(schedules))


def _happen(world: World, disk: Disk, event: Event) -> None:
    happened = _HAPPENINGS[event.what](world, disk, event)
    if happened:
        world.count(event.what)
        world.note(event.what)


def _suspend(world: World, _disk: Disk, event: Event) -> bool:
    if world.process is not None:
        world.suspend(event.seconds)
    return False


def _step(world: World, _disk: Disk, event: Event) -> bool:
    world.step_clock(event.seconds)
    return False


def _stop(world: World, _disk: Disk, event: Event) -> bool:
    if world.process is None or world.sleeping:
        return False
    world.down_for = event.seconds
    world.process.stop()
    return True


def _restart(world: World, _disk: Disk, _event: Event) -> bool:
    world.server.restart()
    world.upsets.append(world.true)
    return True


def _stale(world: World, _disk: Disk, _event: Event) -> bool:
    world.server.make_stale()
    world.upsets.append(world.true)
    return True


def _delete(world: World, disk: Disk, _event: Event) -> bool:
    """Only of runs that are on record: a name that is freed before that is beyond the promise."""
    rows = {row for (row,) in disk.raw.execute("select run_id from fires where state = 'started'")}
    settled = [made for made in world.server.made if made.id in rows and made.at < world.true - 30_000]
    if settled:
        gone = world.random.choice(settled)
        gone.deleted = min(gone.deleted, world.true)
    return bool(settled)


def _take_name(world: World, _disk: Disk, _event: Event) -> bool:
    names = list(world.files.schedules)
    if not names:
        return False
    schedule = world.files.schedules[world.random.choice(names)]
    soon = schedule.next_after(world.wall)
    if soon is not None:
        world.server.somebody_makes(f"{schedule.name}-{soon:%Y%m%dT%H%M%SZ}")
    return soon is not None


def _fire(world: World, _disk: Disk, _event: Event) -> bool:
    process, names = world.process, list(world.files.schedules)
    if process is None or world.sleeping or not names:
        return False
    name = world.random.choice(names)
    for _ in range(world.random.choice([1, 2])):
        process.do(lambda: process.fire(name))
    return True


def _pause(world: World, disk: Disk, event: Event) -> bool:
    process = world.process
    if process is None or world.sleeping or not process.ready:
        world.after(_LATER, lambda: _happen(world, disk, event))
    else:
        until = world.wall + timedelta(seconds=event.seconds) if event.seconds else None
        process.do(lambda: process.pause(event.schedule, until))
    return False


def _resume(world: World, disk: Disk, event: Event) -> bool:
    """Who is not told that it was done, does it again later."""
    process = world.process
    again = partial(_happen, world, disk, event)
    if process is None or world.sleeping or not process.ready:
        world.after(_LATER, again)
        return False

    async def resume() -> None:
        call = await process.resume(event.schedule)
        if call is None or call.outcome == "failed":
            world.after(_LATER, again)

    process.do(resume)
    return False


_HAPPENINGS: dict[str, Callable[[World, Disk, Event], bool]] = {
    "suspend": _suspend,
    "step": _step,
    "stop": _stop,
    "server restart": _restart,
    "ids go stale": _stale,
    "a run is deleted": _delete,
    "a name is taken": _take_name,
    "fire by hand": _fire,
    "pause": _pause,
    "resume": _resume,
}
