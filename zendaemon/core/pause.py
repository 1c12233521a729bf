"""A pause: from when until when a schedule starts nothing, who wants that and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        """Whether it is not over yet. A clock that is set back to before `since` lifts no pause."""
        return self.until is None or now < self.until

    def in_place_of(self, before: Pause, undecided: datetime | None) -> Pause:
        """Take the place of `before`, and cover what that one covers and nobody has decided yet.

        `undecided` is when the first fire that is not decided yet would be started, None where there is none.
        """
        leaves = undecided is not None and before.until is not None and undecided < before.until
        covering = before.holds(self.since) or leaves
        return replace(self, since=min(self.since, before.since)) if covering else self

    def span(self, delay: timedelta, due: datetime) -> tuple[datetime, datetime]:
        """The fire times up to `due` that it covers: those after the first and not after the second.

        None when it ended before it began, since the clock was set back meanwhile.
        """
        opens = self.since - delay - _TICK
        ends = due if self.until is None else min(due, self.until - delay - _TICK)
        return opens, max(ends, min(due, opens))
