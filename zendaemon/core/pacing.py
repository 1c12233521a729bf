"""How many starts are in flight at a server, and how long it is left alone after it refused: additive up, half down."""

from __future__ import annotations

from dataclasses import dataclass, replace

BUSY_DELAY, BUSY_CEILING = 0.5, 10.0
DOWN_DELAY, DOWN_CEILING = 0.5, 15.0
_RAISE_AFTER = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace at one server. `limit` starts may be in flight; `refused`, `unreachable` and `doubts` count in a row."""

    maximum: int
    limit: int
    streak: int = 0
    refused: int = 0
    unreachable: int = 0
    doubts: int = 0

    @classmethod
    def full(cls, maximum: int) -> Pace:
        return cls(maximum, maximum)

    def answered(self) -> Pace:
        """After a start that the server took: up by one after some in a row, and at once from a standstill."""
        streak = self.streak + 1
        if streak >= _RAISE_AFTER and self.limit < self.maximum:
            return Pace(self.maximum, self.limit + 1)
        return Pace(self.maximum, self.limit, streak)

    def busy(self) -> Pace:
        """After a 429 or 503: half as many at once."""
        return replace(self, limit=max(1, self.limit // 2), streak=0, refused=self.refused + 1, unreachable=0)

    def down(self) -> Pace:
        """After a refused connection: one probe at a time."""
        return replace(self, limit=1, streak=0, refused=0, unreachable=self.unreachable + 1)

    def doubtful(self) -> Pace:
        """After a start whose answer was lost, or was a 500. From the second in a row on it is the server's trouble."""
        if self.doubts == 0:
            return replace(self, streak=0, doubts=1)
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
