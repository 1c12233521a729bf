"""Since when somebody has been looking: what came due before, while the machine slept or the clock leapt, is a misfire.

The wall clock alone tells, since a sleeping machine does not count its monotonic seconds.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

log = structlog.get_logger()

ASLEEP = timedelta(seconds=10)
"""So long a time without a look counts as sleep."""
_SET_BACK = timedelta(seconds=-1)
_LEAP = 0.1
"""Seconds by which a clock that runs as it should never goes amiss between two glances."""
_BEHIND = timedelta(minutes=1)


class Awake:
    """`since` is an instant by the wall clock; fire times that came due before it are misfires.

    `jumps` counts how often the clock was seen to be set, or the machine to have slept.
    """

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._last_look, self._looked_at = now(), monotonic()
        self.since = self._last_look
        self.jumps = 0

    def look(self) -> datetime:
        """The time. To be called whenever something is decided by the time; this or `glance` more often than ASLEEP."""
        now = self._now()
        gap = now - self._last_look
        if gap > ASLEEP or gap < _SET_BACK:
            self.jumps += 1
            log.warning("clock.jumped", seconds=round(gap.total_seconds(), 3))
        self.since = now if gap > ASLEEP else min(self.since, now)
        self._last_look, self._looked_at = now, self._monotonic()
        return now

    def glance(self) -> bool:
        """Whether there is to be a look: the clock was set, or nobody looked for long. Else this one was in time."""
        now, at = self._now(), self._monotonic()
        gap = now - self._last_look
        if gap > ASLEEP or abs(gap.total_seconds() - (at - self._looked_at)) > _LEAP:
            return True
        self._last_look, self._looked_at = now, at
        return False

    @contextmanager
    def deciding(self) -> Iterator[datetime]:
        """The time, for a decision; what that takes, as with a locked journal, is no sleep."""
        now, began = self.look(), self._monotonic()
        try:
            yield now
        finally:
            at = self._monotonic()
            self._last_look, self._looked_at = max(self._last_look, now + timedelta(seconds=at - began)), at


def say_behind(watermarks: Iterable[datetime], now: datetime) -> None:
    """A watermark in the future means that the clock was set back: nothing fires until it is reached again."""
    ahead = [mark for mark in watermarks if mark > now + _BEHIND]
    if ahead:
        log.error("clock.behind", schedules=len(ahead), until=max(ahead).isoformat())
