"""The fire times that schedules should have, by references that share nothing with zendaemon.core."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from unit.cron_reference import Reference

if TYPE_CHECKING:
    from zendaemon.core.schedule import Schedule

CRONS = (
    *("0 2 * * *", "30 2 * * *", "0 */6 * * *", "15 * * * *", "0 9 * * mon-fri", "5 1,13 * * *", "0 0 1 * *"),
    *("*/30 1-3 * * *", "0 3 * * sun", "59 23 * * *", "45 1 28-31 * *"),
)
EXCLUDED_CRONS = ("* * * * sat,sun", "0 * * * *", "* 2 * * *")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def _of_cron(expression: str, zone: str, begin: datetime, end: datetime) -> tuple[datetime, ...]:
    return tuple(Reference(expression, zone).fires(begin, end))


def fires(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    """Every fire time of its trigger in (`begin`, `end`], excluded ones too."""
    lower, upper = schedule.start_time, schedule.end_time
    assert lower is None or isinstance(lower, datetime)
    assert upper is None or isinstance(upper, datetime)
    found: list[datetime] = []
    for expression in schedule.cron:
        found += _of_cron(expression, schedule.timezone, begin, end)
    if schedule.every is not None:
        anchor = lower or _EPOCH
        instant = anchor + max(0, (begin - anchor) // schedule.every) * schedule.every
        while instant <= end:
            found.append(instant)
            instant += schedule.every
    found += [at for at in schedule.at if isinstance(at, datetime)]
    return sorted(
        instant
        for instant in set(found)
        if begin < instant <= end and (lower is None or instant >= lower) and (upper is None or instant < upper)
    )


def span(begin: datetime) -> tuple[datetime, datetime]:
    """A stretch of time around a simulated week, the same for all seeds that begin then."""
    return begin - timedelta(days=1), begin + timedelta(days=11)
