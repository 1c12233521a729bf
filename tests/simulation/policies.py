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
from simulation.timeline import COMMIT, LOOKS, Row, hours, waits, without
from unit.cron_reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulation.oracle import Segment
    from simulation.timeline import Calm, Timeline

    from zendaemon.core.schedule import Schedule

QUIET = 3600.0
"""After so long a calm all that trouble had left behind is done."""
_LATE = 60.0
_LATE_BY_SLOTS = 120.0
"""The same where the server has two start slots: the longest pause after it said that none was free."""
_POISONED = 300.0
"""How much longer it may take while another name's requests fail: a pause of two minutes, and vain questions."""
_POISONED_EACH, _POISONED_LATELY = 120.0, 900.0
"""The longest pause there is here (simulation.process), which a fire of a poisoned schedule costs the others once:
with its first request, since only what has failed before comes after theirs. The second: which of its fires count."""


def policies(timeline: Timeline, segments: Mapping[str, list[Segment]]) -> Iterator[str]:
    """Every policy that was not followed, in words."""
    for name, rows in list(timeline.by_name.items()):
        yield from _limit(timeline, name, rows)
        yield from _exclude(timeline, name, rows)
        yield from _held_too_long(timeline, name, rows, segments.get(name, []))
    yield from _in_time(timeline)


def _limit(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """`max_runs`: no claim beyond the limit, and none refused below it."""
    counted = [row for row in rows if not row.manual and row.was_claimed]
    for row in rows:
        limits = [it.max_runs if it else None for it in timeline.in_force(name, row.made - COMMIT, row.made)]
        before = [other for other in counted if other.id < row.id and other.made <= row.made]
        if row in counted and None not in limits and limits:
            sure = sum(_counts(other, row.made) for other in before)
            if sure >= max(limit for limit in limits if limit):
                yield f"{row} was claimed as number {sure + 1}, of {limits}"
        elif (row.state, row.reason) == ("skipped", "max_runs"):
            perhaps = sum(_counts(other, row.made - 2 * COMMIT) for other in before)
            if perhaps < min((limit for limit in limits if limit), default=1 << 30):
                yield f"{row}: there were {perhaps} runs, of {limits}"


def _counts(row: Row, at: float) -> bool:
    return row.state == "started" or row.closed > at


def _exclude(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """What is skipped as excluded is so, and what is excluded is not claimed."""
    begin, end = span(timeline.world.scenario.begin)
    for row in rows:
        parts = [it for it in timeline.in_force(name, row.made - COMMIT, row.made) if it is not None]
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
        for free_begin, free_end in without(calm.begin + LOOKS, calm.end, busy):
            if free_end - free_begin < _LATE or not (schedule := timeline.surely(name, free_begin, free_end)):
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
    schedule = timeline.surely(row.schedule, max(calm.begin, came - QUIET), min(calm.end, came + QUIET))
    if schedule is None or waits(schedule):
        return None
    if row.last not in fires(schedule, *span(timeline.world.scenario.begin)):
        return None  # a fire of another definition, which came when the clock had been set back to before it
    due = timeline.due(row.last, schedule, calm)
    allowed = bound(timeline, due, sent)
    quiet = timeline.calms_of(row.schedule, calm)
    well = any(begin + QUIET <= due and due + allowed <= end for begin, end in quiet)
    if not well or row.last <= calm.highest or schedule.catchup_window.total_seconds() < allowed:
        return None
    if row.state != "started":
        return f"all was well when it came due, and for {hours(allowed)} after"
    late = first.get(row.names[0] if row.names else "", row.closed) - due
    if late < -1:
        return f"it was sent {-late:.3f} s before its jitter was over"
    return f"it was sent {late:.3f} s late, and {allowed:.0f} s are allowed" if late > allowed else None


def bound(timeline: Timeline, due: float, sent: Sequence[float]) -> float:
    """How late a start may be: longer when others were before it in the queue, or a poisoned name was about."""
    slots = timeline.world.server.version == "0.98.0"
    found = _LATE_BY_SLOTS if slots else _LATE
    poison = timeline.world.scenario.poison
    if poison is not None and poison.begin - QUIET < due < poison.end + QUIET:
        made = (row.made for row in timeline.by_name.get(poison.schedule, ()))
        found += _POISONED + _POISONED_EACH * sum(due - _POISONED_LATELY < at < due + _POISONED for at in made)
    others = bisect_right(sent, due + found) - bisect_right(sent, due - found)
    return found + others * (15 if slots else 2)
