"""A fire in hand: what is known of it between its claim and its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from zendaemon.core import retry
from zendaemon.core.errors import Rejected, Unauthorized, Unavailable, Uncertain, Unresolved
from zendaemon.core.fire import FireState
from zendaemon.core.policy import Overlap

if TYPE_CHECKING:
    from zendaemon.core.errors import ZendaemonError
    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Run
    from zendaemon.core.schedule import Schedule

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How much older than its fire time a run may seem and still be the fire's own."""
CLOCK_SET_BACK = timedelta(days=1)
"""The same, of a fire that an earlier process claimed: by so much the clock may have been set back since."""


class NotSettled(Exception):
    """What the server says now may change within these seconds: a lost request may still make a run."""

    def __init__(self, seconds: float) -> None:
        super().__init__("what the server says of the run may change yet")
        self.seconds = seconds


class Lapsed(Exception):
    """The server has no such run, and the fire is not to be started: its window is closed, or it is paused."""


@dataclass(slots=True, kw_only=True)
class Work:
    """A fire in hand. Seconds are those of clocks that no change of the wall clock touches.

    While `asking`, only a question about this one fire is under way; at `in_vain_at` the last one got no answer, or a
    start where others had none either (0 when there is none such). Before `settle_at` a lost request may still be at
    work. At `taken_at` the fire came into this process's hands, new or `left_behind` by an earlier one, and `skew` was
    the server's clock minus ours, None where it had not told yet. `end` is how the fire is closed once the server has
    been asked a last time and has no run of it. `target_id` is what it was last to be started with, `stale` are those
    that the server called so. `gated` once what the fire depends on has let it pass; `stop_asked` are the runs that
    were asked to stop for it.
    """

    fire: Fire
    schedule: Schedule
    taken_at: float
    left_behind: bool = False
    skew: timedelta | None = timedelta()
    order: int | None = None
    tried: retry.Tried = field(default_factory=retry.Tried)
    ask_first: bool = False
    asking: bool = False
    in_vain_at: float = 0.0
    settle_at: float = 0.0
    failure: ZendaemonError | None = None
    end: retry.GiveUp | None = None
    target_id: str = ""
    stale: frozenset[str] = frozenset()
    gated: bool = False
    stop_asked: set[str] = field(default_factory=set)

    @property
    def deadline(self) -> datetime:
        held = self.fire.manual or self.fire.earlier_runs or self.schedule.overlap is Overlap.BUFFER_ONE
        begin = self.fire.claimed_at if held and self.fire.claimed_at else self.fire.fire_time
        return begin + self.schedule.delay + self.schedule.catchup_window

    @property
    def asked_for_at(self) -> datetime:
        """The fire time; for another run of the fire, and for a manual fire, the claim.

        The time of a manual fire is a whole second, which may be ahead of it.
        """
        by_claim = self.fire.manual or self.fire.earlier_runs
        return self.fire.claimed_at if by_claim and self.fire.claimed_at else self.fire.fire_time

    def age(self, now: datetime, elapsed: float) -> timedelta:
        """How long ago the fire was asked for at most, counted by a clock that nobody sets (`elapsed`, seconds).

        That knows nothing of the time before this process: there the wall clock counts, which may have been set since.
        """
        claimed_at = self.fire.claimed_at or now
        known = claimed_at - self.asked_for_at + timedelta(seconds=elapsed - self.taken_at)
        return max(now - self.asked_for_at, known) + CLOCK_SET_BACK if self.left_behind else known + CLOCK_TOLERANCE


def rank(work: Work) -> tuple[float, int, float, float]:
    """The lower begins first: by priority, then the oldest; what a catch-up claims later than others is younger.

    Those that the server did not answer come after the others, in turn: it may be unwell with some of them alone, and
    each can take it half a minute.
    """
    fire = work.fire
    claimed_at = (fire.claimed_at or fire.fire_time).timestamp()
    return work.in_vain_at, -work.schedule.priority, claimed_at, fire.fire_time.timestamp()


def may_have_run(work: Work, failure: ZendaemonError) -> bool:
    """Whether only the server can tell if a start that got no answer made a run, and it has not told yet."""
    asked = Unavailable | Unauthorized | Unresolved
    if work.ask_first and isinstance(failure, Rejected):  # the question was refused, or the last start alone
        return True
    return isinstance(failure, Uncertain) or ((work.ask_first or work.tried.sent) and isinstance(failure, asked))


def started(run: Run) -> dict[str, object]:
    """What a fire has of the run that it got, by the names of Fire."""
    return {
        "state": FireState.STARTED,
        "run_id": run.id,
        "run_status": run.status,
        "run_started_at": run.started_at,
        "message": run.status_reason,
    }
