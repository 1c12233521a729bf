"""What is sent to start fires: made when they are about to be due, so that at their second it need only be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import structlog

from zendaemon.core.errors import Rejected, ServerError
from zendaemon.core.fire import fire_key, run_config, run_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from pydantic import JsonValue

    from zendaemon.core.fire import Fire
    from zendaemon.core.run import Resolved
    from zendaemon.core.schedule import Schedule
    from zendaemon.queue import Queue
    from zendaemon.targets import Targets
    from zendaemon.zenml import Start

log = structlog.get_logger()

MOST = 10_000
"""So many starts are made in advance at most; each takes 2 kB until it is sent."""
_SLICE = 10
"""Made in one turn of the loop, in half a millisecond."""
_AGAIN = 0.01
_KEPT = timedelta(minutes=1)
"""What is not sent so long after it was due, as of a schedule that is paused, is let go."""


class Server(Protocol):
    """What is needed of a ZenML server."""

    def ready(self, resolved: Resolved, config: Mapping[str, JsonValue], tags: Sequence[str], key: UUID) -> Start: ...

    async def warm(self, count: int, seconds: float) -> None: ...


class _Made(NamedTuple):
    schedule: Schedule
    resolved: Resolved
    fire_time: datetime
    at: datetime
    start: Start


class Starts:
    """Beside the `queue` of fires: nothing is made in advance while that hurries. `schedule_of` finds a schedule by its
    name.
    """

    def __init__(self, server: Server, targets: Targets, queue: Queue[Any], now: Callable[[], datetime]) -> None:
        self._server = server
        self._targets = targets
        self._queue = queue
        self._now = now
        self._soon: deque[tuple[datetime, Collection[str]]] = deque()
        self._made: dict[str, _Made] = {}
        self._told = asyncio.Event()
        self.schedule_of: Callable[[str], Schedule | None] = lambda _: None

    def of(self, fire: Fire, schedule: Schedule, resolved: Resolved) -> Start:
        """What is to be sent for a fire. Raises Rejected when its config cannot be rendered."""
        made = self._made.pop(schedule.name, None)
        if made is not None and made.schedule is schedule and made.resolved is resolved:
            plain = made.fire_time == fire.fire_time and not fire.manual and not fire.earlier_runs
            if plain and made.start.run_name == fire.run_name:
                return made.start
        try:
            return self._start(schedule, resolved, fire.fire_time, fire.run_name or "", fire.start_key)
        except ValueError as error:
            raise Rejected(str(error)) from None

    def _start(self, schedule: Schedule, resolved: Resolved, fire_time: datetime, name: str, key: UUID) -> Start:
        return self._server.ready(resolved, run_config(schedule, fire_time, name), schedule.tags, key)

    def expect(self, at: datetime, names: Collection[str]) -> None:
        """These schedules are due at `at`, jitter included."""
        self._soon.append((at, names))
        self._told.set()

    async def run(self) -> None:
        """Make in advance, for ever. What goes wrong here goes wrong again for the fire, which says so."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self._make_ready()
            except Exception:
                log.exception("engine.error")

    async def _make_ready(self) -> None:
        """What is to be sent; then what it is sent with, where the server takes starts."""
        late = self._now() - _KEPT
        self._made = {name: made for name, made in self._made.items() if made.at >= late}
        count, until = 0, self._now()
        while self._soon:
            at, names = self._soon.popleft()
            await self._make(at, names)
            count, until = count + len(names), max(until, at)
        count, seconds = min(count, self._queue.room), (until - self._now()).total_seconds()
        if count > 0 and seconds > 0:
            with suppress(ServerError, TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._server.warm(count + 1, seconds)  # a rehearsal's question takes one of them

    async def _make(self, at: datetime, names: Collection[str]) -> None:
        """Until it is time, or there are enough."""
        for number, name in enumerate(names):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
                while self._queue.hurries and self._now() < at:  # noqa: ASYNC110 - nobody tells when the hurry ends
                    await asyncio.sleep(_AGAIN)
            if self._now() >= at or len(self._made) >= MOST:
                return
            schedule = self.schedule_of(name)
            resolved = None if schedule is None else self._targets.get(schedule)
            if schedule is None or resolved is None:
                continue
            fire_time = at - schedule.delay
            with suppress(ValueError):
                run = run_name(schedule, fire_time)
                start = self._start(schedule, resolved, fire_time, run, fire_key(name, fire_time))
                self._made[name] = _Made(schedule, resolved, fire_time, at, start)
