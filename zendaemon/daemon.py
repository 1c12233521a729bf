"""The process: start-up, signals, reload, drain."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import structlog

from zendaemon import __version__, clock
from zendaemon.core.errors import Invalid, JournalError, ZendaemonError
from zendaemon.core.fire import FireState, instant_text
from zendaemon.core.lint import lint
from zendaemon.core.near import did_you_mean
from zendaemon.core.schedule import ScheduleSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from zendaemon.attempts import Attempts
    from zendaemon.core.schedule import Schedule
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal
    from zendaemon.loader import Loaded
    from zendaemon.retention import Retention
    from zendaemon.runs import Runs
    from zendaemon.systemd import Notifier
    from zendaemon.targets import Targets
    from zendaemon.timers import Timers

log = structlog.get_logger()

_BREATH = 50  # schedules that findings are looked for in one turn of the loop
HUNG_AFTER = 10.0
"""Seconds without a turn of the engine's loop after which it counts as hung."""


class Daemon:
    """Runs the engine until a signal ends it. `load` reads the schedule files, given what was loaded before."""

    def __init__(  # noqa: PLR0913 - the parts of the process, all by keyword
        self,
        *,
        engine: Engine,
        targets: Targets,
        attempts: Attempts,
        runs: Runs,
        retention: Retention,
        journal: Journal,
        timers: Timers,
        notifier: Notifier,
        load: Callable[[Loaded | None], Loaded],
        server_url: str,
        drain_timeout: timedelta,
        resolve_interval: timedelta,
    ) -> None:
        self._engine = engine
        self._targets = targets
        self._attempts = attempts
        self._runs = runs
        self._retention = retention
        self._journal = journal
        self._timers = timers
        self._notifier = notifier
        self._load = load
        self._server_url = server_url
        self._drain_timeout = drain_timeout
        self._resolve_interval = resolve_interval
        self._loaded: Loaded | None = None
        self._started_at = clock.now()
        self._last_reload: dict[str, Any] | None = None
        self._said = ScheduleSet()
        self._saying: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()
        self._hangup = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self, ready: Callable[[], Any]) -> None:
        """Serve until SIGTERM or SIGINT. `ready` is awaited once the first schedule set is in force.

        Raises Invalid when the files cannot be loaded at start, JournalError when the journal cannot be used then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        self._loaded = await asyncio.to_thread(self._load, None)
        self._timers.start()
        await self._engine.start(self._loaded.set)
        tasks = [
            loop.create_task(work, name=name)
            for name, work in (
                ("engine", self._engine.run()),
                ("runs", self._runs.run()),
                ("retention", self._retention.run()),
                ("targets", self._targets.run(self._resolve_interval)),
                ("reloads", self._reload_on_hangup()),
                ("watchdog", self._feed_watchdog()),
            )
        ]
        await ready()
        self._notifier.ready(self._summary())
        log.info("daemon.ready", schedules=len(self._loaded.set.schedules), server=self._server_url)
        self._say_findings(self._loaded.set)
        stop = loop.create_task(self._stop.wait())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._shut_down([stop, *tasks, *self._saying])
        for task in done - {stop}:
            task.result()

    def _on_stop(self, number: int) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()

    async def _shut_down(self, tasks: list[asyncio.Task[Any]]) -> None:
        self._notifier.stopping("finishing the attempts in hand")
        log.info("daemon.draining", timeout_seconds=self._drain_timeout.total_seconds())
        self._timers.stop()
        await self._engine.stop()
        for task in tasks:
            task.cancel()
        left = await self._attempts.drain(self._drain_timeout)
        await asyncio.gather(*tasks, return_exceptions=True)
        log.info("daemon.stopped", left=left)

    async def _feed_watchdog(self) -> None:
        """Tell systemd that all is well, only while the engine turns; a hung engine is killed and started anew."""
        while self._notifier.watchdog_seconds:
            if self.healthy:
                self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_seconds)
        await asyncio.Event().wait()

    @property
    def healthy(self) -> bool:
        """Whether the engine's loop turns."""
        return clock.monotonic() - self._engine.beat < HUNG_AFTER

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            try:
                await self.reload()
            except ZendaemonError:
                continue  # said by reload itself

    async def reload(self) -> dict[str, int]:
        """Load everything anew and put it in force, whole or not at all. Raises Invalid or JournalError."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                loaded = await asyncio.to_thread(self._load, self._loaded)
                found = (await self._engine.apply(loaded.set)).counts()
            except (Invalid, JournalError) as error:
                self._refused(error)
                raise
            else:
                self._loaded = loaded
                self._say_findings(loaded.set)
                self._last_reload = {"at": _text(clock.now()), "applied": True, **found, "problems": []}
                log.info("reload.applied", **found)
                return found
            finally:
                self._notifier.ready(self._summary())

    def _say_findings(self, schedules: ScheduleSet) -> None:
        """Says in the background what is new since all was said; a later reload says the rest of an earlier one."""

        async def say() -> None:
            await say_findings(schedules, self._said, clock.now())
            self._said = schedules

        for task in self._saying:
            task.cancel()
        self._saying = [asyncio.create_task(say(), name="findings")]

    def _refused(self, error: Invalid | JournalError) -> None:
        problems = [str(problem) for problem in error.problems] if isinstance(error, Invalid) else [str(error)]
        self._last_reload = {"at": _text(clock.now()), "applied": False, "problems": problems}
        say_problems(error)
        log.error("reload.refused", error=error.message, problems=len(problems))

    def _summary(self) -> str:
        count = len(self._engine.schedules.schedules)
        refused = self._last_reload is not None and not self._last_reload["applied"]
        text = f"{count} schedule{'s' if count != 1 else ''}"
        return f"{text}; the last reload was refused, see the log" if refused else text

    def handlers(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """What the control socket serves."""
        return {"status": self._status, "reload": self._handle_reload, "fire": self._fire, "resolve": self._resolve}

    async def _handle_reload(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"changes": await self.reload()}

    async def _fire(self, request: Mapping[str, Any]) -> dict[str, Any]:
        fire, closed = await self._engine.fire_now(str(request["name"]))
        if request.get("wait"):
            fire = await closed
        return {"fire": fire.as_json(), "started": fire.state is FireState.STARTED}

    async def _resolve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        known = self._engine.schedules.schedules
        names = request.get("names") or [schedule.name for schedule in self._engine.schedules.enabled()]
        for name in names:
            if name not in known:
                raise ZendaemonError(f"there is no schedule {name!r}", hint=did_you_mean(name, known))
        chosen = [known[name] for name in names]
        failures: dict[str, str] = {}
        for schedule in chosen:
            try:
                await self._targets.resolve(schedule)
            except ZendaemonError as error:  # not unresolved when only the server is away: the known ids stay in use
                failures[schedule.name] = str(error)
        return {"targets": [self._target(schedule, failures.get(schedule.name)) for schedule in chosen]}

    def _target(self, schedule: Schedule, failure: str | None) -> dict[str, Any]:
        found = self._targets.get(schedule)
        return {
            "schedule": schedule.name,
            "target": str(schedule.target),
            "kind": found.kind if found else None,
            "id": found.id if found else None,
            "resolved_at": _text(found.resolved_at) if found else None,
            "error": failure,
        }

    async def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        now = clock.now()
        return {
            "state": "running" if self.healthy else "hung",
            "version": __version__,
            "pid": os.getpid(),
            "started_at": _text(self._started_at),
            "server": {
                "url": self._server_url,
                "available": self._attempts.queue.unavailable_since is None,
                "unavailable_since": _text(self._attempts.queue.unavailable_since),
            },
            "reload": self._last_reload,
            "attempts": {
                "in_flight": self._attempts.queue.in_flight,
                "waiting": self._attempts.queue.waiting,
                "limit": self._attempts.queue.pace.limit,
            },
            "unresolved": dict(self._targets.unresolved),
            "schedules": [self._schedule(schedule, now) for schedule in self._engine.schedules.schedules.values()],
        }

    def _schedule(self, schedule: Schedule, now: datetime) -> dict[str, Any]:
        place = self._engine.schedules.places.get(schedule.name)
        return {
            "schedule": schedule.name,
            "enabled": schedule.enabled,
            "next_fire_time": _text(schedule.next_after(now)) if schedule.enabled else None,
            "target": str(schedule.target),
            "unresolved": self._targets.unresolved.get(schedule.name),
            "file": f"{place.file}:{place.line}" if place else None,
        }


async def say_findings(schedules: ScheduleSet, before: ScheduleSet, now: datetime) -> None:
    """One event for each finding of `zendaemon check` in what is new, so that a reload does not repeat them."""
    for count, (name, schedule) in enumerate(schedules.schedules.items()):
        if count % _BREATH == 0:
            await asyncio.sleep(0)  # 100,000 schedules take ten seconds, which fires do not wait for
        if schedule != before.schedules.get(name):
            for finding in lint(schedule, now):
                log.warning("schedule.suspect", schedule=name, code=finding.code, warning=finding.message)


def say_problems(error: ZendaemonError) -> None:
    """One event for each problem of files that were refused."""
    for problem in getattr(error, "problems", ()):
        log.error(
            "reload.problem",
            file=problem.file,
            line=problem.line,
            column=problem.column,
            message=problem.message,
            remedy=problem.remedy,
        )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
