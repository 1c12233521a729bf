"""The kinds of values that a schedule file has: each checks itself, and says what is wrong and how to mend it."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from zendaemon.core.cron import Cron
from zendaemon.core.duration import Duration
from zendaemon.core.exclusion import YEARS, check_rule
from zendaemon.core.near import did_you_mean

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LONGEST = timedelta(days=3660)


def many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _as_text(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f"write it in quotes: a bare {value} is read as a number and loses its zeros")  # noqa: TRY004
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_rule(value: object) -> object:
    if isinstance(value, dict) and len(value) == 1 and "calendar" in value:
        raise ValueError("calendar has a blank after its colon; write calendar:name, without blanks")
    return value


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)
def _zone_remedy(name: str) -> str:
    return did_you_mean(name, _zones()) or "use an IANA name such as Europe/Berlin"


def check_zone(name: str) -> str:
    """The name of a time zone, as it is. Raises ValueError for what is none."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        shown = name if len(name) <= 60 else f"{name[:59]}…"
        raise ValueError(f"unknown time zone {shown!r}; {_zone_remedy(name[:60])}") from None
    return name


def _when(value: object) -> object:
    if isinstance(value, date):
        return value
    try:
        text = value if isinstance(value, str) else ""
        when = date.fromisoformat(text) if _DATE.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{value!r} is no date or time; write 2026-12-01, 2026-12-01T02:00:00 or 2026-12-01T02:00:00Z"
        ) from None
    if when.year not in YEARS:
        raise ValueError(f"the year {when.year} is out of range; give one from {YEARS[0]} to {YEARS[-1]}")
    return when


def _bounded(value: timedelta) -> timedelta:
    if value > _LONGEST:
        raise ValueError(f"must be at most {_LONGEST.days}d (ten years)")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than zero")
    return value


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta():
        raise ValueError("must not be negative")
    return value


def _whole_seconds(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1) or value % timedelta(seconds=1):
        raise ValueError("must be one second or more, in whole seconds")
    return value


@lru_cache(maxsize=65_536)  # one expression has many schedules
def _expression(value: str) -> str:
    Cron(value)
    return value


Expression = Annotated[str, AfterValidator(_expression)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Text = Annotated[str, BeforeValidator(_as_text), StringConstraints(min_length=1, max_length=255)]
Timezone = Annotated[str, AfterValidator(check_zone)]
When = Annotated[datetime | date, BeforeValidator(_when)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=100)]
Rule = Annotated[str, BeforeValidator(_as_rule), AfterValidator(check_rule)]
Positive = Annotated[Duration, AfterValidator(_bounded), AfterValidator(_positive)]
NotNegative = Annotated[Duration, AfterValidator(_bounded), AfterValidator(_not_negative)]
Interval = Annotated[Duration, AfterValidator(_bounded), AfterValidator(_whole_seconds)]


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))
