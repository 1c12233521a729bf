"""The pauses in force: in memory for the planner and the attempts, in the journal for the next process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.fire import instant_text
from zendaemon.events import Tell, tell_nobody

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
        self.tell: Tell = tell_nobody
        self._over: set[str] = set()
        """Those whose end was told; a clock that is set back puts none of them in force again."""
        self._doubtful: set[str] = set()
        """Those whose last change failed: a disk may have taken what it reports as failed."""

    @property
    def in_doubt(self) -> bool:
        """Whether the journal may have another pause than the one that is known here."""
        return bool(self._doubtful)

    async def load(self, now: datetime) -> None:
        """Take over what an earlier process left, and say which schedules start nothing."""
        for pause in await self._journal.pauses():
            self._put(pause)
            if pause.holds(now):
                self._say(pause)
            else:
                self._close(pause.schedule)

    def _put(self, pause: Pause) -> None:
        self._known[pause.schedule] = pause
        self._over.discard(pause.schedule)
        self._ends.pop(pause.schedule, None)
        if pause.until is not None:
            self._ends[pause.schedule] = pause.until

    def _close(self, name: str) -> None:
        self._ends.pop(name, None)
        self._over.add(name)

    @staticmethod
    def _say(pause: Pause) -> None:
        since, until = instant_text(pause.since), pause.until and instant_text(pause.until)
        log.warning("schedule.paused", schedule=pause.schedule, since=since, until=until, note=pause.note, by=pause.by)

    def get(self, name: str) -> Pause | None:
        return self._known.get(name)

    def holding(self, name: str, now: datetime) -> Pause | None:
        """The pause that holds a schedule at this time."""
        pause = self._known.get(name)
        return pause if pause is not None and name not in self._over and pause.holds(now) else None

    @property
    def may_lapse(self) -> bool:
        """Whether any pause has an end that is to come."""
        return bool(self._ends)

    def lapse(self, now: datetime) -> list[str]:
        """The schedules whose pause came to the end that it was given, each told once."""
        over = [name for name, until in self._ends.items() if until <= now]
        for name in over:
            self._close(name)
            self._resumed(self._known[name], now)
        return over

    async def begin(self, pause: Pause, undecided: datetime | None) -> Pause:
        """Put a pause in force, in place of the one before (see Pause.in_place_of), and return it as it is then.

        Raises JournalError, and nothing changed then.
        """
        if (before := self._known.get(pause.schedule)) is not None:
            pause = pause.in_place_of(before, undecided)
        await self._save(pause)
        self._put(pause)
        self._say(pause)
        return pause

    async def _save(self, pause: Pause) -> None:
        self._doubtful.add(pause.schedule)
        await self._journal.save_pause(pause)
        self._doubtful.discard(pause.schedule)

    async def put_right(self) -> None:
        """Make good what changes that failed may have left in the journal for the next process. Raises JournalError."""
        for name in sorted(self._doubtful):
            if (known := self._known.get(name)) is None:
                await self._journal.drop_pause(name)
            else:
                await self._journal.save_pause(known)
            self._doubtful.discard(name)

    async def end(self, name: str, now: datetime) -> Pause | None:
        """End the pause that holds, and return it as it is then; None when there is none."""
        pause = self.holding(name, now)
        if pause is None:
            return None
        ended = replace(pause, until=now)
        await self._save(ended)
        self._put(ended)
        self._close(name)
        self._resumed(pause, now)
        return ended

    def _resumed(self, pause: Pause, now: datetime) -> None:
        log.info("schedule.resumed", schedule=pause.schedule, note=pause.note)
        of, name = AlertKind.PAUSED, pause.schedule
        self.tell(Alert(kind=AlertKind.RECOVERED, of=of, at=now, schedule=name, text="fires are started again"))
