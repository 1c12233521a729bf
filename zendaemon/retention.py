"""Retention: rows that nobody needs any more are pruned from the journal in the background."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.errors import JournalError
from zendaemon.core.trigger import EPOCH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from zendaemon.journal import Journal
    from zendaemon.journal.pruning import Place, Swept

log = structlog.get_logger()

_FIRST, _BETWEEN = 30.0, 3600.0
_PAUSE = 0.1
"""Seconds between two transactions, so that whatever waits for the journal waits for one of them at most."""
_UNTOUCHED = timedelta(days=1)
"""Younger rows stay in any case: when a clock is set back, they tell that a fire time was decided already."""


class Retention:
    """Prunes rows whose last fire time is longer ago than `age`, and those beyond the newest `count` of a schedule."""

    def __init__(self, journal: Journal, *, age: timedelta, count: int, now: Callable[[], datetime]) -> None:
        self._journal = journal
        self._age = max(age, _UNTOUCHED)
        self._count = count
        self._now = now

    async def run(self) -> None:
        """Prune for ever: soon after the start, then every hour."""
        wait = _FIRST
        while True:
            await asyncio.sleep(wait)
            wait = _BETWEEN
            try:
                await self._prune()
            except JournalError as error:
                log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
            except Exception:
                log.exception("engine.error")

    async def _prune(self) -> None:
        """Delete all that may go now, and say how much it was, also when an error or a stop cuts it short."""
        now = self._now()
        oldest = now - min(self._age, now - EPOCH)
        sweeps: list[Callable[[Place | None], Awaitable[Swept]]] = [
            partial(self._journal.prune_old, oldest),
            partial(self._journal.prune_surplus, self._count, now - _UNTOUCHED),
        ]
        rows = 0
        try:
            for sweep in sweeps:
                swept = await sweep(None)
                rows += swept.rows
                while swept.place is not None:
                    await asyncio.sleep(_PAUSE)
                    swept = await sweep(swept.place)
                    rows += swept.rows
        finally:
            if rows:
                log.info("journal.pruned", rows=rows)
