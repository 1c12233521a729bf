"""Dead man's switches, by the conventions of healthchecks.io: they are told of each run, and raise the alarm by
themselves when they hear nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

import structlog

from zendaemon import events
from zendaemon.core.errors import JournalError, SettingsError
from zendaemon.core.fire import FireState, Reason, instant_text
from zendaemon.core.run import FAILED, SUCCEEDED
from zendaemon.notify.delivery import Deaf
from zendaemon.notify.sending import Undelivered
from zendaemon.references import follow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import timedelta

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule
    from zendaemon.notify.delivery import Observer
    from zendaemon.notify.sending import Web

log = structlog.get_logger()

_AT_ONCE = 4
_MOST = 100
"""Pings of one schedule that may wait; the oldest go first."""
_PAUSES = (1.0, 5.0, 30.0, None)
"""Seconds after each try; none after the last."""
_BODY = 1000
DAEMON = ""
"""Stands for the daemon among names of schedules."""


@dataclass(frozen=True, slots=True)
class Ping:
    """`path` is `/start`, `/fail` or empty for a success; `rid` is the id of the run, or the fire key without one."""

    path: str
    rid: str | None = None
    body: str = ""

    def address(self, url: str) -> str:
        parts = urlsplit(url)
        query = "&".join(filter(None, (parts.query, urlencode({"rid": self.rid}) if self.rid else "")))
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + self.path, query, ""))


class Heartbeats(events.Observer):
    """Pings the switch of each schedule as an observer of fires, and that of the daemon as long as it is well.

    The pings of one schedule keep their order; a few schedules are pinged at once.
    """

    def __init__(
        self, web: Web, *, schedules: Callable[[], Mapping[str, Schedule]], url: Callable[[], str] | None = None
    ) -> None:
        self._web = web
        self._schedules = schedules
        self._url = url
        self._waiting: dict[str, deque[Ping]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.observer: Observer = Deaf()
        self.failing: dict[str, str] = {}
        """Why the last ping of a schedule got nowhere."""

    def closed(self, fire: Fire) -> None:
        """A run was started; or there is none that should be."""
        if fire.state is FireState.STARTED:
            self._ping(fire, "/start")
        elif fire.state in (FireState.FAILED, FireState.MISSED) and fire.reason is not Reason.REMOVED:
            at = instant_text(fire.fire_time)
            self._ping(
                fire, "/fail", f"{fire.state} {at}: {fire.reason}" + (f": {fire.message}" if fire.message else "")
            )

    def ended(self, fire: Fire) -> None:
        """A run succeeded, or failed for good. Of one that somebody stopped the switch hears nothing."""
        if fire.run_status in SUCCEEDED:
            self._ping(fire, "")
        elif fire.run_status in FAILED and fire.retry_at is None:
            why = f": {fire.message}" if fire.message else ""
            self._ping(fire, "/fail", f"run {fire.run_name} {fire.run_status}{why}")

    def run_again(self, fire: Fire) -> None:
        """Another run was started, or what failed is the end of it."""
        if fire.run_status in FAILED:
            self.ended(fire)
        else:
            self._ping(fire, "/start")

    def _ping(self, fire: Fire, path: str, body: str = "") -> None:
        schedule = self._schedules().get(fire.schedule)
        if schedule is not None and schedule.heartbeat_url is not None:
            self._put(fire.schedule, Ping(path, fire.run_id or str(fire.key), body[:_BODY]))

    def _put(self, name: str, ping: Ping) -> None:
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = deque([ping])
            task = asyncio.get_running_loop().create_task(self._send_all(name), name=f"heartbeat {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting.append(ping)
        while len(waiting) > _MOST:
            waiting.popleft()
            self.observer.heartbeat("lost")

    async def _send_all(self, name: str) -> None:
        """Send what waits for a schedule, in its order."""
        try:
            while waiting := self._waiting[name]:
                await self._send(name, waiting.popleft())
        except Exception:
            log.exception("engine.error", schedule=name)
        finally:
            del self._waiting[name]

    async def _send(self, name: str, ping: Ping) -> None:
        """Try a few times; a switch that hears nothing says so by itself."""
        for pause in _PAUSES:
            try:
                async with self._room:
                    await self._web.post(ping.address(self._address(name)), content=ping.body.encode())
            except (Undelivered, SettingsError) as error:
                self._failed(name, str(error))
                self.observer.heartbeat("lost" if pause is None else "failed")
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                self._worked(name)
                self.observer.heartbeat("delivered")
                return

    def _address(self, name: str) -> str:
        """Raises SettingsError where the reference leads to no URL."""
        about = f"heartbeat_url of {name or 'the daemon'}"
        schedule = self._schedules().get(name)
        if name == DAEMON and self._url is not None:
            url = self._url()
        elif schedule is not None and schedule.heartbeat_url is not None:
            url = follow(schedule.heartbeat_url.get_secret_value(), about)
        else:
            raise SettingsError("the schedule has no heartbeat_url any more")
        if not url.startswith(("https://", "http://")):
            raise SettingsError(f"{about} is no URL")
        return url

    def _failed(self, name: str, error: str) -> None:
        if self.failing.get(name) != error:
            log.error("heartbeat.failed", schedule=name or None, error=error)
        self.failing[name] = error

    def _worked(self, name: str) -> None:
        if self.failing.pop(name, None) is not None:
            log.info("heartbeat.back", schedule=name or None)

    async def run(self, interval: timedelta, well: Callable[[], Awaitable[bool]]) -> None:
        """Ping the daemon's own switch as long as all is well; an end of this ends all pings."""
        try:
            while self._url is not None:
                try:
                    if await well():
                        self._put(DAEMON, Ping(""))
                except Exception:
                    log.exception("engine.error")
                await asyncio.sleep(interval.total_seconds())
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def is_well(healthy: Callable[[], bool], check_journal: Callable[[], Awaitable[None]]) -> bool:
    """Whether the engine turns and the journal can be written."""
    with suppress(JournalError, TimeoutError):
        async with asyncio.timeout(10):
            await check_journal()
            return healthy()
    return False
