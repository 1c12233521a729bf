"""A claim that was left behind, and whose schedule is gone: nothing is sent for it any more; its run may be there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon.core.errors import ServerError
from zendaemon.core.ownership import Clocks, settles_in
from zendaemon.events import fire_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Run

log = structlog.get_logger()

_LOOK_AGAIN = 5.0
_AT_ONCE = 4


class Server(Protocol):
    """What is needed of a ZenML server."""

    async def find_run(self, name: str, project: str | None) -> Run | None: ...


class Removed:
    """Asks the server for the runs of such claims, few at once."""

    def __init__(self, server: Server, clocks: Callable[[], Clocks]) -> None:
        self._server = server
        self._clocks = clocks
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def run(self, fire: Fire, settle_at: float) -> Run | None:
        """The run of a fire; None when the server has none at `settle_at`, a second of the loop, or later."""
        while True:
            try:
                async with self._at_once:
                    run = await self._server.find_run(fire.run_name or "", fire.project)
            except ServerError as error:
                log.debug("fire.uncertain", **fire_values(fire), error=str(error))
            else:
                if run is not None and not settles_in(run, self._clocks()):
                    return run
                if run is None and asyncio.get_running_loop().time() >= settle_at:
                    return None
            await asyncio.sleep(_LOOK_AGAIN)
