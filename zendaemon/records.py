"""How fires ended, on its way into the journal: beside the starts, since the server need not wait for the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.errors import JournalError
from zendaemon.events import fire_values

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zendaemon.core.fire import Fire
    from zendaemon.journal import Journal

log = structlog.get_logger()

_MOST = 500
"""So many ends may wait for the journal; each is a claim that a crash leaves behind, to be settled by asking."""
_DELAY, _CEILING = 1.0, 30.0
_LATER = 0.25
_AT_ONCE = 4


class Records:
    """Calls `recorded` with each fire whose end is on disk, a little later while starts are in a hurry. `writable` is
    cleared while the journal cannot be written: nothing new is to be started then.
    """

    def __init__(self, journal: Journal, recorded: Callable[[Fire], None], hurried: Callable[[], bool]) -> None:
        self._journal = journal
        self._recorded = recorded
        self._hurried = hurried
        self._room = asyncio.Semaphore(_MOST)
        self._ends: list[Fire] = []
        self._in_hand = 0
        self._writing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.writable = asyncio.Event()
        self.writable.set()

    async def put(self, fire: Fire) -> None:
        """Record the end of a claimed fire, as soon as there is room for another."""
        await self._room.acquire()
        self._in_hand += 1
        self._ends.append(fire)
        if self._writing is None or self._writing.done():
            self._writing = self._begin(self._write())

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write(self) -> None:
        """What comes while one commit is under way is the next one's."""
        while self._ends:
            ends, self._ends = self._ends, []
            await self._record(ends)

    async def _record(self, ends: list[Fire]) -> None:
        """As often as it takes; until then the claims stay, and are settled by the next process if need be."""
        delay = _DELAY
        while not await self._is_recorded(ends):
            await asyncio.sleep(delay)
            delay = min(delay * 2, _CEILING)
        for _ in ends:
            self._room.release()
        self._begin(self._tell(ends))

    async def _is_recorded(self, ends: list[Fire]) -> bool:
        """Whether one try did it. After a fault of ours each is tried alone, since one of them may be the cause."""
        try:
            await self._journal.record(*ends)
        except JournalError as error:
            self.writable.clear()
            log.error("journal.unavailable", error=str(error), **fire_values(ends[0]))  # noqa: TRY400 - no traceback wanted
            return False
        except Exception:
            log.exception("engine.error", **fire_values(ends[0]))
            for end in ends[1:]:
                self._begin(self._record([end]))
            del ends[1:]
            return False
        self.writable.set()
        return True

    async def _tell(self, ends: list[Fire]) -> None:
        """When the starts leave time for it, or have not for long. Also a fault of ours is met again, since nobody else
        would ever close the fire.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + _LATER
        for number, fire in enumerate(ends):
            while self._hurried() and loop.time() < latest:  # noqa: ASYNC110 - nobody tells when the hurry ends
                await asyncio.sleep(_LATER / 10)
            try:
                self._recorded(fire)
            except Exception:
                log.exception("engine.error", **fire_values(fire))
                self._begin(self._tell_again(fire))
                continue
            self._in_hand -= 1
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _tell_again(self, fire: Fire) -> None:
        await asyncio.sleep(_DELAY)
        await self._tell([fire])

    async def drain(self, seconds: float) -> int:
        """Wait for what is being recorded; return how many are left."""
        end = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()
        return self._in_hand
