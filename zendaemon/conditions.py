"""The conditions of a schedule (`when`), asked of the server when a fire is about to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zendaemon.core.condition import missing, unmet
from zendaemon.core.errors import Unresolved

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from zendaemon.core.condition import Newest
    from zendaemon.core.policy import Condition
    from zendaemon.core.run import Resolved
    from zendaemon.core.schedule import Schedule
    from zendaemon.journal import Journal


class Server(Protocol):
    """What conditions need of a ZenML server."""

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours."""

    async def newest(self, condition: Condition, project: str | None) -> Newest | None: ...


class Conditions:
    """Asks one server, and the journal for the schedule's own last success."""

    def __init__(self, server: Server, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self._server = server
        self._journal = journal
        self._now = now

    async def unmet(self, schedule: Schedule, resolved: Resolved) -> str | None:
        """The first reason, in the order of the file, why this schedule is not to start now; None when all holds.

        Raises Unresolved when the server cannot answer, a ServerError or JournalError when it does not.
        """
        since: datetime | None = None
        if any(condition.within is None for condition in schedule.when):
            since = await self._last_success(schedule.name)
        for condition in schedule.when:
            newest = await self._server.newest(condition, resolved.project)
            if (reason := unmet(condition, newest, since, self._now() + self._server.skew)) is not None:
                return reason
        return None

    async def suspects(self, schedule: Schedule, resolved: Resolved) -> list[str]:
        """What the conditions name and the server does not have, or not yet: perhaps a slip of the pen."""
        found = []
        for condition in schedule.when:
            try:
                if await self._server.newest(condition, resolved.project) is None:
                    found.append(missing(condition))
            except Unresolved as error:
                found.append(str(error))
        return found

    async def _last_success(self, name: str) -> datetime | None:
        """When the last run of ours that succeeded began, by the server's clock: it read its inputs then or later."""
        fire = await self._journal.last_success(name)
        if fire is None:
            return None
        return fire.run_started_at or (fire.claimed_at or fire.fire_time) + self._server.skew
