"""What is valid in a schedule and perhaps not meant: findings with a code, which `ignore` silences by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from zendaemon.core import dst
from zendaemon.core.duration import format_duration
from zendaemon.core.explain import explain_cron
from zendaemon.core.fields import NAMES, SPANS, values
from zendaemon.core.near import did_you_mean
from zendaemon.core.policy import Catchup
from zendaemon.core.zones import RENAMED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from zendaemon.core.schedule import Schedule
    from zendaemon.core.trigger import Trigger

CODES = (
    "both-day-fields",
    "catchup-flood",
    "dst-gap",
    "dst-overlap",
    "never-again",
    "no-effect",
    "renamed-zone",
    "short-window",
    "uneven-step",
    "unknown-channel",
    "unknown-code",
)
AHEAD = timedelta(days=396)
"""How far changes of the clock are looked for: 13 months, so that each one of a year is told well before it comes."""

_FLOOD = 100
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_UNITS = ("minute", "hour", "day", "month", "weekday")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at, to be shown at the `key` of the schedule that it is about."""

    code: str
    message: str
    key: str


def lint(schedule: Schedule, now: datetime, channels: Collection[str] | None = None) -> list[Finding]:
    """What an expert would ask about a valid schedule, without what its `ignore` names.

    `channels` are those of the settings, where they are known.
    """
    found = [
        *_of_calendar(schedule.trigger, now.replace(hour=0, minute=0, second=0, microsecond=0)),
        *_of_zone(schedule),
        *_of_end(schedule, now),
        *_of_catchup(schedule, now),
        *_of_effects(schedule),
        *_of_channels(schedule, channels),
    ]
    kept = [finding for finding in found if finding.code not in schedule.ignore]
    return [*kept, *_of_codes(schedule)]


@lru_cache(maxsize=65_536)
def _of_calendar(trigger: Trigger, today: datetime) -> tuple[Finding, ...]:
    """What there is to say about cron expressions: the same for all schedules of one trigger."""
    found: list[Finding] = []
    for expression in trigger.cron:
        found += _of_day_fields(expression, trigger.name)
        found += _of_steps(expression)
        found += islice(_of_changes(expression, trigger, today, forward=True), 1)
        found += islice(_of_changes(expression, trigger, today, forward=False), 1)
    return tuple(dict.fromkeys(found))


def _of_day_fields(expression: str, name: str) -> Iterator[Finding]:
    fields = values(expression, name)
    if fields.either:
        first, second = fields.texts[2], fields.texts[4]
        message = (
            f'day-of-month "{first}" and day-of-week "{second}" are both given, and one of them is enough: '
            f"{explain_cron(expression, name)}; write one of them as *, unless that is meant"
        )
        yield Finding("both-day-fields", message, "cron")


def _of_steps(expression: str) -> Iterator[Finding]:
    """Steps over a whole field that do not divide it, so that they begin anew too early."""
    for index, (text, span) in enumerate(zip(values(expression).texts, SPANS, strict=True)):
        for item in text.split(","):
            base, _, digits = item.partition("/")
            step = int(digits) if base == "*" and digits else 1
            if step >= span:
                low = (0, 0, 1, 1, 0)[index]
                message = f'{NAMES[index]} "{item}" is {_UNITS[index]} {low} alone: the field has {span} values'
                yield Finding("uneven-step", message, "cron")
            elif span % step:
                message = (
                    f'{NAMES[index]} "{item}" begins anew {_ANEW[index]}: the last step is {_last(index, step)} '
                    f"instead of {step}"
                )
                yield Finding("uneven-step", message, "cron")


_ANEW = ("every hour", "every day", "every month", "every year", "every Sunday")


def _last(index: int, step: int) -> str:
    """How long the last step of a field is; months have 28 to 31 days."""
    if index != 2:
        return str(SPANS[index] % step)
    lasts = sorted({(length - 1) % step + 1 for length in (28, 29, 30, 31)})
    return f"{lasts[0]} to {lasts[-1]}" if len(lasts) > 1 else str(lasts[0])


def _of_changes(expression: str, trigger: Trigger, today: datetime, *, forward: bool) -> Iterator[Finding]:
    """The changes of the clock that skip or repeat a time of day; rules that go by the hour follow the clock anyway."""
    if values(expression).texts[1].startswith("*"):
        return
    for change in dst.changes(trigger.timezone, today, today + AHEAD):
        outside = (trigger.start and change.instant < trigger.start) or (trigger.end and change.instant >= trigger.end)
        if change.forward is not forward or outside:
            continue
        if walls := dst.touched(expression, trigger.name, change):
            made_up = dst.is_compensated(expression, trigger.name, change)
            yield _skipped(walls, change, made_up=made_up) if forward else _repeated(walls, made_up=made_up)


def _skipped(walls: list[datetime], change: dst.Change, *, made_up: bool) -> Finding:
    many = len(walls) > 1
    fires = f"{'they fire once' if many else 'it fires'} at {change.walls[1]:%H:%M}" if made_up else "no fire then"
    message = (
        f"{dst.said(walls)} {'do' if many else 'does'} not exist on {walls[0]:%Y-%m-%d}, "
        f"when the clock is set forward: {fires}; choose another time, or timezone: UTC"
    )
    return Finding("dst-gap", message, "cron")


def _repeated(walls: list[datetime], *, made_up: bool) -> Finding:
    many = len(walls) > 1
    fires = "only the first time fires" if made_up else f"{'each' if many else 'it'} fires twice"
    message = (
        f"{dst.said(walls)} {'occur' if many else 'occurs'} twice on {walls[0]:%Y-%m-%d}, "
        f"when the clock is set back: {fires}; choose another time, or timezone: UTC"
    )
    return Finding("dst-overlap", message, "cron")


def _of_zone(schedule: Schedule) -> Iterator[Finding]:
    if new := RENAMED.get(schedule.timezone):
        message = f"{schedule.timezone} is an old name of {new}, which some systems no longer have; write {new}"
        yield Finding("renamed-zone", message, "timezone")


def _of_end(schedule: Schedule, now: datetime) -> Iterator[Finding]:
    """A schedule that is over: left in the files by oversight, or its end mistyped."""
    if schedule.next_after(now) is not None:
        return
    over = schedule.trigger.end is not None and schedule.trigger.end <= now
    key = "end_time" if over else next(key for key in ("at", "cron", "every") if getattr(schedule, key))
    what = "end_time is past" if over else "every time of `at` is past" if schedule.at else "no fire time is left"
    yield Finding("never-again", f"{what}: it will not fire again; remove the schedule, or give it a later time", key)


def _of_catchup(schedule: Schedule, now: datetime) -> Iterator[Finding]:
    window = schedule.catchup_window
    if window < _MINUTE and (schedule.every is None or schedule.every > window):
        shown = format_duration(window)
        message = f"catchup_window {shown} is shorter than a restart: a fire that comes due meanwhile is missed"
        yield Finding("short-window", message, "catchup_window")
    if schedule.catchup is Catchup.ALL and (count := _fires_within(schedule, now, window)) > _FLOOD:
        message = (
            f"catchup all starts more than {count - 1} runs after an outage of {format_duration(window)}; use latest, "
            "or a shorter catchup_window"
        )
        yield Finding("catchup-flood", message, "catchup")


def _fires_within(schedule: Schedule, now: datetime, window: timedelta) -> int:
    """How many fires the next `window` has, counted no further than is asked for."""
    count = 0
    found = schedule.next_after(now)
    end = now + window
    while found is not None and found <= end and count <= _FLOOD:
        count += 1
        found = schedule.next_after(found)
    return count


def _of_effects(schedule: Schedule) -> Iterator[Finding]:
    if schedule.pause_after_failures is not None:
        message = "pause_after_failures has no effect in this version: failed runs do not pause the schedule yet"
        yield Finding("no-effect", message, "pause_after_failures")


def _of_codes(schedule: Schedule) -> Iterator[Finding]:
    for code in schedule.ignore:
        if code not in CODES:
            remedy = did_you_mean(code, CODES) or f"use {', '.join(CODES)}"
            yield Finding("unknown-code", f"ignore: there is no code {code!r}; {remedy}", "ignore")


def _of_channels(schedule: Schedule, channels: Collection[str] | None) -> Iterator[Finding]:
    if channels is None:
        return
    for name in (schedule.notify or {}).keys() - channels:
        remedy = did_you_mean(name, channels) or f"the settings have {', '.join(sorted(channels)) or 'no channels'}"
        told = "its alerts go to the default channels"
        yield Finding("unknown-channel", f"no channel {name!r} in the settings: {told}; {remedy}", "notify")
