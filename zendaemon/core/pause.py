"""A pause: from when until when a schedule starts nothing, who wants that and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Starts nothing that would be started (fire time and jitter) from `since` on and before `until`, aware UTC.

    Without `until` it holds till somebody resumes the schedule. `by` is who paused it: `operator` or `failures`.
    """

    schedule: str
    since: datetime
    until: datetime | None = None
    note: str = ""
    by: str = "operator"

    def holds(self, now: datetime) -> bool:
        return self.since <= now and (self.until is None or now < self.until)

    def span(self, delay: timedelta, due: datetime) -> tuple[datetime, datetime]:
        """The fire times that it covers: those after the first and not after the second, which is `due` at most."""
        ends = due if self.until is None else min(due, self.until - delay - _TICK)
        return self.since - delay - _TICK, ends
