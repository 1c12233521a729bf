"""What was the case at which moment of a seed: rows, schedules in force, active runs, and when all was well.

All of it in true time, in seconds of the world, and from what the world, the disk and the server were seen to do; the
daemon's clock matters only for when a fire time had come.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from simulation.world import Apply, Life, World

    from zendaemon.core.schedule import Schedule

_SELECT = (
    "select id, schedule, fire_time, manual, state, reason, message, run_id, run_name, run_status, attempts,"
    " claimed_at, decided_at, through, rule, earlier_runs from fires order by schedule, fire_time, id"
)
_WITNESS = "select row, at, state, run_id, retry_at is not null from witness order by row, rowid"
_STOPPING = 40.0
"""How long a process that is told to stop may take for it; it decides nothing meanwhile."""
_UPSET = 60.0
"""How long a restart of the server, or ids that went stale, may be felt."""
_RECORDED = 60.0
"""How long it may take in calm until the daemon has noted that a fire is closed."""
_LOOKED_AT = 180.0
"""How much later than it wants to the daemon may look at a run."""
_FIRST_LOOK, _LAST_LOOK = 600.0, 4 * 3600.0
_GIVEN_UP = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A row was `claimed`, or `due` for another run after one that failed, from `begin` to `end` in true time.

    A claim ended in this `state`, `claimed` while it is open; `run_id` is the run that the row had then.
    """

    begin: float
    end: float
    state: str = "claimed"
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table `fires`. It was `made` and first `closed` at these moments of true time.

    `claims` are all that were made of it, the first one first, and `retries` when it was to be run again. `run_ids` are
    its runs, `names` their names, those that failed before the last one among them.
    """

    id: int
    schedule: str
    fire_time: datetime
    manual: bool
    state: str
    reason: str | None
    message: str | None
    run_id: str | None
    run_name: str | None
    run_status: str | None
    attempts: int
    claimed_at: datetime | None
    decided_at: datetime | None
    through: datetime | None
    rule: str | None
    made: float
    closed: float
    claims: tuple[Stage, ...]
    retries: tuple[Stage, ...]
    run_ids: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def last(self) -> datetime:
        return self.through or self.fire_time

    @property
    def was_claimed(self) -> bool:
        return self.claimed_at is not None

    def __str__(self) -> str:
        end = f" to {self.through:%d %H:%M:%S}" if self.through else ""
        return f"{self.schedule} {self.fire_time:%Y-%m-%d %H:%M:%S}{end} {self.state} {self.reason or ''}".rstrip()


Seen = tuple[float, str, str | None, bool]


def read_rows(disk: sqlite3.Connection) -> list[Row]:
    seen: defaultdict[int, list[Seen]] = defaultdict(list)
    for row_id, *what in disk.execute(_WITNESS):
        seen[row_id].append((what[0], what[1], what[2], bool(what[3])))
    return [_row(seen[values[0]], *values) for values in disk.execute(_SELECT)]


def _row(seen: list[Seen], *values: Any) -> Row:  # noqa: ANN401 - columns
    row_id, schedule, fire_time, manual, *told, claimed, decided, through, rule, earlier = values
    at = _instant(fire_time)
    assert at is not None
    before = json.loads(earlier) if earlier else []
    *_, run_id, run_name, _, _ = told
    return Row(
        row_id,
        schedule,
        at,
        bool(manual),
        *told,
        _instant(claimed),
        _instant(decided),
        _instant(through),
        rule,
        seen[0][0],
        next((at for at, state, _, _ in seen if state != "claimed"), inf),
        tuple(_stages(seen, lambda it: it[1] == "claimed")),
        tuple(_stages(seen, lambda it: it[3])),
        tuple(run for run in (*(run["run_id"] for run in before), run_id) if run),
        tuple(name for name in (*(run["run_name"] for run in before), run_name) if name),
    )


def _stages(seen: list[Seen], such: Callable[[Seen], bool]) -> Iterator[Stage]:
    """The stretches in which a row was such."""
    begin: float | None = None
    for one in seen:
        if begin is None and such(one):
            begin = one[0]
        elif begin is not None and not such(one):
            yield Stage(begin, one[0], one[1], one[2])
            begin = None
    if begin is not None:
        yield Stage(begin, inf)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def lives(world: World) -> Iterator[tuple[Apply, Life]]:
    """The lives in which a schedule set was in force, each with what put the first one there."""
    seen: set[int] = set()
    for apply in world.applies:
        if not apply.refused and apply.life not in seen:
            seen.add(apply.life)
            yield apply, world.lives[apply.life]


@dataclass(frozen=True, slots=True)
class Calm:
    """From `begin` to `end` a process was awake with its schedules, the daemon's clock was off by `offset` and was not
    touched, and nothing went wrong. By that clock nothing was ever later than `highest` before.
    """

    begin: float
    end: float
    offset: float
    highest: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A schedule had an open claim or an active run from `begin` on, and the daemon may have thought so till `end`."""

    begin: float
    end: float


class Timeline:
    """The seed that `world` has lived through, and the rows that it left."""

    def __init__(self, world: World, rows: list[Row]) -> None:
        self.world = world
        self.rows = rows
        self.runs = {run.id: run for run in world.server.made}
        self.by_name: defaultdict[str, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.id):
            self.by_name[row.schedule].append(row)
        self.steps = sum(abs(after - before) for (_, before), (_, after) in pairwise(world.offsets))
        self._held: dict[str, list[tuple[Row, Held]]] = {}
        self._claims: dict[str, list[tuple[Row, Held]]] = {}

    @cached_property
    def calms(self) -> list[Calm]:
        """The stretches in which all was well, the first one first."""
        world = self.world
        bad = [(trouble.begin, trouble.end) for trouble in world.scenario.troubles]
        bad += world.suspends
        bad += [(at, at + _UPSET) for at in world.upsets]
        bad += [(at, at) for at, _ in world.offsets]
        up = [(apply.done, life.end if life.killed else life.end - _STOPPING) for apply, life in lives(world)]
        found = [stretch for begin, end in up for stretch in without(begin, end, bad)]
        return [Calm(begin, end, self._offset(begin), self._highest(begin)) for begin, end in found]

    def _offset(self, true: float) -> float:
        return next(offset for at, offset in reversed(self.world.offsets) if at <= true)

    def _highest(self, true: float) -> datetime:
        known = [self.world.scenario.begin]
        for index, (at, offset) in enumerate(self.world.offsets):
            until = min([true, *(later for later, _ in self.world.offsets[index + 1 : index + 2])])
            if at <= true:
                known.append(self.world.instant(until + offset))
        return max(known)

    def due(self, fire_time: datetime, schedule: Schedule, calm: Calm) -> float:
        """When in true time a fire of that time is due, by the clock as it was in that stretch."""
        return (fire_time - self.world.scenario.begin + schedule.delay).total_seconds() - calm.offset

    def in_force(self, name: str, since: float, until: float) -> list[Schedule | None]:
        """What the schedule may have been at any moment between these; None when it was perhaps not there."""
        found: list[Schedule | None] = []
        end = inf
        for apply in reversed(self.world.applies):  # each may be so from its beginning till a later one is for sure
            if apply.true <= until and end >= since:
                schedule = apply.schedules.schedules.get(name)
                found.append(schedule if schedule is not None and schedule.enabled else None)
            if not apply.refused:
                end = apply.done
        return found

    def claims(self, name: str) -> list[tuple[Row, Held]]:
        """Claims, and runs that were to follow failed ones, and till when the daemon may have thought so; by row."""
        if name not in self._claims:
            stages = ((row, it) for row in self.by_name[name] for it in (*row.claims, *row.retries))
            self._claims[name] = [(row, Held(it.begin, self._known(it.end, lambda _: _RECORDED))) for row, it in stages]
        return self._claims[name]

    def held(self, name: str) -> list[tuple[Row, Held]]:
        """The same, and active runs."""
        if name not in self._held:
            runs = [(row, held) for row in self.by_name[name] for held in self._runs_of(row)]
            self._held[name] = [*self.claims(name), *runs]
        return self._held[name]

    def _runs_of(self, row: Row) -> Iterator[Held]:
        for claim in row.claims:
            run = self.runs.get(claim.run_id or "")
            if claim.state == "started" and run is not None:
                ended = min(max(run.ended, claim.end), claim.end + _GIVEN_UP + self.steps)
                needs = partial(self._looks_within, claim.end)
                yield Held(claim.end, self._known(ended, needs))

    def _looks_within(self, begun: float, at: float) -> float:
        return self._interval(at - begun) + _LOOKED_AT

    def _interval(self, age: float) -> float:
        return min(_LAST_LOOK, max(_FIRST_LOOK, (age + self.steps) / 10))

    def _known(self, ended: float, needs: Any) -> float:  # noqa: ANN401 - a function
        """When the daemon must have noticed what was so from `ended` on: so much calm at a stretch is enough for it."""
        for calm in self.calms:
            begin = max(calm.begin, ended)
            if calm.end - begin >= (enough := needs(begin)):
                return float(begin + enough)
        return inf

    def calms_of(self, name: str, calm: Calm) -> list[tuple[float, float]]:
        """What is left of a stretch for a schedule that may have troubles of its own."""
        troubles = self.world.scenario.troubles_of(name)
        return without(calm.begin, calm.end, [(trouble.begin, trouble.end) for trouble in troubles])


def without(begin: float, end: float, holes: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a stretch of time; one without length cuts it in two."""
    found = []
    for hole_begin, hole_end in sorted(holes):
        if hole_end < begin or hole_begin >= end:
            continue
        if hole_begin > begin:
            found.append((begin, hole_begin))
        begin = max(begin, hole_end)
    if end > begin:
        found.append((begin, end))
    return found


def hours(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
