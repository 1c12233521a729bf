"""What can be told of a schedule's config, trigger and run names without a server."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zendaemon.core.fire import names_collide, run_name
from zendaemon.core.near import did_you_mean
from zendaemon.core.template import render
from zendaemon.loader.report import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zendaemon.core.schedule import Schedule
    from zendaemon.loader.node import Node
    from zendaemon.loader.report import Position

    Add = Callable[[Position, str, str], None]

_REFUSED = {
    "schedule": "the trigger stands beside `config`, as cron, every or at",
    "build": "the target stands beside `config`, as build, or as pipeline and version",
}
_DOCKER = "docker settings belong to the build; remove them here"
_VARIABLES = ("fire_time", "schedule")
_TEMPLATE_HELP = "use fire_time and schedule, and the filters date, utc, zone and shift"
_NAME_HELP = "put the whole fire time in it: {{ fire_time | utc | date('%Y%m%dT%H%M%SZ') }}"
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_EXCLUDED_SPAN = timedelta(days=800)
_EXCLUDED_COUNT = 1000
_EXCLUDED_IN_A_ROW = 50  # of fires that are years apart
_SHARED_COUNT = 500


def check_config(node: Node, schedule: Schedule, now: datetime, add: Add) -> None:
    """Keys that ZenML's API refuses, and templates that cannot be rendered, each at its place."""
    for key, remedy in _REFUSED.items():
        if key in node.keys:
            add(node.keys[key], f"config.{key} is refused by ZenML's API", remedy)
    _docker(node, "config", add)
    if steps := node.child("steps"):
        for name, step in steps.mapping().items():
            _docker(step, f"config.steps.{name}", add)
    times: list[datetime] = []
    for text in _templates(node):
        times = times or _sample(schedule, now)
        _check_template(text, schedule, times, add)


def _docker(node: Node, path: str, add: Add) -> None:
    settings = node.child("settings")
    if settings and "docker" in settings.keys:
        add(settings.keys["docker"], f"{path}.settings.docker is refused by ZenML's API", _DOCKER)


def _templates(node: Node) -> Iterator[Node]:
    if isinstance(node.value, str):
        if "{" in node.value:
            yield node
    elif node.items:
        for child in node.items.values() if isinstance(node.items, dict) else node.items:
            yield from _templates(child)


def _sample(schedule: Schedule, now: datetime, count: int = 3) -> list[datetime]:
    """The next fire times, or `now` for a schedule that has none left."""
    times: list[datetime] = []
    instant: datetime | None = now
    while len(times) < count and (instant := schedule.trigger.next_after(instant or now)):
        times.append(instant)
    return times or [now]


def _check_template(node: Node, schedule: Schedule, times: list[datetime], add: Add) -> None:
    for fire_time in times:
        try:
            render(node.value, schedule=schedule.name, fire_time=fire_time, timezone=schedule.timezone)
        except Exception as error:  # noqa: BLE001 - whatever a template trips over is a problem of the template
            detail = str(error).removeprefix(f"cannot render {node.value!r}: ") or type(error).__name__
            unknown = detail.removesuffix(" is undefined").strip("'")
            remedy = did_you_mean(unknown, _VARIABLES) if unknown != detail else ""
            add(
                node.position,
                f"the template {shown(node.value)} cannot be rendered: {detail}",
                remedy or _TEMPLATE_HELP,
            )
            return


def check_run_name(node: Node, schedule: Schedule, now: datetime, add: Add) -> None:
    """`config.run_name` must be usable and differ for each fire time, or the server would refuse the second run."""
    try:
        run_name(schedule, _sample(schedule, now, 1)[0])
        pair = names_collide(schedule, now) or _far_collision(schedule, now)
    except ValueError as error:
        message, _, remedy = str(error).partition("; ")
        add(node.position, message, remedy)
        return
    if pair:
        first, second = (instant.strftime("%Y-%m-%dT%H:%M:%SZ") for instant in pair)
        add(node.position, f"run_name is the same for the fire times {first} and {second}", _NAME_HELP)


def _far_collision(schedule: Schedule, now: datetime) -> tuple[datetime, datetime] | None:
    """Fire times of one name that are far apart, or in the hour that occurs twice when the clock is set back."""
    pairs = []
    first = schedule.trigger.next_after(now)
    if first:
        pairs += [(first, schedule.trigger.next_after(first + days * _DAY - _TICK)) for days in (365, 366)]
    if change := _set_back(schedule.timezone, now):
        instant, gap = change
        first = schedule.trigger.next_after(instant - gap - _TICK)
        pairs += [(first, schedule.trigger.next_after(first + gap - _TICK))] if first else []
    for one, other in pairs:
        if other and one != other and run_name(schedule, one) == run_name(schedule, other):
            return one, other
    return None


def _set_back(timezone: str, now: datetime) -> tuple[datetime, timedelta] | None:
    """When within a year the clock is next set back, and by how much."""
    zone = ZoneInfo(timezone)

    def offset(instant: datetime) -> timedelta:
        return instant.astimezone(zone).utcoffset() or timedelta()

    start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for day in range(366):
        before = start + day * _DAY
        if (gap := offset(before) - offset(before + _DAY)) > timedelta():
            quarters = (before + timedelta(minutes=15) * step for step in range(97))
            return next(at for at in quarters if offset(at) < offset(before)), gap
    return None


def shared_run_names(schedules: Iterable[Schedule], now: datetime) -> Iterator[tuple[str, str, str]]:
    """Schedules that soon give two fires the same run name: (name of one, name of the other, run name)."""
    groups: dict[tuple[str | None, str], list[Schedule]] = defaultdict(list)
    for schedule in schedules:
        if "run_name" in schedule.config:
            with suppress(ValueError):  # fails at other times than those that check_run_name has tried
                groups[schedule.project, run_name(schedule, now)].append(schedule)
    for group in groups.values():
        seen: dict[str, str] = {}
        for schedule in group if len(group) > 1 else ():
            names = dict.fromkeys(_run_names(schedule, now))
            if clash := next((name for name in names if name in seen), None):
                yield seen[clash], schedule.name, clash
            seen |= dict.fromkeys(names, schedule.name)


def _run_names(schedule: Schedule, now: datetime) -> Iterator[str]:
    instant: datetime | None = now
    for _ in range(_SHARED_COUNT):
        if (instant := schedule.next_after(instant or now)) is None:
            return
        with suppress(ValueError):
            yield run_name(schedule, instant)


def never_fires(schedule: Schedule, now: datetime) -> tuple[str, str] | None:
    """Why a trigger has no fire time at all between its bounds, whatever the time is now: (key, message)."""
    trigger = schedule.trigger
    key = "cron" if schedule.cron else "at" if schedule.at else "every"
    if trigger.start and trigger.end and trigger.next_after(trigger.start - _TICK) is None:
        return key, f"{key} never fires between start_time and end_time"
    if schedule.at and not any(trigger.next_after(at - _TICK) == at for at in trigger.at):
        return key, "at lies outside start_time and end_time"
    if schedule.exclude and _all_excluded(schedule, now):
        return "exclude", f"exclude leaves no fire time of {key}"
    return None


def _all_excluded(schedule: Schedule, now: datetime) -> bool:
    """Whether all fire times that there are, or two years and fifty of them in a row, are excluded.

    What takes longer to tell passes. Days and calendars end, so that after what they cover it is counted anew.
    """
    if schedule.cron and set(schedule.cron) <= set(schedule.exclude):
        return True
    trigger = schedule.trigger
    begin = trigger.start or (min(trigger.at) if trigger.at else min(now, trigger.end or now) - _EXCLUDED_SPAN)
    instant, in_a_row = begin - _TICK, 0
    for count in range(_EXCLUDED_COUNT):
        found = trigger.next_after(instant)
        if found is None:
            return count > 0
        if (span := schedule.excluded_span(found)) is None:
            return False
        in_a_row += 1
        if dated := schedule.exclusion.dated_span(found):
            begin, in_a_row = dated[1], 0
        if found - begin > _EXCLUDED_SPAN and in_a_row >= _EXCLUDED_IN_A_ROW:
            return True
        instant = span[1] - _TICK
    return False
