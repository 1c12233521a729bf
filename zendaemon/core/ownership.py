"""Whose a run is that the server has under a fire's name, and whether it is there to stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from zendaemon.core.errors import NameTaken
from zendaemon.core.run import QUEUED
from zendaemon.core.work import CLOCK_TOLERANCE

if TYPE_CHECKING:
    from zendaemon.core.run import Resolved, Run
    from zendaemon.core.work import Work

SETTLES = timedelta(seconds=2)
"""How old a run must be that a look-up found: a server that finds no free slot makes the row, then takes it back."""


class Foreign(NameTaken):
    """A run with the fire's name is somebody else's."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Now by our clock, the seconds of one that nobody sets, and the server's minus ours, which may be out a little."""

    now: datetime
    elapsed: float
    skew: timedelta
    skew_within: timedelta

    def age(self, run: Run) -> timedelta:
        """How long ago a run was created, by the server's clock at its last answer."""
        return self.now + self.skew - (run.created or self.now)


def foreign(work: Work, run: Run, resolved: Resolved, clocks: Clocks) -> str | None:
    """Why the run of the fire's name cannot be the fire's own, None when it is."""
    if run.pipeline_id is not None and run.pipeline_id != resolved.pipeline_id:
        return f"run {run.id} of another pipeline has the name {run.name!r}"
    since = work.asked_for_at - CLOCK_TOLERANCE - clocks.skew_within
    if run.created is None or (work.skew is not None and run.created >= since + work.skew):
        return None  # by the server's clock as it was when the fire came into our hands
    if clocks.age(run) > work.age(clocks.now, clocks.elapsed) + clocks.skew_within:
        return f"run {run.id} with the name {run.name!r} was there before the fire time"
    return None


def settles_in(run: Run, clocks: Clocks) -> float:
    """For how many seconds the server may still take the run back."""
    if run.status in QUEUED and run.created is not None and (left := SETTLES - clocks.age(run)) > timedelta():
        return min(left, SETTLES).total_seconds()
    return 0.0
