"""The fields of a cron expression, read as Debian's entry.c reads them, or refused with the field and a remedy.

What is read here is all that the evaluator, the words about an expression and the advice on it know, so that these
cannot disagree.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from zendaemon.core.errors import CronError
from zendaemon.core.near import did_you_mean

MACROS = {  # crontab(5); entry.c sets HR_STAR for @hourly alone, which its star does here
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

NAMES = tuple(spec.name for spec in _FIELDS)
SPANS = (60, 24, 31, 12, 7)
"""How many values each field has; Sunday is one, as 0 and as 7."""


@dataclass(frozen=True, slots=True)
class Values:
    """What an expression says. Weekdays count from Sunday, 0.

    `texts` are those of the five fields, or of what a macro stands for. `special_days` are (day, or 0 for the last;
    whether the weekday nearest to it is meant), `special_weekdays` are (weekday; which one of the month, or 0 for the
    last). `either` means that one matching day field is enough, `wildcard` that the rule follows the wall when clocks
    change, `hashed` that the schedule's name decides a value.
    """

    texts: tuple[str, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    special_days: tuple[tuple[int, bool], ...]
    special_weekdays: tuple[tuple[int, int], ...]
    either: bool
    wildcard: bool
    hashed: bool


@lru_cache(maxsize=4096)
def values(expression: str, seed: str = "") -> Values:
    """What an expression says; `seed` is the schedule's name, which `H` goes by. Raises CronError."""
    texts = _split(expression)
    (minutes, _), (hours, _), (days, special_days), (months, _), (weekdays, special_weekdays) = (
        _parse(spec, text, seed) for spec, text in zip(_FIELDS, texts, strict=True)
    )
    stars = [text.startswith("*") for text in texts]
    return Values(
        texts=tuple(texts),
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=tuple(sorted(days)),
        months=tuple(sorted(months)),
        weekdays=tuple(sorted({day % 7 for day in weekdays})),  # entry.c: "make sundays equivalent"
        special_days=tuple(sorted((day, bool(nearest)) for day, nearest in special_days)),
        special_weekdays=tuple(sorted(special_weekdays)),
        # entry.c: MIN_STAR and HR_STAR make a wildcard job; cron.c: DOM_STAR or DOW_STAR join the day fields by AND.
        either=not stars[2] and not stars[4],
        wildcard=stars[0] or stars[1],
        hashed=any(item.upper().startswith("H") for text in texts for item in text.split(",")),
    )


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
        rest = base[1:20]
        raise spec.error(item, "nothing may follow the *", f"say *, */{rest} or {rest}" if rest.isdigit() else "say *")
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


def _parse(spec: _Field, text: str, seed: str) -> tuple[set[int], set[tuple[int, int]]]:
    """A field: plain values, Sunday as 0 or 7, and special days."""
    plain: set[int] = set()
    special: set[tuple[int, int]] = set()
    for item in text.split(","):
        if not item:
            raise spec.error(text, "an item of the list is empty", "remove the comma that is too many")
        if found := _special(spec, item):
            special.add(found)
        else:
            plain.update(_range(spec, item, seed))
    return plain, special


def _split(expression: str) -> list[str]:
    """The five fields of an expression or of what its macro stands for."""
    parts = re.split(r"[ \t\r\n]+", expression.strip(" \t\r\n"))
    text = " ".join(parts)
    if text.lower() in MACROS:
        return MACROS[text.lower()].split()
    if len(parts) == 5:
        return parts
    problem, hint = f"has {len(parts)} of five fields", "write minute, hour, day-of-month, month and day-of-week"
    if not text:
        problem = "is empty"
    elif text.lower() == "@reboot":
        problem, hint = "is no time", "say @daily, or start a run by hand: `zendaemon fire`"
    elif text.startswith("@"):
        known = did_you_mean(text, MACROS) or f"use {', '.join(MACROS)}"
        problem, hint = "is not a macro", "say every: 10s" if text.startswith("@every") else known
    elif len(parts) > 5:
        problem = f"has {len(parts)} fields instead of five"
        hint = "leave out seconds, year and command; for intervals below a minute say every: 10s"
    raise CronError(f'expression "{text[:120]}" {problem}', hint=hint)
