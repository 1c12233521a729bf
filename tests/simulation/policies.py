"""Whether each schedule's policies were followed, and in time: overlap, max_runs, exclude, buffer_one, lateness.

As simulation.oracle, with none of the daemon's code: what a policy should have come to is told from the runs that the
server had, from when each row was made and closed, and from the dates of the schedule's zone.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from simulation.fires import fires, span
from simulation.timeline import Row, hours, without
from unit.cron_reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulation.oracle import Segment
    from simulation.timeline import Calm, Timeline

    from zendaemon.core.schedule import Schedule

_COMMIT = 60.0
"""How long before a row is made it may have been decided: a slow disk takes half a minute."""
_QUIET = 3600.0
"""After so long a calm all that trouble had left behind is done."""
_LOOKS = 900.0
"""After so long the daemon has looked at the clocks, also when it slept: simulation.process.TICK."""
_LATE = 60.0
_LATE_BY_SLOTS = 120.0
"""The same where the server has two start slots: the longest pause after it said that none was free."""
_POISONED = 300.0
"""How much longer it may take while another name's requests fail: a pause of two minutes, and vain questions."""
_POISONED_EACH, _POISONED_LATELY = 120.0, 900.0
"""The longest pause there is here (simulation.process), which a fire of a poisoned schedule costs the others once:
with its first request, since only what has failed before comes after theirs. The second: which of its fires count."""
_FORBIDDEN = ("skip", "buffer_one")


def policies(timeline: Timeline, segments: Mapping[str, list[Segment]]) -> Iterator[str]:
    """Every policy that was not followed, in words."""
    for name, rows in timeline.by_name.items():
        yield from _skipped_overlap(timeline, name, rows)
        yield from _claimed_in_overlap(timeline, rows)
        yield from _limit(timeline, name, rows)
        yield from _exclude(timeline, name, rows)
        yield from _held_too_long(timeline, name, rows, segments.get(name, []))
    yield from _in_time(timeline)


def _skipped_overlap(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """What was skipped when it came due had a claim before it, or a run was to follow a failed one; with `buffer_one`,
    whose schedule goes, a run was active as far as the daemon could know. What was skipped when it was about to start
    had an active run, as the server knows.
    """
    for row in rows:
        if (row.state, row.reason) != ("skipped", "overlap"):
            continue
        if row.was_claimed:
            if not any(_was_active(timeline, other, row.made, row.closed) for other in rows if other is not row):
                yield f"{row}: no run was active"
        else:
            parts = timeline.in_force(name, row.made - _COMMIT, row.made)
            buffers = any(part is not None and part.overlap == "buffer_one" for part in parts)
            known = timeline.held(name) if buffers else timeline.claims(name)
            if not any(held.begin <= row.made and held.end >= row.made - _COMMIT for _, held in known):
                yield f"{row}: no claim was open"


def _was_active(timeline: Timeline, row: Row, begin: float, end: float) -> bool:
    """Whether a run of this fire that the daemon had on record was active at the server at some time between these."""
    for claim in row.claims:
        run = timeline.runs.get(claim.run_id or "")
        if claim.state == "started" and run is not None and claim.end <= end and run.at <= end and run.ended >= begin:
            return True
    return False


def _claimed_in_overlap(timeline: Timeline, rows: list[Row]) -> Iterator[str]:
    """Nothing is claimed while there is a claim, or a run to follow a failed one, where all in force forbids it."""
    stages = [(row, stage) for row in rows if not row.manual for stage in (*row.claims, *row.retries)]
    for row in rows:
        if row.manual or not row.was_claimed or not _all(timeline, row, lambda it: it.overlap in _FORBIDDEN):
            continue
        for other, stage in stages:
            if other.id < row.id and stage.begin <= row.made < stage.end:
                yield f"{row} was claimed while there was {other}"


def _limit(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """`max_runs`: no claim beyond the limit, and none refused below it."""
    counted = [row for row in rows if not row.manual and row.was_claimed]
    for row in rows:
        limits = [it.max_runs if it else None for it in timeline.in_force(name, row.made - _COMMIT, row.made)]
        before = [other for other in counted if other.id < row.id and other.made <= row.made]
        if row in counted and None not in limits and limits:
            sure = sum(_counts(other, row.made) for other in before)
            if sure >= max(limit for limit in limits if limit):
                yield f"{row} was claimed as number {sure + 1}, of {limits}"
        elif (row.state, row.reason) == ("skipped", "max_runs"):
            perhaps = sum(_counts(other, row.made - 2 * _COMMIT) for other in before)
            if perhaps < min((limit for limit in limits if limit), default=1 << 30):
                yield f"{row}: there were {perhaps} runs, of {limits}"


def _counts(row: Row, at: float) -> bool:
    return row.state == "started" or row.closed > at


def _all(timeline: Timeline, row: Row, what: object) -> bool:
    found = timeline.in_force(row.schedule, row.made - _COMMIT, row.made)
    return bool(found) and all(schedule is not None and what(schedule) for schedule in found)  # type: ignore[operator]


def _exclude(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """What is skipped as excluded is so, and what is excluded is not claimed."""
    begin, end = span(timeline.world.scenario.begin)
    for row in rows:
        parts = [it for it in timeline.in_force(name, row.made - _COMMIT, row.made) if it is not None]
        if row.manual or not parts:
            continue
        if (row.state, row.reason) == ("skipped", "excluded"):
            if not any(_excludes_all(part, row, begin, end) for part in parts):
                yield f"{row}: it is not excluded by {[part.exclude for part in parts]}"
        elif row.was_claimed and all(excluded(part, row.fire_time) for part in parts):
            yield f"{row} was claimed, and is excluded by {[part.exclude for part in parts]}"


def _excludes_all(schedule: Schedule, row: Row, begin: datetime, end: datetime) -> bool:
    if row.through is None:
        return excluded(schedule, row.fire_time)
    times = [at for at in fires(schedule, begin, end) if row.fire_time <= at <= row.through]
    return all(excluded(schedule, at) for at in times)


def excluded(schedule: Schedule, fire_time: datetime) -> bool:
    """Whether a fire time is excluded: the day that the zone's clocks show is listed, or the minute by a cron rule."""
    wall = fire_time.astimezone(ZoneInfo(schedule.timezone)).replace(tzinfo=None)
    for rule in schedule.exclude:
        if rule[:4].isdigit():
            first, _, last = rule.partition("/")
            if date.fromisoformat(first) <= wall.date() <= date.fromisoformat(last or first):
                return True
        elif Reference(rule, schedule.timezone).matches(wall):
            return True
    return False


def _held_too_long(timeline: Timeline, name: str, rows: list[Row], parts: list[Segment]) -> Iterator[str]:
    """`buffer_one`: what waits for a run to end begins when it has ended; also what waits when all is over."""
    begin, end = span(timeline.world.scenario.begin)
    busy = [(held.begin, held.end) for _, held in timeline.held(name)]
    decided = sorted((row.last, row.made) for row in rows if not row.manual)
    lasts = [last for last, _ in decided]
    times: dict[int, list[datetime]] = {}
    for calm in timeline.calms:
        for free_begin, free_end in without(calm.begin + _LOOKS, calm.end, busy):
            if free_end - free_begin < _LATE or not (schedule := _surely(timeline, name, free_begin, free_end)):
                continue
            if schedule.overlap != "buffer_one":
                continue
            known = times.setdefault(id(schedule), fires(schedule, begin, end))
            last_due = timeline.world.instant(free_end - _LATE + calm.offset) - schedule.delay
            index = bisect_right(known, last_due)
            if index == 0 or known[index - 1] <= _since(parts, schedule, calm):
                continue
            at = known[index - 1]
            if not any(made <= free_end for _, made in decided[bisect_right(lasts, at - timedelta(seconds=1)) :]):
                yield f"{name} {at} was not decided though nothing was active for {hours(free_end - free_begin)}"


def _since(parts: list[Segment], schedule: Schedule, calm: Calm) -> datetime:
    """Since when the trigger of this schedule has been in force for sure, by the daemon's clock."""
    found = [part.since for part in parts if any(version is schedule for version in part.versions)]
    return max(found, default=calm.highest)


def _surely(timeline: Timeline, name: str, since: float, until: float) -> Schedule | None:
    """The schedule, where only one definition of it can have been in force between these."""
    found = timeline.in_force(name, since, until)
    return found[0] if found and all(other is found[0] for other in found) else None


def _in_time(timeline: Timeline) -> Iterator[str]:
    """What came due while all was well, and had been for an hour, is started at once."""
    first: dict[str, float] = {}
    for true, _, _, run in timeline.world.requests:
        first.setdefault(run, true)
    sent = sorted(first.values())
    for row in timeline.rows:
        if row.manual or not (
            row.state in ("started", "missed") or row.reason in ("retries_exhausted", "unauthorized")
        ):
            continue
        for calm in timeline.calms:
            if complaint := _late(timeline, row, calm, first, sent):
                yield f"{row}: {complaint}"
                break


def _late(timeline: Timeline, row: Row, calm: Calm, first: Mapping[str, float], sent: Sequence[float]) -> str | None:
    instant = timeline.world.instant
    if not instant(calm.begin + calm.offset) < row.last <= instant(calm.end + calm.offset):
        return None
    came = (row.last - instant(calm.offset)).total_seconds()
    schedule = _surely(timeline, row.schedule, max(calm.begin, came - _QUIET), min(calm.end, came + _QUIET))
    if schedule is None or schedule.overlap == "buffer_one":
        return None
    if row.last not in fires(schedule, *span(timeline.world.scenario.begin)):
        return None  # a fire of another definition, which came when the clock had been set back to before it
    due = timeline.due(row.last, schedule, calm)
    bound = _bound(timeline, due, sent)
    quiet = timeline.calms_of(row.schedule, calm)
    well = any(begin + _QUIET <= due and due + bound <= end for begin, end in quiet)
    if not well or row.last <= calm.highest or schedule.catchup_window.total_seconds() < bound:
        return None
    if row.state != "started":
        return f"all was well when it came due, and for {hours(bound)} after"
    late = first.get(row.run_name or "", row.closed) - due
    if late < -1:
        return f"it was sent {-late:.3f} s before its jitter was over"
    return f"it was sent {late:.3f} s late, and {bound:.0f} s are allowed" if late > bound else None


def _bound(timeline: Timeline, due: float, sent: Sequence[float]) -> float:
    """How late a start may be: longer when others were before it in the queue, or a poisoned name was about."""
    slots = timeline.world.server.version == "0.98.0"
    bound = _LATE_BY_SLOTS if slots else _LATE
    poison = timeline.world.scenario.poison
    if poison is not None and poison.begin - _QUIET < due < poison.end + _QUIET:
        made = (row.made for row in timeline.by_name.get(poison.schedule, ()))
        bound += _POISONED + _POISONED_EACH * sum(due - _POISONED_LATELY < at < due + _POISONED for at in made)
    others = bisect_right(sent, due + bound) - bisect_right(sent, due - bound)
    return bound + others * (15 if slots else 2)
