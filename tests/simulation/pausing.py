"""Whether a schedule started nothing while it was paused, and only then skipped what was due.

As simulation.oracle, with none of the daemon's code: what is known is what operators asked for and were told, and when
the disk had a pause after failures, for which simulation.follow_ups wants a cause. Of a call whose process was killed,
nobody knows whether it was done, and so both may be true from then on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from simulation.fires import fires, span
from simulation.timeline import IN_HAND, first_name, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulation.timeline import Row, Timeline
    from simulation.world import Call, World

    from zendaemon.core.schedule import Schedule

_NEVER = datetime.max.replace(tzinfo=UTC)
_PUT_RIGHT = 1000.0
"""So long a time with a disk that is well, and the daemon has made good what a call left behind that had failed."""
_GRAIN = 0.001
"""The daemon's clock shows whole microseconds: by what it tells, a thing may have been a little before it was."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A pause by the daemon's clock. It begins and it ends between two instants each; before `until` it is in force."""

    since: tuple[datetime, datetime]
    until: tuple[datetime, datetime]

    def covers(self, start: datetime) -> bool:
        """Whether what is to be started then is paused for sure."""
        return self.since[1] <= start < self.until[0]

    def may_cover(self, start: datetime) -> bool:
        return self.since[0] <= start < self.until[1]


@dataclass(frozen=True, slots=True)
class Known:
    """What may be the schedule's latest pause from `begin` to `end`; from `sure` on surely, if nothing else may be."""

    stretch: Stretch | None
    begin: float
    sure: float
    end: float = inf


def paused(timeline: Timeline) -> Iterator[str]:
    """Every breach of a pause, in words."""
    sent = _sent(timeline.world)
    for name in sorted({*timeline.by_name, *(call.schedule for call in timeline.world.calls)}):
        known: list[Known] = [Known(None, 0.0, 0.0)]
        yield from _learn(timeline, name, known)
        for row in timeline.by_name[name]:
            yield from _wrong(timeline, row, known)
        for true, run in sent[name]:
            if _held(timeline.world, known, true - IN_HAND, true):
                yield f"{run} was sent at {timeline.world.instant(true)}, while {name} was paused"


def learned(timeline: Timeline, name: str) -> list[Known]:
    """What may be known of a schedule's pauses."""
    known: list[Known] = [Known(None, 0.0, 0.0)]
    for _ in _learn(timeline, name, known):
        pass
    return known


def may_hold(world: World, known: Iterable[Known], begin: float, end: float) -> bool:
    """Whether a pause may have been in force at some time between two moments."""
    return bool(_may_hold(world, known, begin, end))


def _sent(world: World) -> defaultdict[str, list[tuple[float, str]]]:
    """When starts of each schedule were sent; those by hand are not for a pause to stop."""
    found: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for true, _, _, run in world.requests:
        if "-manual-" not in run:
            found[first_name(run).rpartition("-")[0]].append((true, run))
    return found


def _learn(timeline: Timeline, name: str, known: list[Known]) -> Iterator[str]:
    """Go through the calls about one schedule, and tell which answers cannot be true."""
    world = timeline.world
    failed: list[Call] = []
    failures = list(timeline.pauses[name])
    for call in [call for call in world.calls if call.schedule == name]:
        while failures and failures[0][0] <= (call.begun if call.done == inf else call.done):
            _after_failures(timeline, *failures.pop(0), known)
        _doubt(world, [one for one in failed if one.life < call.life], known)
        failed = [one for one in failed if one.life == call.life]
        match call.outcome:
            case "unknown":
                _unknown(world, call, world.lives[call.life].end, known, call.begun)
            case "failed":
                failed.append(call)
            case "refused":
                if not call.pauses and _held(world, known, call.begun, call.done):
                    yield f"it was told that {call.schedule} was not paused at {world.instant(call.done)}"
            case "done":
                failed = []
                yield from _untrue(timeline, call, known)
                _done(call, known)
    for pause in failures:
        _after_failures(timeline, *pause, known)
    _doubt(world, failed, known)


def _after_failures(timeline: Timeline, at: float, since: datetime, known: list[Known]) -> None:
    """A pause after failures was on disk: in force, unless the daemon was told that the disk had failed."""
    stretch = Stretch((since, since), (_NEVER, _NEVER))
    doubtful = timeline.disk_fails(at, at)
    if not doubtful:
        known[:] = [replace(one, end=at) if one.end == inf else one for one in known]
    known.append(Known(stretch, at, inf if doubtful else at))


def _done(call: Call, known: list[Known]) -> None:
    assert call.told is not None
    since, until = call.told
    known[:] = [replace(one, end=call.done) if one.end == inf else one for one in known]
    known.append(Known(Stretch((since, since), (until or _NEVER, until or _NEVER)), call.begun, call.done))


def _doubt(world: World, failed: Iterable[Call], known: list[Known]) -> None:
    """Of calls that failed nothing is left, unless their process ended before the disk was well again."""
    for call in failed:
        life = world.lives[call.life]
        bad = [(trouble.begin, trouble.end) for trouble in world.scenario.troubles if "disk" in trouble.kinds]
        well = without(call.done, life.end, [*bad, *world.suspends])
        if not any(end - begin >= _PUT_RIGHT for begin, end in well):
            _unknown(world, call, call.done, known, life.end)


def _unknown(world: World, call: Call, until: float, known: list[Known], begin: float) -> None:
    """The call, which was under way till `until`, may have been done; that matters from `begin` on."""
    window = _shown(world, call.begun, until)
    for one in [one for one in known if one.end == inf]:
        before = one.stretch
        if call.pauses:
            end = (call.until or _NEVER, call.until or _NEVER)
            fresh = Stretch(window, end)
            found = [fresh] if before is None else [fresh, replace(before, until=end)]
        else:
            found = [] if before is None else [replace(before, until=window)]
        known.extend(Known(stretch, begin, inf) for stretch in found)


def _shown(world: World, begin: float, end: float) -> tuple[datetime, datetime]:
    """The earliest and the latest that the daemon's clock showed between two moments."""
    shown = []
    for (at, offset), (until, _) in pairwise([*world.offsets, (inf, 0.0)]):
        if at <= end and until >= begin:
            shown += [world.instant(max(at, begin) + offset), world.instant(min(until, end) + offset)]
    return min(shown), max(shown)


def _at(known: Iterable[Known], begin: float, end: float) -> list[Known]:
    """What may have been known between two moments."""
    return [one for one in known if one.begin <= end and one.end >= begin]


def _held(world: World, known: Iterable[Known], begin: float, end: float) -> bool:
    """Whether a pause was in force all the time between two moments, and no other was perhaps."""
    return all(
        one.stretch is not None and one.sure <= begin and _shown(world, one.begin, end)[1] < one.stretch.until[0]
        for one in _at(known, begin, end)
    )


def _may_hold(world: World, known: Iterable[Known], begin: float, end: float) -> list[Stretch]:
    """Those that may have been in force at some time between two moments."""
    earliest, _ = _shown(world, begin, end)
    return [one.stretch for one in _at(known, begin, end) if one.stretch and earliest < one.stretch.until[1]]


def _untrue(timeline: Timeline, call: Call, known: list[Known]) -> Iterator[str]:
    """What is wrong with the answer to a call."""
    assert call.told is not None
    world, (since, until) = timeline.world, call.told
    earliest, latest = _shown(world, call.begun, call.done)
    before = _may_hold(world, known, call.begun, call.done)
    if not call.pauses:
        if not any(stretch.since[0] <= since <= stretch.since[1] for stretch in before):
            yield f"{call.schedule} was not paused from {since} on, as it was told when it was resumed"
        if until is None or not earliest <= until <= latest:
            yield f"{call.schedule} was resumed by {until}, and the clock showed {earliest} to {latest}"
        return
    if until != call.until:
        yield f"{call.schedule} is paused till {until}, and was to be till {call.until}"
    if _held(world, known, call.begun, call.done) and not any(since <= stretch.since[1] for stretch in before):
        yield f"{call.schedule} is paused from {since} on, and was paused before"
    known_then = [one.stretch for one in _at(known, call.begun, call.done) if one.stretch]
    before += [stretch for stretch in known_then if _left(timeline, call, stretch)]
    anew = earliest <= since <= latest
    if not anew and not any(stretch.since[0] <= since <= stretch.since[1] for stretch in before):
        yield f"{call.schedule} is paused from {since} on, and the clock showed {earliest} to {latest}"


def _left(timeline: Timeline, call: Call, before: Stretch) -> bool:
    """Whether something may not have been decided yet that a pause covers which is over."""
    for row in timeline.by_name[call.schedule]:
        if row.made >= call.begun and not row.manual:
            delays = [schedule.delay for schedule in timeline.in_force(row.schedule, call.begun, row.made) if schedule]
            if any(row.fire_time + delay < before.until[1] for delay in delays):
                return True
    schedules = timeline.in_force(call.schedule, call.begun, call.done)
    return any(schedule is not None and schedule.overlap == "buffer_one" for schedule in schedules)


def _wrong(timeline: Timeline, row: Row, known: list[Known]) -> Iterator[str]:
    """What is due in a pause is skipped for that; nothing else is, but what waits when a pause begins."""
    skipped = (row.state, row.reason) == ("skipped", "paused")
    if row.manual:
        if skipped:
            yield f"{row}, though it was by hand"
        return
    if skipped and row.was_claimed:
        if not any(_may_hold(timeline.world, known, at - _GRAIN, at + _GRAIN) for at in _decided(timeline, row)):
            yield f"{row} at {row.decided_at}: it was not paused then"
        return
    stretches = [(one.stretch, one.sure) for one in _at(known, row.made, row.made)]
    schedules = [it for it in timeline.in_force(row.schedule, row.made - _GRAIN, row.made) if it is not None]
    for at in _stands_for(timeline, row, schedules):
        starts = {at + schedule.delay for schedule in schedules}
        if skipped:
            true = any(stretch and stretch.may_cover(start) for stretch, _ in stretches for start in starts)
        else:
            true = not all(stretch and stretch.covers(start) for stretch, _ in stretches for start in starts)
            true = true or any(sure > row.made for _, sure in stretches)
        if not true:
            yield f"{row}: what was due at {at} was {'not ' if skipped else ''}paused"
            return


def _decided(timeline: Timeline, row: Row) -> Iterator[float]:
    """When in true time its end may have been decided, which a disk that fails records later."""
    world = timeline.world
    decided = ((row.decided_at or row.fire_time) - world.scenario.begin).total_seconds()
    for (at, offset), (until, _) in pairwise([*world.offsets, (inf, 0.0)]):
        true = decided - offset
        if at - _GRAIN <= true <= until + _GRAIN and row.made - _GRAIN <= true <= row.closed + _GRAIN:
            yield true


def _stands_for(timeline: Timeline, row: Row, schedules: list[Schedule]) -> list[datetime]:
    if row.through is None or not schedules:
        return [row.fire_time] if schedules else []
    found = (fires(schedule, *span(timeline.world.scenario.begin)) for schedule in schedules)
    times = next((times for times in found if {row.fire_time, row.through} <= set(times)), [])
    return [at for at in times if row.fire_time <= at <= row.through]
