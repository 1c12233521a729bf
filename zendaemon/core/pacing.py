"""How many starts are in flight at a server, and how long it is left alone after it refused: additive up, half down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

BUSY_DELAY, BUSY_CEILING = 0.5, 10.0
DOWN_DELAY, DOWN_CEILING = 0.5, 15.0
_RAISE_AFTER = 8
QUICK = 0.05
"""Seconds within which a server answers that is not busy at all; ZenML's own take longer for any start."""
STEADY, BRIEF = 1.6, 0.25
"""A server that is far away: so many times its fastest answer, and so many seconds, count as quick as well."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace at one server. `limit` starts may be in flight; `refused`, `unreachable` and `doubts` count in a row.

    The limit stays within `maximum`, and within `most` as long as the server answers quickly, or no more slowly than
    at its `fastest` though as many starts are in flight as may be, and has never been busy.
    """

    maximum: int
    limit: int
    streak: int = 0
    refused: int = 0
    unreachable: int = 0
    doubts: int = 0
    most: int = 0
    fastest: float = inf

    @classmethod
    def full(cls, maximum: int, most: int = 0) -> Pace:
        return cls(maximum, maximum, most=most)

    def answered(self, seconds: float | None = None, *, full: bool = False) -> Pace:
        """After a start that the server took: up by one after some in a row, and at once from a standstill.

        `seconds` is how long that took, None where it does not tell; `full` that the limit was used up.
        """
        fastest = self.fastest if seconds is None else min(seconds, self.fastest)
        steady = full and seconds is not None and seconds < min(STEADY * fastest, BRIEF)
        quick = steady or (seconds is not None and seconds < QUICK)
        limit, streak, bad = self.limit, 0, self.refused or self.unreachable or self.doubts
        if limit >= self.maximum:
            limit = max(self.maximum, min(limit + 1, self.most)) if quick else self.maximum
        elif self.streak + 1 >= _RAISE_AFTER:
            limit += 1
        else:
            streak = self.streak + 1
        if not bad and (limit, streak, fastest) == (self.limit, self.streak, self.fastest):
            return self  # as most answers of a burst leave it
        return Pace(self.maximum, limit, streak, most=self.most, fastest=fastest)

    def busy(self) -> Pace:
        """After a 429 or 503: half as many at once, and never again more than the maximum."""
        limit = max(1, min(self.limit, self.maximum) // 2)
        return replace(self, limit=limit, streak=0, refused=self.refused + 1, unreachable=0, most=0)

    def down(self) -> Pace:
        """After a refused connection: one probe at a time."""
        return replace(self, limit=1, streak=0, refused=0, unreachable=self.unreachable + 1)

    def doubtful(self) -> Pace:
        """After a start whose answer was lost, or was a 500: not quick. Two in a row are the server's trouble."""
        if self.doubts == 0:
            return replace(self, limit=min(self.limit, self.maximum), streak=0, doubts=1)
        return replace(self.down() if self.unreachable else self.busy(), doubts=self.doubts + 1)

    def pause(self, fraction: float) -> float:
        """Seconds for which nobody is to try, after `busy` or `down`. `fraction` is random, 0 to 1."""
        if self.unreachable:
            return _grown(DOWN_DELAY, DOWN_CEILING, self.unreachable) * (0.5 + fraction / 2)
        if self.refused:
            return _grown(BUSY_DELAY, BUSY_CEILING, self.refused) * (0.5 + fraction / 2)
        return 0.0


def _grown(delay: float, ceiling: float, count: int) -> float:
    return min(ceiling, delay * 2.0 ** min(count - 1, 30))
