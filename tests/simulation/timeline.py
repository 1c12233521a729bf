"""What was the case at which moment of a seed: rows, schedules in force, active runs, and when all was well.

All of it in true time, in seconds of the world, and from what the world, the disk and the server were seen to do; the
daemon's clock matters only for when a fire time had come.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from simulation.server import Made
    from simulation.world import Apply, Life, World

    from zendaemon.core.schedule import Schedule

_SELECT = (
    "select id, schedule, fire_time, manual, state, reason, message, run_id, run_name, run_status, attempts,"
    " claimed_at, decided_at, through, rule, earlier_runs from fires order by schedule, fire_time, id"
)
_WITNESS = "select row, at, state, run_id, run_status, retry_at is not null, followed from witness order by row, rowid"
_STOPPING = 40.0
"""How long a process that is told to stop may take for it; it decides nothing meanwhile."""
_UPSET = 60.0
"""How long a restart of the server, or ids that went stale, may be felt."""
_RECORDED = 60.0
"""How long it may take in calm until the daemon has noted that a fire is closed."""
_LOOKED_AT = 180.0
"""How much later than it wants to the daemon may look at a run."""
_FIRST_LOOK, _LAST_LOOK = 600.0, 4 * 3600.0
COMMIT = 60.0
"""How long before a row is made it may have been decided: a slow disk takes half a minute."""
_COMMITS = 0.01
"""How long after its call a commit may be on disk that is reported as failed."""
IN_HAND = 250.0
"""A start that is sent already may have to log in and be sent again."""
_NEXT_RUN = re.compile(r"-r\d+$")
GIVEN_UP = 30 * 86_400.0
LOOKS = 900.0
"""After so long the daemon has looked at the clocks, also when it slept: simulation.process.TICK."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A row was `claimed`, or `due` for another run after one that failed, from `begin` to `end` in true time.

    A claim ended in this `state`, `claimed` while it is open; `run_id` is the run that the row had then.
    """

    begin: float
    end: float
    state: str = "claimed"
    run_id: str | None = None


class Seen(NamedTuple):
    """What was on disk from this moment of true time on; `due` while another run was to follow a failed one, `followed`
    while the run was not known to have ended.
    """

    at: float
    state: str
    run_id: str | None
    run_status: str | None
    due: bool
    followed: bool


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
    seen: tuple[Seen, ...]

    @property
    def last(self) -> datetime:
        return self.through or self.fire_time

    @property
    def was_claimed(self) -> bool:
        return self.claimed_at is not None

    def __str__(self) -> str:
        end = f" to {self.through:%d %H:%M:%S}" if self.through else ""
        return f"{self.schedule} {self.fire_time:%Y-%m-%d %H:%M:%S}{end} {self.state} {self.reason or ''}".rstrip()


def read_rows(disk: sqlite3.Connection) -> list[Row]:
    seen: defaultdict[int, list[Seen]] = defaultdict(list)
    for row_id, *what in disk.execute(_WITNESS):
        seen[row_id].append(Seen(*what[:4], *map(bool, what[4:])))
    return [_row(seen[values[0]], *values) for values in disk.execute(_SELECT)]


def read_pauses(disk: sqlite3.Connection) -> Iterator[tuple[str, float, datetime]]:
    for name, at, since in disk.execute("select schedule, at, since from pauses_witness order by rowid"):
        yield name, at, datetime.fromisoformat(since).replace(tzinfo=UTC)


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
        seen[0].at,
        next((it.at for it in seen if it.state != "claimed"), inf),
        tuple(_stages(seen, lambda it: it.state == "claimed")),
        tuple(_stages(seen, lambda it: it.due)),
        tuple(run for run in (*(run["run_id"] for run in before), run_id) if run),
        tuple(name for name in (*(run["run_name"] for run in before), run_name) if name),
        tuple(seen),
    )


def _stages(seen: list[Seen], such: Callable[[Seen], bool]) -> Iterator[Stage]:
    """The stretches in which a row was such."""
    begin: float | None = None
    for one in seen:
        if begin is None and such(one):
            begin = one.at
        elif begin is not None and not such(one):
            yield Stage(begin, one.at, one.state, one.run_id)
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


@dataclass(frozen=True, slots=True)
class Start:
    """A claim that ended with a run of its own."""

    row: Row
    claim: Stage
    run: Made


class Timeline:
    """The seed that `world` has lived through, and the rows that it left."""

    def __init__(self, world: World, rows: list[Row], pauses: Iterable[tuple[str, float, datetime]]) -> None:
        self.world = world
        self.pauses: defaultdict[str, list[tuple[float, datetime]]] = defaultdict(list)
        """When a schedule was paused since its runs failed, and since when by the daemon's clock."""
        for name, at, since in pauses:
            self.pauses[name].append((at, since))
        self.rows = rows
        self.runs = {run.id: run for run in world.server.made}
        self.by_name: defaultdict[str, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.id):
            self.by_name[row.schedule].append(row)
        self.steps = sum(abs(after - before) for (_, before), (_, after) in pairwise(world.offsets))
        self._held: dict[str, list[tuple[Row, Held]]] = {}
        self._claims: dict[str, list[tuple[Row, Held]]] = {}
        self._starts: dict[str, list[Start]] = {}

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

    def in_force(self, name: str, since: float, until: float, *, for_claims: bool = False) -> list[Schedule | None]:
        """What the schedule may have been at any moment between these; None when it was perhaps not there.

        One that is disabled claims nothing, and yet it says what becomes of the claims that a process left behind.
        """
        found: list[Schedule | None] = []
        end = inf
        for apply in reversed(self.world.applies):  # each may be so from its beginning till a later one is for sure
            if apply.true <= until and end >= since:
                schedule = apply.schedules.schedules.get(name)
                counts = schedule is not None and (schedule.enabled or for_claims)
                found.append(schedule if counts else None)
            if not apply.refused:
                end = apply.done
        return found

    def surely(self, name: str, since: float, until: float) -> Schedule | None:
        """The schedule, where only one definition of it can have been in force between these."""
        found = self.in_force(name, since, until)
        return found[0] if found and all(other is found[0] for other in found) else None

    def calm_at(self, at: float) -> Calm | None:
        return next((calm for calm in self.calms if calm.begin <= at <= calm.end), None)

    def disk_fails(self, begin: float, end: float) -> bool:
        """Whether the disk may have failed between these, so that it had what the daemon did not know of."""
        bad = (trouble for trouble in self.world.scenario.troubles if "disk" in trouble.kinds)
        return any(trouble.begin <= end and trouble.end + _COMMITS >= begin for trouble in bad)

    def starts(self, name: str) -> list[Start]:
        """All that became of a schedule's claims, by row; a claim for another run may have left the one before."""
        if name not in self._starts:
            self._starts[name] = list(self._all_starts(name))
        return self._starts[name]

    def _all_starts(self, name: str) -> Iterator[Start]:
        for row in self.by_name[name]:
            known = set()
            for claim in row.claims:
                run = self.runs.get(claim.run_id or "")
                if claim.state == "started" and run is not None and run.id not in known:
                    known.add(run.id)
                    yield Start(row, claim, run)

    def claims(self, name: str) -> list[tuple[Row, Held]]:
        """Claims, and runs that were to follow failed ones, and till when the daemon may have thought so; by row."""
        if name not in self._claims:
            stages = ((row, it) for row in self.by_name[name] for it in (*row.claims, *row.retries))
            self._claims[name] = [(row, Held(it.begin, self._known(it.end, lambda _: _RECORDED))) for row, it in stages]
        return self._claims[name]

    def held(self, name: str) -> list[tuple[Row, Held]]:
        """The same, and active runs."""
        if name not in self._held:
            runs = [(start.row, self._run_of(start)) for start in self.starts(name)]
            self._held[name] = [*self.claims(name), *runs]
        return self._held[name]

    def _run_of(self, start: Start) -> Held:
        begun = start.claim.end
        counts = min(GIVEN_UP, self._longest_timeout(start.row.schedule) + LOOKS) + self.steps
        ended = min(max(start.run.ended, begun), begun + counts)
        return Held(begun, self._known(ended, partial(self.seen_within, begun)))

    def _longest_timeout(self, name: str) -> float:
        found = (apply.schedules.schedules.get(name) for apply in self.world.applies)
        return max((it.overlap_timeout.total_seconds() for it in found if it is not None), default=0.0)

    def seen_within(self, begun: float, at: float) -> float:
        """How long it may take in calm until the end of a run is seen that began and ended then."""
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


def first_name(run: str) -> str:
    """The name of the fire's first run."""
    return _NEXT_RUN.sub("", run)


def waits(schedule: Schedule) -> bool:
    """Whether its claimed fires may have to wait for runs to end."""
    return schedule.overlap in ("buffer_one", "cancel_running") or bool(schedule.depends_on)


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
