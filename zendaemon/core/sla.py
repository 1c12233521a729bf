"""Which promises of a schedule (`sla`) are broken at an instant, by what is known of its fires and runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from zendaemon.core.alert import AlertKind
from zendaemon.core.duration import format_duration
from zendaemon.core.fire import instant_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.policy import Sla
    from zendaemon.core.schedule import Schedule


class Promise(StrEnum):
    """The keys of `sla`."""

    LATE_AFTER = "late_after"
    MAX_RUNTIME = "max_runtime"
    MAX_TIME_SINCE_SUCCESS = "max_time_since_success"


KINDS: Mapping[Promise, AlertKind] = {
    Promise.LATE_AFTER: AlertKind.LATE_START,
    Promise.MAX_RUNTIME: AlertKind.LATE_FINISH,
    Promise.MAX_TIME_SINCE_SUCCESS: AlertKind.NO_SUCCESS,
}
"""The alert that tells of each."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that is not kept, since when, and in words, which stay the same as long as it is."""

    promise: Promise
    since: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a schedule.

    `due` is the first fire time that was to be started by now and is not, None while it is paused. `active` has the
    names of the runs that are active, each with its beginning. `last_success` is the end of the last run that
    succeeded, before there is one (not `succeeded`) since when it is waited for; None while the journal has not told.
    `goes_on` is false when nothing is to be started any more: disabled, or no more fire times, or `max_runs` reached.
    Runs begin and end by the server's clock, which is ahead of ours by `skew`.
    """

    due: datetime | None = None
    active: tuple[tuple[str, datetime], ...] = ()
    last_success: datetime | None = None
    succeeded: bool = True
    goes_on: bool = True
    skew: timedelta = timedelta()


def broken(schedule: Schedule, facts: Facts, now: datetime) -> tuple[Broken, ...]:
    """The promises that are broken now, in the order of Promise."""
    if schedule.sla is None:
        return ()
    found = (
        _late_start(schedule.sla, schedule.delay, facts, now),
        _late_finish(schedule.sla, facts, now),
        _no_success(schedule.sla, facts, now),
    )
    return tuple(each for each in found if each is not None)


def _late_start(sla: Sla, delay: timedelta, facts: Facts, now: datetime) -> Broken | None:
    if sla.late_after is None or facts.due is None or now <= (since := facts.due + delay + sla.late_after):
        return None
    text = f"the fire of {instant_text(facts.due)} has not been started within {format_duration(sla.late_after)}"
    return Broken(Promise.LATE_AFTER, since, text)


def _late_finish(sla: Sla, facts: Facts, now: datetime) -> Broken | None:
    if (most := sla.max_runtime) is None:
        return None
    late = sorted((begun, name) for name, begun in facts.active if now > begun + most - facts.skew)
    if not late:
        return None
    (begun, name), more = late[0], len(late) - 1
    text = f"run {name} has been active for longer than {format_duration(most)}, since {_second(begun)}"
    return Broken(Promise.MAX_RUNTIME, begun + most - facts.skew, f"{text}, and {more} more" if more else text)


def _no_success(sla: Sla, facts: Facts, now: datetime) -> Broken | None:
    most, last = sla.max_time_since_success, facts.last_success
    if most is None or last is None or not facts.goes_on:
        return None
    since = last + most - (facts.skew if facts.succeeded else timedelta())
    if now <= since:
        return None
    what = f"the last one that did ended at {_second(last)}" if facts.succeeded else f"since {_second(last)}"
    return Broken(Promise.MAX_TIME_SINCE_SUCCESS, since, f"no run has succeeded within {format_duration(most)}, {what}")


def started_late(schedule: Schedule, fire: Fire, begun: datetime) -> Broken | None:
    """Whether a fire that was started broke its promise; the first run of each counts, and none by hand."""
    if schedule.sla is None or schedule.sla.late_after is None or fire.manual or fire.earlier_runs:
        return None
    since = fire.fire_time + schedule.delay + schedule.sla.late_after
    if begun <= since:
        return None
    within = format_duration(schedule.sla.late_after)
    text = f"the fire of {instant_text(fire.fire_time)} was started at {_second(begun)}, not within {within}"
    return Broken(Promise.LATE_AFTER, since, text)


def ended_late(schedule: Schedule, fire: Fire) -> Broken | None:
    """Whether a run that has ended broke its promise."""
    if schedule.sla is None or (most := schedule.sla.max_runtime) is None:
        return None
    begun, ended = fire.run_started_at, fire.run_ended_at
    if begun is None or ended is None or ended <= begun + most:
        return None
    text = f"run {fire.run_name} took {format_duration(_whole(ended - begun))}, longer than {format_duration(most)}"
    return Broken(Promise.MAX_RUNTIME, begun + most, text)


def _second(instant: datetime) -> str:
    return instant_text(instant.replace(microsecond=0))


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds()))
