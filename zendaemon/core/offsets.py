"""What a zone's clock shows, in whole minutes since 0001-01-01: its offset from UTC, and when that changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
ORIGIN = datetime(1, 1, 1, tzinfo=UTC)
DAY = 1440
LAST = date.max.toordinal() * DAY - 1


def _exactly(tz: ZoneInfo, minute: int) -> int:
    """Below the minute (before 1972) rounded down, so that a wall minute is a UTC minute."""
    offset = (ORIGIN + MINUTE * min(max(minute, DAY), LAST - DAY)).astimezone(tz).utcoffset()
    return 0 if offset is None else offset.days * DAY + offset.seconds // 60


@lru_cache(maxsize=10_000)
def _all_day(tz: ZoneInfo, day: int) -> int | None:
    """The offset of a whole day in UTC, None where it changes: zones are asked far more often than they change."""
    offset = _exactly(tz, day * DAY)
    return offset if offset == _exactly(tz, day * DAY + DAY) else None


def offset_at(tz: ZoneInfo, minute: int) -> int:
    known = _all_day(tz, minute // DAY)
    return _exactly(tz, minute) if known is None else known


def first_change(tz: ZoneInfo, low: int, high: int) -> int | None:
    """The first minute in (low, high] whose offset is no longer that of `low`; they are at most two days apart.

    No zone leaves an offset and returns to it so soon: the closest two changes ever were 95 hours apart.
    """
    offset = offset_at(tz, low)
    if high == low or offset_at(tz, high) == offset:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(tz, middle) == offset:
            low = middle
        else:
            high = middle
    return high
