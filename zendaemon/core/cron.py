"""When a cron expression fires: Debian's cron (package cron, 3.0pl1) in an IANA zone, with `L`, `W`, `#` and `H`.

Everything is counted in whole minutes since 0001-01-01. A *minute* is UTC, a *wall* minute is what a clock in the
zone shows, and the two differ by the zone's offset. `Rule` knows the calendar and only sees walls; `Cron` knows the
zone and leads from minutes to walls and back, as the main loop of Debian's cron.c does with its virtual time.
"""

from __future__ import annotations

import hashlib
import re
from calendar import isleap
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from zendaemon.core.errors import CronError
from zendaemon.core.near import did_you_mean
from zendaemon.core.offsets import DAY, LAST, MINUTE, ORIGIN, first_change, offset_at

_LAST_DAY = date.max.toordinal()
_HORIZON = 50 * 366 * DAY  # dates of the Gregorian calendar that come back at all do so within 40 years
_2000 = date(2000, 1, 1).toordinal()
_SMALL = range(-3 * 60, 3 * 60)  # changes in minutes that cron.c makes up for: a minute has passed as well by then
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKLY = sum(1 << day for day in range(0, 31, 7))  # every seventh day of a month

_MACROS = {  # crontab(5); entry.c sets HR_STAR for @hourly alone, which its star does here
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the expression: its values, the highest that `H` takes, and its values' names."""

    name: str
    low: int
    high: int
    hashed_high: int
    names: tuple[str, ...] = ()

    def error(self, text: str, reason: str, hint: str) -> CronError:
        return CronError(f'{self.name} "{text[:60]}": {reason}', hint=hint)

    @property
    def span(self) -> str:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.low}-{self.high}{names}"


_MINUTES = _Field("minute", 0, 59, 59)
_HOURS = _Field("hour", 0, 23, 23)
_DOM = _Field("day-of-month", 1, 31, 28)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = _Field("month", 1, 12, 12, _MONTH_NAMES)
_DOW = _Field("day-of-week", 0, 7, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
_FIELDS = (_MINUTES, _HOURS, _DOM, _MONTH, _DOW)

_DOM_SPECIAL = re.compile(r"(?:(?P<last>L)|(?P<day>[0-9]+))(?P<nearest>W)?", re.IGNORECASE)
_DOW_SPECIAL = re.compile(r"(?P<day>[0-9A-Z]*?)(?:L|#(?P<nth>.*))", re.IGNORECASE)
_HASHED = re.compile(r"H(?:\(([0-9]+)-([0-9]+)\))?", re.IGNORECASE)


def _int(digits: str) -> int:
    """The number, or one that is too large for any field; int() is slow, or refuses, when there are many digits."""
    return int(digits) if len(digits.lstrip("0")) < 5 else 10_000


def _number(spec: _Field, text: str, item: str) -> int:
    """A value of the field. entry.c takes digits, or one of the field's three-letter names in any case."""
    lower = text.lower()
    if text.isascii() and text.isdigit():
        value = _int(text)
        if not spec.low <= value <= spec.high:
            raise spec.error(item, f"{text[:20]} is out of range", f"use {spec.span}")
        return value
    if lower in spec.names:
        return spec.names.index(lower) + spec.low
    if not text:
        raise spec.error(item, "a value is missing", f"use {spec.span}")
    for other in (_MONTH, _DOW):
        if lower in other.names:
            raise spec.error(item, f"{text} belongs into the {other.name} field", f"use {spec.span} here")
    if lower[:3] in spec.names:
        raise spec.error(item, f"{text[:20]} is not a name", f"did you mean {lower[:3]}?")
    hint = "say *" if text == "?" else did_you_mean(lower, spec.names) or f"use {spec.span}"
    raise spec.error(item, f"{text[:20]} is not a value", hint)


def _reversed(spec: _Field, item: str, ends: tuple[int, int], step: int) -> CronError:
    """`22-4` and `fri-sun`, which Debian's cron loads and never fires: say what was meant."""
    start, end = ends
    named = not item[0].isdigit()
    top = 6 if spec is _DOW else spec.high
    around = [*range(start, top + 1), *range(spec.low, end + 1)]
    if named or step > 1:
        remedy = ",".join(spec.names[value - spec.low] if named else str(value) for value in around[::step])
    else:
        parts = ((start, top), (spec.low, end))
        remedy = ",".join(f"{low}-{high}" if low < high else str(low) for low, high in parts)
    if spec is _DOW and end == 0:
        remedy += f" or {start}-7" + (f"/{step}" if step > 1 else "")
    return spec.error(item, "the range runs backwards", f"say {remedy}")


def _hashed(spec: _Field, item: str, bounds: tuple[str, str] | None, step: int | None, seed: str) -> range:
    """`H`: a value that the name decides, in the manner of Jenkins; `H/15` starts its steps there."""
    low, high = spec.low, spec.hashed_high
    if bounds:
        low, high = (_number(spec, bound, item) for bound in bounds)
        if low > high:
            raise spec.error(item, "the range runs backwards", f"say H({high}-{low})")
    count = high - low + 1
    if step is not None and step > count:
        raise spec.error(item, f"the step {step} is larger than its range", f"use a step of at most {count}")
    digest = hashlib.sha256(f"{spec.name}\0{seed}".encode()).digest()
    start = low + int.from_bytes(digest[:8]) % (step or count)
    return range(start, high + 1 if step else start + 1, step or 1)


def _step(spec: _Field, item: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise spec.error(item, f'"{text[:20]}" is not a step', "a step is a number, as in */15")
    if not text.strip("0"):
        raise spec.error(item, "a step of zero", "use a step of 1 or more")
    return _int(text)


def _range(spec: _Field, item: str, seed: str) -> range:
    """An item without special days: `*`, `5`, `1-5`, `H` or `H(0-29)`, and a step on all but a single value."""
    base, slash, step_text = item.partition("/")
    step = _step(spec, item, step_text) if slash else None
    if base == "*":
        return range(spec.low, spec.high + 1, step or 1)
    if hashed := _HASHED.fullmatch(base):
        return _hashed(spec, item, (hashed[1], hashed[2]) if hashed[1] else None, step, seed)
    if base.startswith("*"):
        raise spec.error(item, "nothing may follow the *", f"say *, */{base[1:20]} or {base[1:20]}")
    parts = base.split("-")
    if len(parts) > 2:
        raise spec.error(item, "a range has two ends", f"say {'-'.join(parts[:2])[:20]}, and more after a comma")
    start, end = _number(spec, parts[0], item), _number(spec, parts[-1], item)
    if start > end:
        raise _reversed(spec, item, (start, end), step or 1)
    if slash and len(parts) == 1:
        top = 6 if spec is _DOW and start < 7 else spec.high
        raise spec.error(item, "a step needs a range or a *", f"say {start}-{top}/{step}")
    return range(start, end + 1, step or 1)


def _special(spec: _Field, item: str) -> tuple[int, int] | None:
    """Days that depend on the month; None for everything else.

    `L`, `LW` and `15W` in day-of-month are (day or 0 for the last, 1 for the weekday nearest to it);
    `5L` and `5#2` in day-of-week are (weekday, nth or 0 for the last).
    """
    if spec is _DOM and (found := _DOM_SPECIAL.fullmatch(item)) and (found["last"] or found["nearest"]):
        return (0 if found["last"] else _number(spec, found["day"], item), int(bool(found["nearest"])))
    if spec is _DOW and (found := _DOW_SPECIAL.fullmatch(item)):
        if not found["day"]:
            raise spec.error(item, "a weekday is missing", "say which, as in 5L (the last Friday) or 5#2 (the second)")
        weekday = _number(spec, found["day"], item) % 7
        if found["nth"] is None:
            return weekday, 0
        if found["nth"] not in tuple("12345"):
            raise spec.error(
                item, f'"#{found["nth"][:20]}" is not a week of the month', "use #1 to #5, or L for the last"
            )
        return weekday, int(found["nth"])
    if spec in (_DOM, _DOW) and re.search(r"[LW#].*[-/]|-.*[LW#]", re.sub("JUL|WED", "", item.upper())):
        raise spec.error(item, "L, W and # take neither a range nor a step", "list the days, separated by commas")
    return None


def _parse(spec: _Field, text: str, seed: str) -> tuple[int, frozenset[tuple[int, int]]]:
    """A field: plain values as bits, and special days. Sunday is 0 and 7 (entry.c: "make sundays equivalent")."""
    bits, special = 0, set()
    for item in text.split(","):
        if not item:
            raise spec.error(text, "an item of the list is empty", "remove the comma that is too many")
        if found := _special(spec, item):
            special.add(found)
        else:
            bits |= sum(1 << value for value in _range(spec, item, seed))
    if spec is _DOW and bits & 1 << 7:
        bits = (bits | 1) & 0x7F
    return bits, frozenset(special)


def _split(expression: str) -> list[str]:
    """The five fields of an expression or of what its macro stands for."""
    parts = re.split(r"[ \t\r\n]+", expression.strip(" \t\r\n"))
    text = " ".join(parts)
    if text.lower() in _MACROS:
        return _MACROS[text.lower()].split()
    if len(parts) == 5:
        return parts
    problem, hint = f"has {len(parts)} of five fields", "write minute, hour, day-of-month, month and day-of-week"
    if not text:
        problem = "is empty"
    elif text.lower() == "@reboot":
        problem, hint = "is no time", "say @daily, or start a run by hand: `zendaemon fire`"
    elif text.startswith("@"):
        known = did_you_mean(text, _MACROS) or f"use {', '.join(_MACROS)}"
        problem, hint = "is not a macro", "say every: 10s" if text.startswith("@every") else known
    elif len(parts) > 5:
        problem = f"has {len(parts)} fields instead of five"
        hint = "leave out seconds, year and command; for intervals below a minute say every: 10s"
    raise CronError(f'expression "{text[:120]}" {problem}', hint=hint)


def _nearest_weekday(day: int, first: int, length: int) -> int:
    """The weekday nearest to `day` without leaving the month."""
    match (first + day - 1) % 7:
        case 0:
            return day + 1 if day < length else day - 2
        case 6:
            return day - 1 if day > 1 else 3
    return day


class Rule:
    """The calendar of an expression: which wall minutes it names."""

    __slots__ = ("_dom", "_dow", "_either", "_masks", "_months", "_times", "hashed", "wildcard")

    def __init__(self, expression: str, seed: str) -> None:
        texts = _split(expression)
        parsed = [_parse(spec, text, seed) for spec, text in zip(_FIELDS, texts, strict=True)]
        (minutes, _), (hours, _), self._dom, (self._months, _), self._dow = parsed
        stars = [text.startswith("*") for text in texts]
        self.hashed = any(item.upper().startswith("H") for text in texts for item in text.split(","))
        # entry.c: MIN_STAR and HR_STAR make a wildcard job; cron.c: DOM_STAR or DOW_STAR join the day fields by AND.
        self.wildcard = stars[0] or stars[1]
        self._either = not stars[2] and not stars[4]
        self._times = sum(minutes << 60 * hour for hour in range(24) if hours >> hour & 1)
        self._masks: dict[int, int] = {}
        if self._next_day(_2000) is None:  # from there on, every kind of month comes within 28 years
            days = f'day-of-month "{texts[2]}", month "{texts[3]}" and day-of-week "{texts[4]}"'
            raise CronError(f"{days} never meet", hint="this would never fire; for the last day of a month use L")

    def _mask(self, first: int, length: int) -> int:
        """The matching days, as bits, of a month of `length` days that begins on weekday `first` (0 is Sunday)."""
        key = first << 5 | length
        if (known := self._masks.get(key)) is not None:
            return known
        inside = (2 << length) - 2
        by_date, special_dates = self._dom
        for day, nearest in special_dates:
            if day <= length:
                by_date |= 1 << (_nearest_weekday(day or length, first, length) if nearest else day or length)
        weekdays, special_weekdays = self._dow
        by_week = sum(_WEEKLY << (day - first) % 7 + 1 for day in range(7) if weekdays >> day & 1)
        for weekday, nth in special_weekdays:
            start = (weekday - first) % 7 + 1
            by_week |= 1 << (start + 7 * (nth - 1) if nth else start + (length - start) // 7 * 7)
        self._masks[key] = mask = (by_date | by_week if self._either else by_date & by_week) & inside
        return mask

    def _next_day(self, ordinal: int) -> int | None:
        """The first matching day from `ordinal` on, within the horizon."""
        if ordinal > _LAST_DAY:
            return None
        day = date.fromordinal(ordinal)
        year, month, skip = day.year, day.month, day.day
        before = ordinal - skip  # the day before the month
        end = min(ordinal + _HORIZON // DAY, _LAST_DAY)
        while before < end:
            length = 29 if month == 2 and isleap(year) else _LENGTHS[month]
            if self._months >> month & 1 and (rest := self._mask((before + 1) % 7, length) >> skip):
                return before + skip + (rest & -rest).bit_length() - 1
            before, skip = before + length, 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None

    def next_match(self, wall: int) -> int | None:
        """The first matching wall minute from `wall` on."""
        today, time = divmod(max(wall, 0), DAY)
        day = self._next_day(today + 1)
        if day == today + 1:
            if later := self._times >> time:
                return today * DAY + time + (later & -later).bit_length() - 1
            day = self._next_day(today + 2)
        return None if day is None else (day - 1) * DAY + (self._times & -self._times).bit_length() - 1


@lru_cache(maxsize=65_536)
def _parsed(expression: str, seed: str) -> Rule:
    return Rule(expression, seed)


def _rule(expression: str, seed: str) -> Rule:
    """The rule of an expression, read once however many schedules have it."""
    rule = _parsed(expression, "")
    return _parsed(expression, seed) if rule.hashed and seed else rule


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        hint = did_you_mean(key, available_timezones()) or "use an IANA name, as in Europe/Berlin"
        raise CronError(f'timezone "{key[:60]}" is unknown', hint=hint) from None


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone. Equal by expression and zone, and by name where `H` makes the name matter."""

    expression: str
    timezone: str = "UTC"
    name: str = field(default="", compare=False)
    _seed: str = field(init=False, repr=False)
    _rule: Rule = field(init=False, repr=False, compare=False)
    _tz: ZoneInfo = field(init=False, repr=False, compare=False)
    _fixed: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rule, tz = _rule(self.expression, self.name), _zone(self.timezone)
        always = tz.utcoffset(None)  # None where the offset changes
        object.__setattr__(self, "expression", " ".join(self.expression.split()))
        object.__setattr__(self, "_rule", rule)
        object.__setattr__(self, "_seed", self.name if rule.hashed else "")
        object.__setattr__(self, "_tz", tz)
        object.__setattr__(self, "_fixed", None if always is None else always // MINUTE)

    def next_after(self, instant: datetime) -> datetime | None:
        """The first fire time after `instant`, in UTC; None when there is none within 50 years or before year 10000."""
        if instant.utcoffset() is None:
            raise ValueError(f"{instant} has no time zone; ask with an aware datetime")
        asked = max((instant - ORIGIN) // MINUTE, 0)
        if self._fixed is None:
            found = self._search(asked)
        else:
            match = self._rule.next_match(asked + self._fixed + 1)
            found = None if match is None else match - self._fixed
        return ORIGIN + MINUTE * found if found is not None and found <= LAST else None

    def _search(self, minute: int) -> int | None:
        """The first firing minute after `minute`, in a zone whose offset changes.

        cron.c keeps a virtual time, the wall minute up to which fixed rules have run. A forward change of less than
        3 hours runs what virtual time has to catch up on at the instant of the change; after a backward one of up to
        3 hours it waits for the wall to come past it again. Wildcard rules, and all at larger changes, follow the wall.
        """
        rule, offset = self._rule, offset_at(self._tz, minute)
        end = minute + _HORIZON
        match = rule.next_match(self._virtual(minute, offset) + 1)
        while match is not None and (found := match - offset) <= end:
            # Far from the match, a day is enough to look at: later changes do not lead back before `minute`.
            near = found <= minute + 2 * DAY
            change = first_change(self._tz, minute, found if near else minute + DAY)
            if change is None:
                if near:
                    return found
                minute = found - DAY
                offset = offset_at(self._tz, minute)
                continue
            before, offset, minute = offset, offset_at(self._tz, change), change
            if rule.wildcard or offset - before not in _SMALL:
                match = rule.next_match(change + offset)
            elif match <= change + offset:
                return change
        return None

    def _virtual(self, minute: int, offset: int) -> int:
        """The wall minute that has been dealt with: for a fixed rule in a repeated hour, the end of its first pass."""
        wall = minute + offset
        earlier = minute - DAY
        if self._rule.wildcard or (before := offset_at(self._tz, earlier)) == offset:
            return wall
        change = first_change(self._tz, earlier, minute)
        if change is None or offset - before not in _SMALL:
            return wall
        return max(wall, change - 1 + before)
