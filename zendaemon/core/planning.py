"""Whether a schedule's due fire times become runs: the one rule for on time, late, suspended, restarted and reloaded.

Fire times that came due while the daemon was awake are on time, however long the daemon took to look. Those that came
due before it was (`awake_since`) are misfires, and the catch-up policy decides about them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from heapq import heappop, heappush
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from zendaemon.core.fire import Fire, FireState, Reason, run_name
from zendaemon.core.policy import Catchup, Overlap
from zendaemon.core.trigger import EPOCH, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zendaemon.core.pause import Pause
    from zendaemon.core.schedule import Schedule

_TICK = timedelta(microseconds=1)
_CHUNK = timedelta(hours=6)
_LONG_AGO = EPOCH


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands when it is planned.

    `claimed` tells whether a claim is open, or another run is to follow one that failed; `running` whether a run is
    active, as far as is known; `runs` counts the fires that were claimed or started, for `max_runs`. `pause` is the
    latest one, also when it is over.
    """

    watermark: datetime
    awake_since: datetime = _LONG_AGO
    claimed: bool = False
    running: bool = False
    runs: int = 0
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: `fires` in the order of their times, claimed ones to be started and the others closed at once.

    `watermark` is the schedule's new one. `held` tells that a due fire waits for the active run to end (buffer_one),
    `more` that there were more fires than were asked for.
    """

    fires: tuple[Fire, ...]
    watermark: datetime
    held: bool = False
    more: bool = False


def plan(
    schedule: Schedule, standing: Standing, now: datetime, *, closing: bool = False, limit: int | None = None
) -> Plan:
    """Decide every fire time of `schedule` that is due at `now` (aware) and not decided yet, the `limit` oldest fires.

    `closing` when the trigger goes at `now`: nothing may wait for its jitter or an active run any longer, and what a
    catch-up has not come to is not started any more.
    """
    due = now if closing else now - schedule.delay
    watermark = standing.watermark
    first = schedule.trigger.next_after(watermark)
    if first is None or first > due:
        return Plan((), watermark)
    earliest = first
    opens, ends = standing.pause.span(schedule.delay, due) if standing.pause else (due, due)
    if schedule.overlap is Overlap.BUFFER_ONE and (standing.claimed or standing.running) and not closing:
        if not opens < first <= ends:
            return Plan((), watermark, held=True)
        due = ends

    def stretch(after: datetime, until: datetime) -> Iterator[Fire]:
        """Of (`after`, `until`], where nothing is paused: misfires first."""
        if until <= after:
            return
        slept_until = min(until, standing.awake_since - schedule.delay - _TICK)
        if closing and schedule.catchup is Catchup.ALL:
            yield from _together(schedule, after, slept_until, Reason.REMOVED)
        else:
            yield from _misfires(schedule, after, slept_until, due, now)
        begin = max(after, slept_until)
        yield from _on_time(schedule, earliest if begin < earliest else schedule.trigger.next_after(begin), until, now)

    fires = chain(
        stretch(watermark, min(due, opens)),
        _together(schedule, max(watermark, opens), ends, Reason.PAUSED),
        stretch(max(watermark, ends), due),
    )
    found = _with_limits(schedule, standing, fires, now)
    decided = tuple(islice(found, limit))
    if decided:
        watermark = max(fire.through or fire.fire_time for fire in decided)
    return Plan(decided, watermark, more=limit is not None and len(decided) == limit)


def _on_time(schedule: Schedule, first: datetime | None, until: datetime, now: datetime) -> Iterator[Fire]:
    """The fires from the fire time `first` on."""
    instant = first
    while instant is not None and instant <= until:
        yield _start(schedule, instant, now)
        more = until - instant >= schedule.trigger.shortest
        instant = schedule.trigger.next_after(instant) if more else None


def _misfires(schedule: Schedule, after: datetime, until: datetime, due: datetime, now: datetime) -> Iterator[Fire]:
    """The fires for the fire times in (`after`, `until`], those that are not started as ranges."""
    if until <= after:
        return
    opens = due - schedule.catchup_window
    last = schedule.last_until(until, after=after)
    if last is None:
        yield from _together(schedule, after, until, Reason.EXCLUDED)
        return
    match schedule.catchup:
        case Catchup.NONE:
            yield from _together(schedule, after, until, Reason.CATCHUP_NONE)
        case Catchup.LATEST:
            if last < opens:
                yield from _together(schedule, after, last, Reason.CATCHUP_WINDOW)
            else:
                yield from _together(schedule, after, min(opens, last) - _TICK, Reason.CATCHUP_WINDOW)
                yield from _together(schedule, max(after, opens - _TICK), last - _TICK, Reason.CATCHUP_LATEST)
                yield _start(schedule, last, now)
            yield from _together(schedule, last, until, Reason.EXCLUDED)
        case Catchup.ALL:
            yield from _together(schedule, after, min(opens - _TICK, until), Reason.CATCHUP_WINDOW)
            yield from _on_time(schedule, schedule.trigger.next_after(max(after, opens - _TICK)), until, now)


def _together(schedule: Schedule, after: datetime, until: datetime, reason: Reason) -> Iterator[Fire]:
    """At most one row for all fire times in (`after`, `until`]."""
    last = schedule.trigger.last_until(until, after=after) if until > after else None
    if last is None:
        return
    first = schedule.trigger.next_after(after)
    if first is None:
        return
    state = FireState.SKIPPED if reason in (Reason.EXCLUDED, Reason.PAUSED) else FireState.MISSED
    fire = Fire(schedule=schedule.name, fire_time=first, state=state, reason=reason)
    if last > first:
        fire = replace(fire, through=last, rule=rule_text(schedule.trigger))
    yield fire


def _start(schedule: Schedule, fire_time: datetime, now: datetime) -> Fire:
    """A claim made at `now`, or how the fire is closed without one."""
    if schedule.excludes(fire_time):
        return Fire(schedule=schedule.name, fire_time=fire_time, state=FireState.SKIPPED, reason=Reason.EXCLUDED)
    try:
        name = run_name(schedule, fire_time)
    except ValueError as error:
        return Fire(
            schedule=schedule.name,
            fire_time=fire_time,
            state=FireState.FAILED,
            reason=Reason.REJECTED,
            message=str(error),
        )
    return Fire(schedule=schedule.name, fire_time=fire_time, run_name=name, project=schedule.project, claimed_at=now)


def _with_limits(schedule: Schedule, standing: Standing, fires: Iterable[Fire], now: datetime) -> Iterator[Fire]:
    """Apply `overlap` and `max_runs` to the fires that would be started, and stamp all of them.

    Whether a run is active is asked of the server when the claimed fire is about to start: what is known here may be
    minutes old.
    """
    claimed, runs = standing.claimed, standing.runs
    if schedule.overlap is Overlap.BUFFER_ONE:
        claimed = claimed or standing.running
    for fire in fires:
        if fire.state is not FireState.CLAIMED:
            yield replace(fire, decided_at=now)
        elif schedule.max_runs is not None and runs >= schedule.max_runs:
            yield _skipped(fire, Reason.MAX_RUNS, now)
        elif claimed and schedule.overlap in (Overlap.SKIP, Overlap.BUFFER_ONE):
            yield _skipped(fire, Reason.OVERLAP, now)
        else:
            claimed, runs = True, runs + 1
            yield fire


def _skipped(fire: Fire, reason: Reason, now: datetime) -> Fire:
    return replace(fire, state=FireState.SKIPPED, reason=reason, run_name=None, claimed_at=None, decided_at=now)


@lru_cache(maxsize=65_536)
def rule_text(trigger: Trigger) -> str:
    """A trigger as JSON: what a range of fires was made by, and what tells whether a schedule's trigger changed."""
    shape = {
        "timezone": trigger.timezone,
        "cron": trigger.cron,
        "every": trigger.every.total_seconds() if trigger.every else None,
        "at": [at.isoformat() for at in trigger.at],
        "start": trigger.start.isoformat() if trigger.start else None,
        "end": trigger.end.isoformat() if trigger.end else None,
        "name": trigger.name,
    }
    return json.dumps({key: value for key, value in shape.items() if value}, sort_keys=True)


def trigger_of(rule: str) -> Trigger:
    """The trigger that `rule_text` wrote."""
    shape = json.loads(rule)
    return Trigger(
        timezone=shape["timezone"],
        cron=tuple(shape.get("cron", ())),
        every=timedelta(seconds=shape["every"]) if "every" in shape else None,
        at=tuple(datetime.fromisoformat(at) for at in shape.get("at", ())),
        start=datetime.fromisoformat(shape["start"]) if "start" in shape else None,
        end=datetime.fromisoformat(shape["end"]) if "end" in shape else None,
        name=shape.get("name", ""),
    )


def unfold(fire: Fire) -> Iterator[Fire]:
    """Every fire that a row stands for, the latest first; some hours of it at a time, so that a limit is cheap."""
    if fire.through is None or fire.rule is None:
        yield fire
        return
    trigger = trigger_of(fire.rule)
    single = replace(fire, through=None, rule=None)
    before = fire.fire_time - _TICK
    until = trigger.last_until(fire.through, after=before)
    while until is not None:
        after = max(before, until - _CHUNK)
        chunk: list[datetime] = []
        instant = trigger.next_after(after)
        while instant is not None and instant <= until:
            chunk.append(instant)
            instant = trigger.next_after(instant)
        yield from (replace(single, fire_time=instant) for instant in reversed(chunk))
        until = trigger.last_until(after, after=before)


def unfolded(rows: Iterable[Fire]) -> Iterator[Fire]:
    """Every fire of many rows, the latest first. The rows come sorted so by the last fire time that each stands for."""
    open_ranges: list[tuple[float, int, Fire, Iterator[Fire]]] = []
    order = count()

    def push(fires: Iterator[Fire]) -> None:
        fire = next(fires, None)
        if fire is not None:
            heappush(open_ranges, (-fire.fire_time.timestamp(), next(order), fire, fires))

    for row in rows:
        latest = -(row.through or row.fire_time).timestamp()
        while open_ranges and open_ranges[0][0] <= latest:
            _, _, fire, rest = heappop(open_ranges)
            yield fire
            push(rest)
        push(unfold(row))
    while open_ranges:
        _, _, fire, rest = heappop(open_ranges)
        yield fire
        push(rest)
