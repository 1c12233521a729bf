"""How a run is followed: when it is looked at next, which are looked at together, and when it counts as stuck."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from zendaemon.core.run import PASSING

if TYPE_CHECKING:
    from zendaemon.core.schedule import Schedule

FIRST, LONGEST = 2.0, 300.0
"""The shortest and the longest time between two looks at a run, in seconds."""
HURRIED = 4.0
"""The longest one while somebody waits for the run's end."""
GIVE_UP = timedelta(days=30)
_PART_OF_AGE = 10
_SOON = 0.25

LIST, ALONE = 1.0, 0.2
"""Seconds that a list of runs, and a question for one, keep the server free from others: a list costs it more."""
AT_ONCE = 2.0
"""Seconds of them that may be used up ahead, since what a list tells is often followed by one more question."""
_REST, _LONGEST_REST = 2.0, 15.0


def interval(age: timedelta, *, hurried: bool = False) -> float:
    """Seconds until a run of this age is looked at again: a tenth of its age, within bounds."""
    longest = min(HURRIED, LONGEST) if hurried else LONGEST
    return min(longest, max(FIRST, age.total_seconds() / _PART_OF_AGE))


def may_join(due: float, every: float, now: float) -> bool:
    """Whether a run that is looked at `every` so many seconds, next at `due`, is asked for along with others now."""
    return now >= due - _SOON * every


def rest(failures: int) -> float:
    """Seconds without a question after so many failures in a row."""
    return min(_LONGEST_REST, _REST * 2.0 ** min(failures - 1, 30))


def patience(status: str | None, schedule: Schedule | None, setting: timedelta) -> timedelta | None:
    """How long a run may keep this status before it is stuck; None for as long as it takes.

    A schedule's own `stuck_after` is for every active status; the daemon's for those that a run only passes through.
    """
    if schedule is not None and schedule.stuck_after is not None:
        return schedule.stuck_after
    return setting if status in PASSING else None
