"""The fields of a cron expression taken apart, for words about it and for advice on it.

The values come from the evaluator, which is asked for each field alone, so that words and fires cannot disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from zendaemon.core.cron import Rule

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
NAMES = ("minute", "hour", "day-of-month", "month", "day-of-week")
SPANS = (60, 24, 31, 12, 7)

_DAY = 1440
_2000 = (date(2000, 1, 1).toordinal() - 1) * _DAY  # the wall minute that the year 2000 begins with, a Saturday
_ALONE = (  # each field where only it decides, the first wall minute to look at, and for how many days
    ("{} 0 1 1 *", _2000, 1),
    ("0 {} 1 1 *", _2000, 1),
    ("0 0 {} 1 *", _2000, 31),
    ("0 0 1 {} *", _2000, 366),
    ("0 0 * * {}", _2000 + _DAY, 7),
)
_SPECIAL_DAY = re.compile(r"(?P<day>L|[0-9]+(?=W))(?P<nearest>W)?", re.IGNORECASE)
_SPECIAL_WEEKDAY = re.compile(r"(?P<day>[0-9A-Z]+?)(?:L|#(?P<nth>[1-5]))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Values:
    """What a valid expression says. Weekdays count from Sunday, 0.

    `special_days` are (day, or 0 for the last; whether the weekday nearest to it is meant), `special_weekdays` are
    (weekday; which one of the month, or 0 for the last). `either` means that one matching day field is enough.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    special_days: tuple[tuple[int, bool], ...]
    special_weekdays: tuple[tuple[int, int], ...]
    either: bool
    hashed: bool


@lru_cache(maxsize=4096)
def values(expression: str, seed: str = "") -> Values:
    """The values of a valid expression; `seed` is the schedule's name, which decides what `H` stands for."""
    fields = texts(expression)
    days, by_day = _day_field(2, fields[2], seed)
    weekdays, by_weekday = _day_field(4, fields[4], seed)
    special_days = {(int(m["day"]) if m["day"].isdigit() else 0, bool(m["nearest"])) for m in by_day}
    special_weekdays = {(_plain(4, m["day"], seed)[0], int(m["nth"] or 0)) for m in by_weekday}
    return Values(
        minutes=_plain(0, fields[0], seed),
        hours=_plain(1, fields[1], seed),
        days=days,
        months=_plain(3, fields[3], seed),
        weekdays=weekdays,
        special_days=tuple(sorted(special_days)),
        special_weekdays=tuple(sorted(special_weekdays)),
        either=is_either(fields),
        hashed=Rule(expression, seed).hashed,
    )


def texts(expression: str) -> tuple[str, ...]:
    """The texts of the five fields of a valid expression, or of what its macro stands for."""
    text = " ".join(expression.split())
    return tuple(MACROS.get(text.lower(), text).split())


def is_either(fields: tuple[str, ...]) -> bool:
    """Whether one matching day field is enough: neither begins with a star."""
    return not fields[2].startswith("*") and not fields[4].startswith("*")


def _plain(index: int, text: str, seed: str) -> tuple[int, ...]:
    """The plain values of a field's text, as the evaluator reads them."""
    pattern, start, days = _ALONE[index]
    rule = Rule(pattern.format(text), seed)
    found: list[int] = []
    asked = start
    while (wall := rule.next_match(asked)) is not None and wall < start + days * _DAY:
        day = date.fromordinal(wall // _DAY + 1)
        since = (wall - start) // _DAY
        found.append((wall % 60, wall // 60 % 24, day.day, day.month, since)[index])
        asked = wall + 1
    return tuple(found)


def _day_field(index: int, text: str, seed: str) -> tuple[tuple[int, ...], list[re.Match[str]]]:
    """The plain values and the special items of a day field."""
    pattern = _SPECIAL_DAY if index == 2 else _SPECIAL_WEEKDAY
    items = text.split(",")
    special = [found for item in items if (found := pattern.fullmatch(item))]
    plain = ",".join(item for item in items if not pattern.fullmatch(item))
    return _plain(index, plain, seed) if plain else (), special
