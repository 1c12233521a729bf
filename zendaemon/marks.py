"""The watermarks, and the claims that move them: in the journal, in memory, and in doubt where the two may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zendaemon.core.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, ValuesView
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule
    from zendaemon.journal import Journal


class Marks:
    """`in_doubt` after a claim that failed: a disk may have taken what it reports as failed.

    Coroutines raise JournalError.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, datetime] = {}
        self.in_doubt = False

    def get(self, name: str) -> datetime | None:
        return self._known.get(name)

    def __getitem__(self, name: str) -> datetime:
        return self._known[name]

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def values(self) -> ValuesView[datetime]:
        return self._known.values()

    def undecided(self, schedule: Schedule, now: datetime) -> datetime | None:
        """The first fire time of a schedule that is due and not decided yet."""
        mark = self._known.get(schedule.name)
        first = None if mark is None else schedule.trigger.next_after(mark)
        return first if first is not None and first + schedule.delay <= now else None

    def clear(self) -> None:
        self._known = {}

    async def sync(self, rules: Mapping[str, str], restarted: Iterable[str], now: datetime) -> None:
        """See store.sync."""
        self._known = await self._journal.sync(rules, restarted, now)

    async def claim(self, fires: Sequence[Fire], marks: Mapping[str, datetime]) -> list[Fire]:
        """Claim and move the watermarks; return what was not in the journal before."""
        try:
            taken = await self._journal.claim(fires, marks)
        except JournalError:
            self.in_doubt = True
            raise
        self._known.update(marks)
        return taken

    async def claim_again(self, fire: Fire) -> bool:
        """Claim the next run of a fire whose run failed; whether it was there to be claimed."""
        try:
            return await self._journal.claim_again(fire)
        except JournalError:
            self.in_doubt = True
            raise

    async def put_right(self) -> list[Fire]:
        """Go on from what the journal has; return the claims that are open in it."""
        known = await self._journal.watermarks()
        self._known = {name: max(mark, known.get(name, mark)) for name, mark in self._known.items()}
        found = await self._journal.claims()
        self.in_doubt = False
        return found
