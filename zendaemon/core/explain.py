"""A trigger in words: short, in English, and different for whatever fires at different times."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zendaemon.core.duration import format_duration
from zendaemon.core.exclusion import parse_days, referred
from zendaemon.core.fields import SPANS, Values, values
from zendaemon.core.trigger import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zendaemon.core.schedule import Schedule
    from zendaemon.core.trigger import Trigger

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_NTH = ("last", "first", "second", "third", "fourth", "fifth")
_SHOWN = 5
_DAY = timedelta(days=1)


def explain(schedule: Schedule) -> str:
    """When a schedule fires, with its bounds, its exclusions and its delay."""
    parts = [explain_trigger(schedule.trigger)]
    if schedule.exclude:
        parts.append(f"except {_some([_excluded(rule, schedule.name) for rule in schedule.exclude])}")
    if schedule.delay:
        later, jitter = format_duration(schedule.delay), format_duration(schedule.jitter)
        parts.append(f"started {later} later (jitter {jitter})")
    return "; ".join(parts)


def explain_trigger(trigger: Trigger) -> str:
    """When a trigger fires, in the words of its zone, with its bounds."""
    zone = trigger.timezone
    if trigger.every is not None:
        anchor = _moment(trigger.start, zone) if trigger.start else _moment(EPOCH, "UTC")
        parts = [f"every {_interval(trigger.every)} (counted from {anchor})"]
    elif trigger.at:
        parts = [f"at {_some([_moment(at, zone, named=False) for at in trigger.at])}, {zone}"]
    else:
        words = "; and ".join(explain_cron(expression, trigger.name) for expression in trigger.cron)
        parts = [f"{words}, {zone}"]
    if trigger.start is not None and trigger.every is None:
        parts.append(f"from {_moment(trigger.start, zone)} on")
    if trigger.end is not None:
        parts.append(f"before {_moment(trigger.end, zone)}")
    return "; ".join(parts)


def explain_cron(expression: str, name: str = "") -> str:
    """A valid cron expression in words; `name` is the schedule's, which decides what `H` stands for."""
    fields = values(expression, name)
    words = _times(fields.minutes, fields.hours)
    days = _days(fields)
    months = _months(fields.months)
    if date := _date(fields):
        words += f" on {date}"
    else:
        daily = "every day" if len(fields.hours) < SPANS[1] else ""
        words = " ".join(part for part in (words, days or daily) if part)
        if months:
            words += f"{',' if fields.either and days else ''} in {months}"
    return f"{words} (H: by the schedule's name)" if fields.hashed else words


def _excluded(rule: str, name: str) -> str:
    if calendar := referred(rule):
        return f"calendar {calendar}"
    if days := parse_days(rule):
        return f"{days[0]}" if days[0] == days[1] else f"{days[0]} to {days[1]}"
    return explain_cron(rule, name)


def _times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """The times of a day."""
    if len(minutes) * len(hours) <= 4 or (len(minutes) == 1 and len(hours) <= 8 and not _step(hours)):
        return f"at {_list([_clock(hour, minute) for hour in hours for minute in minutes])}"
    whole_day = len(hours) == SPANS[1]
    if len(minutes) > 1:
        return _several(minutes, hours)
    if whole_day:
        return f"every hour at minute {minutes[0]}" if minutes[0] else "every hour"
    if step := _step(hours):
        every = f"every {step} hours" if step > 1 else "every hour"
        return f"{every} from {_clock(hours[0], minutes[0])} to {_clock(hours[-1], minutes[0])}"
    return f"at minute {minutes[0]} of the hours {_runs(hours)}"


def _several(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Times of more than one minute of the hour."""
    first, last = minutes[0], minutes[-1]
    step = _step(minutes)
    count = len(minutes)
    smooth = minutes[1] - first if SPANS[0] == count * (minutes[1] - first) and (count == 2 or step) else 0
    if smooth or step:
        pace = smooth or step
        every = f"every {pace} minutes" if pace > 1 else "every minute"
        if len(hours) == 1 or (smooth and len(hours) == hours[-1] - hours[0] + 1 < SPANS[1]):
            return f"{every} from {_clock(hours[0], first)} to {_clock(hours[-1], last)}"
        if not smooth or first:
            every += f" from minute {first} to {last}"
    else:
        every = f"at minutes {_runs(minutes)}"
    if len(hours) == SPANS[1]:
        return every if smooth else f"{every} of every hour"
    return f"{every} of {'hour' if len(hours) == 1 else 'the hours'} {_runs(hours)}"


def _days(fields: Values) -> str:
    """The days, or nothing when every day is one."""
    dates = "" if len(fields.days) == SPANS[2] else _of_month(fields)
    weekdays = "" if len(fields.weekdays) == SPANS[4] else _of_week(fields, "and")
    if fields.either:
        return f"on {dates} or on {_of_week(fields, 'or')} (either is enough)" if dates and weekdays else ""
    if dates and weekdays:
        return f"on {dates} if it is {_of_week(fields, 'or')}"
    return f"on {dates or weekdays}" if dates or weekdays else ""


def _of_month(fields: Values) -> str:
    step = _step(fields.days) if len(fields.days) > 3 else 0
    items = []
    if step > 1:
        items.append(f"every {_ordinal(step)} day from {fields.days[0]} to {fields.days[-1]}")
    elif fields.days:
        items.append(f"day{'s' if len(fields.days) > 1 else ''} {_runs(fields.days)}")
    for day, nearest in fields.special_days:
        if nearest:
            items.append(
                f"the weekday (Monday to Friday) nearest to day {day}" if day else "the last weekday (Monday to Friday)"
            )
        else:
            items.append("the last day")
    return f"{_list(items)} of the month"


def _of_week(fields: Values, word: str) -> str:
    """Weekdays, from Monday on."""
    plain = sorted((day - 1) % 7 for day in fields.weekdays)
    items = _parts(plain, _WEEKDAYS)
    special = [f"the {_NTH[nth]} {_WEEKDAYS[(day - 1) % 7]}" for day, nth in fields.special_weekdays]
    return _list([*items, *special], word) + (" of the month" if special else "")


def _date(fields: Values) -> str:
    """`1 January`, where there is one day and nothing else about it."""
    one = len(fields.days) == len(fields.months) == 1 and not fields.special_days
    if not one or len(fields.weekdays) < SPANS[4] or fields.either:
        return ""
    return f"{fields.days[0]} {_MONTHS[fields.months[0]]}"


def _months(months: Sequence[int]) -> str:
    return "" if len(months) == SPANS[3] else _list(_parts(months, _MONTHS))


def _moment(instant: datetime, zone: str, *, named: bool = True) -> str:
    local = instant.astimezone(ZoneInfo(zone))
    text = f"{local:%Y-%m-%d %H:%M}" + (f":{local:%S}" if local.second else "")
    return f"{text} {zone}" if named else text


def _interval(every: timedelta) -> str:
    """`6 hours`, `hour`, `1 hour 30 minutes`; days are said in hours, as they do not follow the clock's changes."""
    if every > _DAY and not every % _DAY:
        return f"{every // _DAY} days of 24 hours"
    rest = every // timedelta(seconds=1)
    counts = (("hour", rest // 3600), ("minute", rest // 60 % 60), ("second", rest % 60))
    parts = [f"{count} {unit}{'s' if count > 1 else ''}" for unit, count in counts if count]
    return parts[0].removeprefix("1 ") if len(parts) == 1 else " ".join(parts)


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _step(numbers: Sequence[int]) -> int:
    """The distance between three or more numbers, where it is always the same; else 0."""
    if len(numbers) < 3 or len({later - earlier for earlier, later in pairwise(numbers)}) > 1:
        return 0
    return numbers[1] - numbers[0]


def _parts(numbers: Sequence[int], names: Sequence[str]) -> list[str]:
    """Values by name; three or more in a row as a range."""
    parts: list[str] = []
    start = 0
    for index, value in enumerate(numbers):
        if index + 1 < len(numbers) and numbers[index + 1] == value + 1:
            continue
        run = numbers[start : index + 1]
        parts += [f"{names[run[0]]} to {names[run[-1]]}"] if len(run) > 2 else [names[one] for one in run]
        start = index + 1
    return parts


_NUMBERS = tuple(str(number) for number in range(60))


def _runs(numbers: Sequence[int]) -> str:
    return _list(_parts(numbers, _NUMBERS))


def _list(items: Sequence[str], word: str = "and") -> str:
    return f"{', '.join(items[:-1])} {word} {items[-1]}" if len(items) > 1 else items[0]


def _some(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - _SHOWN
    return f"{', '.join(items[:_SHOWN])} and {more} more" if more > 0 else _list(items)
