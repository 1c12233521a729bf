"""How fires ended, on its way into the journal: beside the starts, since the server need not wait for the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.errors import JournalError
from zendaemon.events import fire_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from zendaemon.core.fire import Fire
    from zendaemon.journal import Journal

log = structlog.get_logger()

_MOST = 500
"""So many ends may wait for the journal; each is a claim that a crash leaves behind, to be settled by asking."""
_DELAY, _CEILING = 1.0, 30.0


class Records:
    """Calls `recorded` with each fire whose end is on disk. `writable` is cleared while the journal cannot be written:
    nothing new is to be started then.
    """

    def __init__(self, journal: Journal, recorded: Callable[[Fire], None]) -> None:
        self._journal = journal
        self._recorded = recorded
        self._room = asyncio.Semaphore(_MOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self.writable = asyncio.Event()
        self.writable.set()

    async def put(self, fire: Fire) -> None:
        """Record the end of a claimed fire, as soon as there is room for another."""
        await self._room.acquire()
        task = asyncio.get_running_loop().create_task(self._record(fire))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _record(self, fire: Fire) -> None:
        """As often as it takes; until then the claim stays, and is settled by the next process if need be."""
        delay = _DELAY
        while not await self._is_recorded(fire):
            await asyncio.sleep(delay)
            delay = min(delay * 2, _CEILING)

    async def _is_recorded(self, fire: Fire) -> bool:
        """Whether one try did it. Also a fault of ours is met again, since nobody else would ever close the fire."""
        try:
            await self._journal.record(fire)
            self.writable.set()
            self._recorded(fire)
        except JournalError as error:
            self.writable.clear()
            log.error("journal.unavailable", error=str(error), **fire_values(fire))  # noqa: TRY400 - no traceback wanted
            return False
        except Exception:
            log.exception("engine.error", **fire_values(fire))
            return False
        return True

    async def drain(self, seconds: float) -> int:
        """Wait for what is being recorded; return how many are left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = len(self._tasks)
        for task in self._tasks:
            task.cancel()
        return left
