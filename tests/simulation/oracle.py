"""What must hold after a seed, told from the rows on disk and the server's runs, with none of the daemon's code.

The fire times come from `fires`, a reference of its own.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from simulation.dependencies import dependencies
from simulation.fires import fires, span
from simulation.follow_ups import follow_ups
from simulation.overlaps import overlaps
from simulation.pausing import paused
from simulation.policies import policies
from simulation.timeline import Row, Stage, Timeline, first_name, lives, read_pauses, read_rows, waits

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from simulation.server import Made
    from simulation.world import Apply, World

    from zendaemon.core.schedule import Schedule

_SLACK = timedelta(minutes=50)
_DOWN_SLACK = timedelta(minutes=60)
_CALM = 3600.0
_TOGETHER = 5.0
"""Starts that are in flight together may overtake each other by so many seconds."""
_HONOURED = timedelta(seconds=62)
"""What a server or a refused login may ask us to wait; no attempt is made in the rest of a window shorter than that."""


_AS_IF_IN_TIME = timedelta(seconds=6)
"""A run of the same pipeline that was made so shortly before the fire time may be its own: clocks differ."""


@dataclass(slots=True)
class Segment:
    """A schedule in force with one trigger: surely within (`since`, `until`], perhaps in (`earliest`, `latest`]."""

    schedule: Schedule
    earliest: datetime
    since: datetime
    until: datetime | None = None
    latest: datetime | None = None
    before: list[Schedule] = field(default_factory=list)
    """The same with other policies."""

    @property
    def versions(self) -> list[Schedule]:
        return [*self.before, self.schedule]


def violations(world: World, disk: sqlite3.Connection) -> list[str]:
    """Every promise that is broken, in words."""
    rows = read_rows(disk)
    timeline = Timeline(world, rows, read_pauses(disk))
    segments = _segments(world)
    return [
        *world.broken,
        *_each_fire_time_once(world, rows, segments),
        *_runs_match(world, rows, segments),
        *_never_early(world),
        *_reasons(timeline, segments),
        *_no_claim_left(timeline),
        *_in_order(world, rows, segments),
        *policies(timeline, segments),
        *overlaps(timeline),
        *follow_ups(timeline),
        *dependencies(timeline),
        *paused(timeline),
    ]


def _trigger(schedule: Schedule) -> tuple[object, ...]:
    """What makes two definitions of a schedule one trigger."""
    return (
        schedule.cron,
        schedule.every,
        schedule.at,
        schedule.timezone,
        schedule.start_time,
        schedule.end_time,
    )


def _segments(world: World) -> dict[str, list[Segment]]:
    """When each schedule was in force, by what was applied and when processes lived."""
    found: defaultdict[str, list[Segment]] = defaultdict(list)
    now: dict[str, Segment] = {}
    doubt: datetime | None = None
    unsure: set[str] = set()
    life = 0
    for apply in world.applies:
        wanted = {schedule.name: schedule for schedule in apply.schedules.schedules.values() if schedule.enabled}
        if apply.refused:
            doubt = apply.before if doubt is None else min(doubt, apply.before)
            unsure.update(name for name, segment in now.items() if not _goes_on(segment, wanted))
            continue
        _close(world, apply, now, wanted, unsure, doubt, life)
        for name, schedule in wanted.items():
            if name not in now:
                earliest = apply.before if doubt is None else min(doubt, apply.before)
                since = max(apply.after, apply.highest) if name in found else apply.after
                now[name] = Segment(schedule, earliest, since)
                found[name].append(now[name])
            elif schedule is not now[name].schedule:  # another policy: the same trigger goes on
                now[name].before.append(now[name].schedule)
                now[name].schedule = schedule
        doubt, unsure, life = None, set(), apply.life
    end = world.wall
    for segment in now.values():
        segment.until, segment.latest = end - _SLACK - segment.schedule.delay, end
    return found


def _goes_on(segment: Segment, wanted: dict[str, Schedule]) -> bool:
    """Whether these have the schedule with the same trigger."""
    schedule = wanted.get(segment.schedule.name)
    return schedule is not None and _trigger(schedule) == _trigger(segment.schedule)


def _close(
    world: World,
    apply: Apply,
    now: dict[str, Segment],
    wanted: dict[str, Schedule],
    unsure: set[str],
    doubt: datetime | None,
    life: int,
) -> None:
    """End the segments of what is gone, or may have been in between by a set of which nobody knows how far it came.

    What came due shortly before a kill may not have been decided.
    """
    for name in list(now):
        if name not in unsure and _goes_on(now[name], wanted):
            continue
        segment = now.pop(name)
        segment.latest = max(apply.after, apply.highest)
        segment.until = apply.before
        if apply.life != life:
            segment.until = _surely_decided(world, life) - segment.schedule.delay
        if doubt is not None:
            segment.until = min(segment.until, doubt - _DOWN_SLACK - segment.schedule.delay)


def _surely_decided(world: World, life: int) -> datetime:
    """Till when the processes up to this one have decided all that was due, unless they were in trouble at the end."""
    ends = [
        _last_looks(world, alive.end_wall)
        for apply, alive in lives(world)
        if apply.life <= life and alive.end - apply.true > 120
    ]
    return max(ends, default=world.scenario.begin)


def _last_looks(world: World, end: datetime) -> datetime:
    """When a process that ended then had surely looked at the clock, which it does seldom here (`TICK` of process.py).

    One that ended soon after the machine had slept may not have looked since.
    """
    for before, after in reversed(world.asleep):
        if before < after <= end < after + _DOWN_SLACK:
            end = before
    return end - _DOWN_SLACK


def _each_fire_time_once(world: World, rows: list[Row], segments: dict[str, list[Segment]]) -> Iterator[str]:
    begin, end = span(world.scenario.begin)
    by_name: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.manual:
            by_name[row.schedule].append(row)
    twice = Counter((row.schedule, row.fire_time, row.manual) for row in rows)
    for (name, at, _), times in twice.items():
        if times > 1:
            yield f"{times} rows for {name} {at}"
    for name in by_name.keys() - segments.keys():
        yield f"rows of {name}, which was never in force"
    for name, parts in segments.items():
        allowed: set[datetime] = set()
        for segment in parts:
            times = fires(segment.schedule, begin, end)
            latest = segment.latest or end
            possible = times[bisect_right(times, segment.earliest) : bisect_right(times, latest)]
            allowed.update(possible)
            yield from _covered(segment, possible, by_name[name])
        for row in by_name[name]:
            if row.fire_time not in allowed or row.last not in allowed:
                yield f"a row for what is no fire time: {row}"


def _covered(segment: Segment, times: list[datetime], rows: list[Row]) -> Iterator[str]:
    covers: Counter[datetime] = Counter()
    rule = _rule(segment.schedule)
    for row in rows:
        if row.through is None:
            covers[row.fire_time] += 1
        elif json.loads(row.rule or "{}") == rule:
            first, last = bisect_left(times, row.fire_time), bisect_right(times, row.through)
            covers.update(times[first:last])
    until = segment.until or segment.since
    if segment.schedule.overlap == "buffer_one":  # what waits for a run to end is not decided yet
        decided = (row.last for row in rows if row.last in times and row.last <= until)
        until = max(decided, default=segment.since)
    for at in times:
        if covers[at] > 1:
            yield f"{covers[at]} rows cover {segment.schedule.name} {at}"
        if covers[at] == 0 and segment.since < at <= until:
            yield f"no row for {segment.schedule.name} {at}, in force from {segment.since} to {until}"


def _rule(schedule: Schedule) -> dict[str, object]:
    """A trigger as journal rows have it."""
    shape: dict[str, object] = {
        "timezone": schedule.timezone,
        "cron": list(schedule.cron),
        "every": schedule.every.total_seconds() if schedule.every else None,
        "at": [at.isoformat() for at in sorted(at for at in schedule.at if isinstance(at, datetime))],
        "start": schedule.start_time.isoformat() if schedule.start_time else None,
        "end": schedule.end_time.isoformat() if schedule.end_time else None,
    }
    return {key: value for key, value in shape.items() if value}


def _runs_match(world: World, rows: list[Row], segments: dict[str, list[Segment]]) -> Iterator[str]:
    """Started rows and the server's runs are the same, one to one; no name was ever made twice."""
    made = {run.id: run for run in world.server.made}
    ours = [run for run in made.values() if not run.foreign and not run.taken_back]
    for name, times in Counter(run.name for run in ours).items():
        if times > 1:
            yield f"{times} runs of {name}"
    holders: Counter[str] = Counter()
    for row in rows:
        for run_id, name in zip(row.run_ids, row.names, strict=False):
            holders[run_id] += 1
            run = made.get(run_id)
            if run is None or run.name != name:
                yield f"the server never made run {run_id} of {row}"
            elif run.taken_back:
                yield f"{row} has a run that the server took back"
            elif run.foreign and not _seems_ours(world, row, run, segments):
                yield f"{row} has somebody else's run"
    for run in ours:
        if holders[run.id] != 1:
            found = next((str(row) for row in rows if run.name in row.names), "no row")
            yield f"run {run.name} made at {world.instant(run.at)} has {holders[run.id]} started rows; {found}"


def _seems_ours(world: World, row: Row, run: Made, segments: dict[str, list[Segment]]) -> bool:
    """Whether nobody could tell that somebody else made this run."""
    asked_for_at = row.claimed_at if row.manual and row.claimed_at else row.fire_time
    in_time = world.instant(run.at + _offset(world, row.made)) >= asked_for_at - _AS_IF_IN_TIME
    claim = next((claim for claim in row.claims if claim.run_id == run.id), row.claims[0])
    nobody_can_tell = _left_behind(world, claim) and (run.alike or _removed(world, row, claim, segments))
    return (run.alike and in_time) or nobody_can_tell


def _offset(world: World, true: float) -> float:
    return next(offset for at, offset in reversed(world.offsets) if at <= true)


def _left_behind(world: World, claim: Stage) -> bool:
    """Whether a process died while it had the claim that got the run: whose that is, nobody can tell any more.

    The row may tell of a later claim: the run may have failed, and been followed by another.
    """
    return any(life.begin <= claim.begin <= life.end <= claim.end for life in world.lives)


def _removed(world: World, row: Row, claim: Stage, segments: dict[str, list[Segment]]) -> bool:
    """Whether the schedule was gone when the fire was decided, and with it what its pipeline should be."""
    decided = row.decided_at or row.fire_time
    if claim is not row.claims[-1]:
        decided = world.instant(claim.end + _offset(world, claim.end))
    return not any(part.earliest <= decided <= (part.latest or decided) for part in segments.get(row.schedule, ()))


def _never_early(world: World) -> Iterator[str]:
    for true, wall, highest, name in world.requests:
        stamp = first_name(name).rpartition("-")[2]
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if highest < at and "-manual-" not in name:
            yield f"{name} was started at {wall} ({true:.3f} s), before its time"


def _reasons(timeline: Timeline, segments: dict[str, list[Segment]]) -> Iterator[str]:
    """Whatever did not become a run has a reason that is true."""
    foreign = {run.name for run in timeline.world.server.made if run.foreign}
    for row in timeline.rows:
        known = segments.get(row.schedule, [])
        parts = [schedule for segment in known for schedule in segment.versions]
        if row.manual or row.state in ("started", "claimed") or not parts:
            continue
        if row.was_claimed:
            left = timeline.in_force(row.schedule, row.made, row.closed, for_claims=True)
            parts += [part for part in left if part is not None and not part.enabled]
        cause = _CAUSES.get((row.state, row.reason), lambda _: "there is no cause for that")
        if complaint := cause(_Case(timeline, row, parts, foreign, known)):
            yield f"{row}: {complaint} ({row.message})"


@dataclass(frozen=True, slots=True)
class _Case:
    """A row that did not become a run, and every version of its schedule that there was."""

    timeline: Timeline
    row: Row
    parts: list[Schedule]
    foreign: set[str]
    segments: list[Segment]

    @property
    def world(self) -> World:
        return self.timeline.world

    @property
    def lapsed(self) -> bool:
        """Whether the window was closed when it was decided, or had been before the clock was set back."""
        set_back = [begin for begin, end in self.world.asleep if end < begin]
        decided = max([self.row.decided_at or self.row.fire_time, *set_back])
        return decided >= self.row.last + min(part.catchup_window for part in self.parts) - _HONOURED


def _misfire(case: _Case) -> str | None:
    if any(part.overlap == "buffer_one" for part in case.parts):
        return None  # it waited for a run to end, and the daemon died meanwhile
    gaps = list(_not_awake(case.world))
    for at in _stands_for(case.world, case.row, case.parts):
        if not any(begin <= at <= end for begin, end in gaps):
            return f"the daemon was awake at {at}"
    return None


def _window(case: _Case) -> str | None:
    return _could_have(case) if case.lapsed else "its window was open still"


def _exhausted(case: _Case) -> str | None:
    if case.lapsed:
        return _could_have(case)
    return None if any(part.retry.max_attempts for part in case.parts) else "there was time left"


def _unauthorized(case: _Case) -> str | None:
    return None if case.lapsed else "there was time left"


def _name_taken(case: _Case) -> str | None:
    return None if case.row.run_name in case.foreign else "nobody else has that name"


def _given_up(case: _Case) -> str | None:
    return None if any(part.catchup == "all" for part in case.parts) else "it was not to be caught up one by one"


def _overlap(case: _Case) -> str | None:
    return None if any(part.overlap != "allow" for part in case.parts) else "overlap is allowed"


def _not_stopped(case: _Case) -> str | None:
    """The server refused to stop a run that was in the way."""
    runs = {run for row in case.timeline.by_name[case.row.schedule] for run in row.run_ids}
    at = [at for at, run in case.world.refused_stops if run in runs and case.row.made <= at <= case.row.closed]
    return None if at else "no stop was refused"


def _dependency(case: _Case) -> str | None:
    return None if any(part.depends_on for part in case.parts) else "it depends on nothing"


def _max_runs(case: _Case) -> str | None:
    return None if any(part.max_runs for part in case.parts) else "there is no limit of runs"


def _excluded(case: _Case) -> str | None:
    return None if any(part.exclude for part in case.parts) else "nothing is excluded"


_CAUSES: dict[tuple[str, str | None], Callable[[_Case], str | None]] = {
    ("missed", "catchup_none"): _misfire,
    ("missed", "catchup_latest"): _misfire,
    ("missed", "catchup_window"): _window,
    ("failed", "retries_exhausted"): _exhausted,
    ("failed", "unauthorized"): _unauthorized,
    ("failed", "name_taken"): _name_taken,
    ("failed", "removed"): lambda _: None,
    ("missed", "removed"): _given_up,
    ("skipped", "overlap"): _overlap,
    ("skipped", "max_runs"): _max_runs,
    ("skipped", "excluded"): _excluded,
    ("skipped", "dependency"): _dependency,
    ("failed", "overlap"): _not_stopped,
    ("skipped", "paused"): lambda _: None,  # see simulation.pausing
}


def _stands_for(world: World, row: Row, parts: list[Schedule]) -> list[datetime]:
    """The fire times of a row."""
    if row.through is None:
        return [row.fire_time]
    rule = json.loads(row.rule or "{}")
    times = next(fires(part, *span(world.scenario.begin)) for part in parts if _rule(part) == rule)
    return times[bisect_left(times, row.fire_time) : bisect_right(times, row.through)]


def _not_awake(world: World) -> Iterator[tuple[datetime, datetime]]:
    """Times by the daemon's clock in which nobody looked, or not for sure."""
    end = world.scenario.begin
    for apply, life in lives(world):
        yield end - _SLACK, apply.after + _SLACK
        end = life.end_wall
    for begin, end in _in_doubt(world):
        yield begin - _SLACK, end + _SLACK
    for begin, end in world.asleep:
        yield min(begin, end) - _SLACK, max(begin, end) + _SLACK
    if any(end < begin for begin, end in world.asleep):  # a clock that was set back: spans lie over each other
        ends = [wall for life in world.lives for wall in (life.begin_wall, life.end_wall)]
        ends += [wall for pair in world.asleep for wall in pair]
        yield min(ends) - _SLACK, max(*ends, world.highest) + _SLACK


def _in_doubt(world: World) -> Iterator[tuple[datetime, datetime]]:
    """Times by the daemon's clock after a reload whose commit failed: nobody knows which set was in force."""
    doubt: datetime | None = None
    for apply in world.applies:
        if apply.refused:
            doubt = apply.before if doubt is None else min(doubt, apply.before)
        elif doubt is not None:
            yield doubt, apply.after
            doubt = None


def _could_have(case: _Case) -> str | None:
    """Whether all was well for long enough while the fire waited, of a schedule that was surely in force."""
    world, row, parts = case.timeline.world, case.row, case.parts
    if row.through is not None or any(waits(part) for part in parts):
        return None
    doubtful = len({_trigger(part) for part in parts}) > 1 or case.segments[0].since >= row.fire_time
    if doubtful and any(begin <= row.fire_time <= end for begin, end in _in_doubt(world)):
        return None  # it may be a fire time of the definition that was refused
    if world.asleep:
        return _could_have_meanwhile(case)
    begin = (row.fire_time - world.scenario.begin).total_seconds() + max(part.delay.total_seconds() for part in parts)
    end = begin + min(part.catchup_window for part in parts).total_seconds()
    for apply, life in lives(world):
        well = max(begin, apply.true + 60)
        limit = min(end, life.end)
        for trouble in world.scenario.troubles_of(row.schedule):
            if trouble.end <= well or trouble.begin >= limit:
                continue
            if trouble.begin - well >= _CALM:
                break
            well = trouble.end
        else:
            if limit - well >= _CALM:
                return f"all was well for {limit - well:.0f} s while it waited"
            continue
        return "all was well for long enough while it waited"
    return None


def _could_have_meanwhile(case: _Case) -> str | None:
    """The same where clocks were set or the machine slept: between two of such."""
    row, window = case.row, min(part.catchup_window for part in case.parts).total_seconds()
    for calm in case.timeline.calms:
        due = max(case.timeline.due(row.fire_time, part, calm) for part in case.parts)
        for begin, end in case.timeline.calms_of(row.schedule, calm):
            well = min(end, due + window, row.closed) - max(begin + 60, due)
            if well >= _CALM:
                return f"all was well for {well:.0f} s while it waited, after {case.timeline.world.instant(begin)}"
    return None


def _no_claim_left(timeline: Timeline) -> Iterator[str]:
    """At the end none is open but what has just been claimed, and what may wait for runs within its window."""
    wall = timeline.world.wall
    for row in timeline.rows:
        if row.state == "claimed" and row.claimed_at and row.claimed_at < wall - timedelta(minutes=10):
            parts = timeline.in_force(row.schedule, row.made, timeline.world.true, for_claims=True)
            waiting = [
                it for it in parts if it and (waits(it) or len(row.claims) > 1 or it.overlap_scope == "pipeline")
            ]
            if not any(wall < row.claimed_at + part.delay + part.catchup_window for part in waiting):
                yield f"still claimed at the end: {row}"


def _in_order(world: World, rows: list[Row], segments: dict[str, list[Segment]]) -> Iterator[str]:
    """What was claimed together and met no trouble was started oldest first.

    One that was late when the next began may have been waited with, until it was sure that no earlier process had sent
    it; it is started nevertheless where a reload made its window longer meanwhile.
    """
    first: dict[str, float] = {}
    for true, _, _, name in world.requests:
        first.setdefault(name, true)
    together: defaultdict[tuple[str, datetime | None], list[Row]] = defaultdict(list)
    for row in rows:
        sent = first.get(row.run_name or "")
        if row.state == "started" and row.attempts == 1 and sent is not None and not row.manual:
            together[row.schedule, row.claimed_at].append(row)
    for (name, _), group in together.items():
        group.sort(key=lambda row: row.fire_time)
        window = min(version.delay + version.catchup_window for part in segments[name] for version in part.versions)
        for older, newer in pairwise(group):
            sent = first[newer.run_name or ""]
            unhindered = bisect_left(world.vain, older.made) == bisect_right(world.vain, sent)
            unhindered = unhindered and world.instant(sent) < older.fire_time + window
            if unhindered and sent < first[older.run_name or ""] - _TOGETHER:
                yield f"not oldest first: {older}, {newer}"
