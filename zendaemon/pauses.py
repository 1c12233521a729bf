"""The pauses in force: in memory for the planner and the attempts, in the journal for the next process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.fire import instant_text

if TYPE_CHECKING:
    from datetime import datetime

    from zendaemon.core.pause import Pause
    from zendaemon.journal import Journal

log = structlog.get_logger()


class Pauses:
    """The latest pause of each schedule. One that is over stays until another takes its place.

    So the planner can still tell which of the fire times that are not decided yet it covered.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, Pause] = {}
        self._ends: dict[str, datetime] = {}

    async def load(self, now: datetime) -> None:
        """Take over what an earlier process left."""
        for pause in await self._journal.pauses():
            self._put(pause, now)

    def _put(self, pause: Pause, now: datetime) -> None:
        self._known[pause.schedule] = pause
        self._ends.pop(pause.schedule, None)
        if pause.until is not None and pause.holds(now):
            self._ends[pause.schedule] = pause.until

    def get(self, name: str) -> Pause | None:
        return self._known.get(name)

    def holding(self, name: str, now: datetime) -> Pause | None:
        """The pause that holds a schedule at this time."""
        pause = self._known.get(name)
        return pause if pause is not None and pause.holds(now) else None

    def lapse(self, now: datetime) -> list[str]:
        """The schedules whose pause came to the end that it was given, each told once."""
        over = [name for name, until in self._ends.items() if until <= now]
        for name in over:
            del self._ends[name]
            log.info("schedule.resumed", schedule=name, note=self._known[name].note)
        return over

    async def begin(self, pause: Pause) -> None:
        """Put a pause in force, in place of the one before. Raises JournalError, and nothing changed then."""
        await self._journal.save_pause(pause)
        self._put(pause, pause.since)
        until = pause.until and instant_text(pause.until)
        log.warning("schedule.paused", schedule=pause.schedule, until=until, note=pause.note, by=pause.by)

    async def end(self, name: str, now: datetime) -> Pause | None:
        """End the pause that holds, and return it as it is then; None when there is none."""
        pause = self.holding(name, now)
        if pause is None:
            return None
        ended = replace(pause, until=now)
        await self._journal.save_pause(ended)
        self._put(ended, now)
        log.info("schedule.resumed", schedule=name, note=pause.note)
        return ended
