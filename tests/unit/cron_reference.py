"""A slow and obvious cron: Debian's main loop, minute by minute. Shares nothing with zendaemon.core.cron.

Written from crontab(5), entry.c and cron.c of Debian's cron 3.0pl1, so that both can be held against each other.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
DAYS = "SUN MON TUE WED THU FRI SAT"


def number(text: str, names: str, low: int) -> int:
    found = names.split().index(text) + low if text in names.split() else int(text)
    assert found >= low
    return found


def values(text: str, low: int, high: int, names: str = "") -> set[int]:
    """The plain values of a field, special days left out."""
    out: set[int] = set()
    for item in text.upper().split(","):
        rest = item
        for name in names.split():
            rest = rest.replace(name, "")
        if any(mark in rest for mark in "LW#"):
            continue
        base, _, step = item.partition("/")
        if base == "*":
            first, last = low, high
        elif "-" in base:
            first, last = (number(end, names, low) for end in base.split("-"))
        else:
            first = last = number(base, names, low)
        assert first <= last <= high
        wanted = first
        while wanted <= last:
            out.add(wanted)
            wanted += int(step or 1)
    return out


def special_dom(text: str, day: date) -> bool:
    """L, LW and 15W, by walking."""
    length = calendar.monthrange(day.year, day.month)[1]
    for item in text.upper().split(","):
        if item == "L" and day.day == length:
            return True
        if not item.endswith("W"):
            continue
        target = length if item == "LW" else int(item[:-1])
        if target > length:
            continue
        candidates = [n for n in range(1, length + 1) if date(day.year, day.month, n).weekday() < 5]
        nearest = min(candidates, key=lambda n: abs(n - target))
        if item == "LW":
            nearest = candidates[-1]
        if day.day == nearest:
            return True
    return False


def special_dow(text: str, day: date) -> bool:
    """5L and 5#2, by counting."""
    same = [week[day.weekday()] for week in calendar.monthcalendar(day.year, day.month) if week[day.weekday()]]
    for item in text.upper().split(","):
        if item.endswith("L"):
            wanted, hit = item[:-1], same[-1] == day.day
        elif "#" in item:
            wanted, nth = item.split("#")
            hit = same.index(day.day) + 1 == int(nth)
        else:
            continue
        if hit and number(wanted, DAYS, 0) % 7 == (day.weekday() + 1) % 7:
            return True
    return False


class Reference:
    def __init__(self, expression: str, zone: str) -> None:
        minute, hour, self.dom, month, self.dow = expression.split()
        self.minutes, self.hours = values(minute, 0, 59), values(hour, 0, 23)
        self.days, self.months = values(self.dom, 1, 31), values(month, 1, 12, MONTHS)
        self.weekdays = {day % 7 for day in values(self.dow, 0, 7, DAYS)}
        self.wild = minute[0] == "*" or hour[0] == "*"
        self.zone = ZoneInfo(zone)
        self.known: dict[date, bool] = {}

    def day(self, day: date) -> bool:
        if day not in self.known:
            dom = day.day in self.days or special_dom(self.dom, day)
            dow = (day.weekday() + 1) % 7 in self.weekdays or special_dow(self.dow, day)
            star = self.dom[0] == "*" or self.dow[0] == "*"
            self.known[day] = day.month in self.months and ((dom and dow) if star else (dom or dow))
        return self.known[day]

    def matches(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours and self.day(wall.date())

    def fires(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The main loop of cron.c: the firing minutes in (start, end], begun before any change that matters."""
        walls = self.walls(start.replace(second=0, microsecond=0) - timedelta(hours=6), end)
        _, virtual = next(walls)
        for now, wall in walls:
            jump = int((wall - virtual) / MINUTE)  # cron.c: timeDiff
            fired = False
            if jump == 1 or not -180 < jump <= 180:
                virtual = wall
                fired = self.matches(wall)
            else:  # the clock was changed: wildcard jobs follow the wall, the others virtual time
                fired = self.wild and self.matches(wall)
                while virtual < wall:
                    virtual += MINUTE
                    fired = fired or (not self.wild and self.matches(virtual))
            if fired and now > start:
                yield now

    def walls(self, now: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Each minute from `now` to the first one not before `end`, with what the wall shows.

        The zone is asked for each minute of an hour in which the wall does not move by an hour, and else for its ends.
        """
        while True:
            begin, last = self.wall(now), self.wall(now + HOUR)
            even = last - begin == HOUR
            for _ in range(60):
                yield now, begin if even else self.wall(now)
                if now >= end:
                    return
                now += MINUTE
                begin += MINUTE

    def wall(self, now: datetime) -> datetime:
        return now.astimezone(self.zone).replace(tzinfo=None, second=0, microsecond=0, fold=0)

    def next_after(self, instant: datetime, days: float) -> datetime | None:
        """The first fire after `instant`, looking `days` ahead."""
        asked = instant.astimezone(UTC)
        return next(self.fires(asked, asked + timedelta(days=days)), None)


def random_field(draw: Any, low: int, high: int, names: str = "", extra: tuple[str, ...] = ()) -> str:  # noqa: ANN401
    """A field as users write them; `draw` is a random.Random."""

    def value() -> tuple[int, str]:
        found = draw.randint(low, high)
        if names and draw.random() < 0.3 and found - low < len(names.split()):
            name = names.split()[found - low]
            return found, draw.choice([name, name.lower(), name.title()])
        return found, str(found)

    def item() -> str:
        kind = draw.random()
        if extra and kind < 0.2:
            return draw.choice(extra)
        if kind < 0.5:
            return value()[1]
        if kind < 0.6:
            return "*" if draw.random() < 0.3 else f"*/{draw.randint(1, high + 2)}"
        first, last = sorted((value(), value()))
        return f"{first[1]}-{last[1]}" + (f"/{draw.randint(1, 20)}" if draw.random() < 0.5 else "")

    if draw.random() < 0.3:
        return "*"
    return ",".join(item() for _ in range(draw.choice([1, 1, 1, 2, 3])))


def random_expression(draw: Any) -> str:  # noqa: ANN401
    dom_extra = ("L", "LW", "lw", "15W", "1W", "30W", "31w")
    dow_extra = ("5L", "friL", "0L", "7l", "1#1", "MON#2", "7#5", "sun#4")
    month = random_field(draw, 1, 12, MONTHS) if draw.random() < 0.4 else "*"
    dom = random_field(draw, 1, 31, "", dom_extra) if draw.random() < 0.5 else "*"
    dow = random_field(draw, 0, 7, DAYS, dow_extra) if draw.random() < 0.5 else "*"
    return f"{random_field(draw, 0, 59)} {random_field(draw, 0, 23)} {dom} {month} {dow}"
