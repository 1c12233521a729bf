"""The process: start-up, signals, reload, drain."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
from collections.abc import Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from zendaemon import clock
from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import Invalid, JournalError, ZendaemonError
from zendaemon.core.lint import Finding, lint
from zendaemon.core.schedule import Schedule
from zendaemon.core.shown import ShownProblem, ShownReload
from zendaemon.events import Tell, tell_nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import datetime, timedelta

    from zendaemon.aftermath import Aftermath
    from zendaemon.attempts import Attempts
    from zendaemon.core.errors import Problem
    from zendaemon.core.schedule import ScheduleSet
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal
    from zendaemon.loader import Loaded
    from zendaemon.operations import Phase
    from zendaemon.retention import Retention
    from zendaemon.runs import Runs
    from zendaemon.sla import Promises
    from zendaemon.systemd import Notifier
    from zendaemon.targets import Targets
    from zendaemon.timers import Timers

log = structlog.get_logger()

_RELOADS = 20  # that are remembered
_EXCERPT = 200
_SECRET = re.compile(r"(heartbeat_url\W+).*")  # perhaps the URL itself, and not a reference to it
_NAMED = 5  # problems of a refused reload in its alert
Said = tuple[Schedule, date, Sequence[Finding]]  # a schedule, when it was looked at, and what was said of it
_BREATH = 50  # schedules that findings are looked for in one turn of the loop
_JOURNAL_CHECK = 10.0  # seconds that a written journal counts as one that can be written
_GARBAGE = 20_000  # new objects between two looks for garbage; every 700 is a fourteenth of a burst's time
HUNG_AFTER = 10.0
"""Seconds without a turn of the engine's loop after which it counts as hung."""


class Daemon:
    """Runs the engine until a signal ends it. `load` reads the schedule files, given what was loaded before."""

    def __init__(  # noqa: PLR0913 - the parts of the process, all by keyword
        self,
        *,
        engine: Engine,
        aftermath: Aftermath,
        targets: Targets,
        attempts: Attempts,
        runs: Runs,
        promises: Promises,
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
        self._aftermath = aftermath
        self._targets = targets
        self._attempts = attempts
        self._runs = runs
        self._promises = promises
        self._retention = retention
        self._journal = journal
        self._timers = timers
        self._notifier = notifier
        self._load = load
        self._server_url = server_url
        self._drain_timeout = drain_timeout
        self._resolve_interval = resolve_interval
        self._loaded: Loaded | None = None
        self.started_at = clock.now()
        self.reloads: Sequence[ShownReload] = ()
        self.tell: Tell = tell_nobody
        self.beside: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = ()
        """What else runs as long as the engine does, by name."""
        self.at_end: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
        """What is to be done once all that ran has ended."""
        self.channels: Collection[str] | None = None
        """The channels of alerts that schedules may name."""
        self._said: dict[str, Said] = {}
        self._saying: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()
        self._hangup = asyncio.Event()
        self._stop = asyncio.Event()
        self._in_force_since: float | None = None
        self._journal_checked = float("-inf")

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
        await self._aftermath.load()
        await self._engine.start(self._loaded.set)
        _set_apart()
        tasks = [
            loop.create_task(work, name=name)
            for name, work in (
                ("engine", self._engine.run()),
                ("starts", self._attempts.starts.run()),
                ("runs", self._runs.run()),
                ("promises", self._promises.run()),
                ("aftermath", self._aftermath.run()),
                ("retention", self._retention.run()),
                ("targets", self._targets.run(self._resolve_interval)),
                ("reloads", self._reload_on_hangup()),
                ("watchdog", self._feed_watchdog()),
                *((name, work()) for name, work in self.beside),
            )
        ]
        self._in_force_since = clock.monotonic()
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
        for act in self.at_end:
            await act()
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
        """Whether the engine's loop turns; before it begins to, loading many files may take its time."""
        if self._in_force_since is None:
            return True
        return clock.monotonic() - max(self._engine.beat, self._in_force_since) < HUNG_AFTER

    @property
    def phase(self) -> Phase:
        if self._stop.is_set():
            return "stopping"
        return "starting" if self._in_force_since is None else "running"

    async def check_journal(self) -> None:
        """Raises JournalError when it cannot be written; tried now and then, and after each failure."""
        now = clock.monotonic()
        if not self._journal.writable or now - self._journal_checked > _JOURNAL_CHECK:
            await self._journal.check()
            self._journal_checked = now

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
                _set_apart()
                self._promises.reloaded.set()
                self._say_findings(loaded.set)
                self._remember(ShownReload(at=clock.now(), applied=True, changes=found))
                log.info("reload.applied", **found)
                text, of = "a reload was applied", AlertKind.RELOAD_REFUSED
                self.tell(Alert(kind=AlertKind.RECOVERED, of=of, at=clock.now(), text=text))
                return found
            finally:
                self._notifier.ready(self._summary())

    def _say_findings(self, schedules: ScheduleSet) -> None:
        """Says in the background what is new since all was said; a later reload says the rest of an earlier one."""
        for task in self._saying:
            task.cancel()
        self._saying = [
            asyncio.create_task(say_findings(schedules, self._said, clock.now(), self.channels), name="findings")
        ]

    def _refused(self, error: Invalid | JournalError) -> None:
        problems = tuple(map(_shown, error.problems)) if isinstance(error, Invalid) else ()
        self._remember(ShownReload(at=clock.now(), applied=False, error=error.message, problems=problems))
        say_problems(error)
        log.error("reload.refused", error=error.message, problems=len(problems))
        text = "\n".join([error.message, *map(str, getattr(error, "problems", ())[:_NAMED])])
        self.tell(Alert(kind=AlertKind.RELOAD_REFUSED, at=clock.now(), text=text))

    def _remember(self, reload: ShownReload) -> None:
        self.reloads = (reload, *self.reloads)[:_RELOADS]

    def _summary(self) -> str:
        count = len(self._engine.schedules.schedules)
        refused = bool(self.reloads) and not self.reloads[0].applied
        text = f"{count} schedule{'s' if count != 1 else ''}"
        return f"{text}; the last reload was refused, see the log" if refused else text


def _set_apart() -> None:
    """Have the garbage collector look at all that is loaded once, and never again.

    Each of its full rounds would stop the process for as long as that takes: 0.3 s with 5,000 schedules, in which
    nothing is fired. Pages, which make many objects, would bring such rounds about.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


async def say_findings(
    schedules: ScheduleSet, said: dict[str, Said], now: datetime, channels: Collection[str] | None = None
) -> None:
    """One event for each finding of `zendaemon check` that was not said of the same schedule before; fills in `said`.

    Time alone brings new ones, the next change of the clock or a schedule that is over: each is looked at once a day.
    """
    today = now.date()
    for name in said.keys() - schedules.schedules.keys():
        del said[name]
    for count, (name, schedule) in enumerate(schedules.schedules.items()):
        if count % _BREATH == 0:
            await asyncio.sleep(0)  # 100,000 schedules take ten seconds, which fires do not wait for
        known, day, old = said.get(name, (None, None, ()))
        if known is schedule and day == today:
            continue
        old = old if known == schedule else ()
        found = lint(schedule, now, channels)
        place = schedules.places.get(name)
        for finding in found:
            if finding not in old:
                log.warning(
                    "schedule.suspect",
                    schedule=name,
                    code=finding.code,
                    warning=finding.message,
                    file=place.file if place else None,
                    line=place.line if place else None,
                )
        said[name] = schedule, today, found or ()


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


def _shown(problem: Problem) -> ShownProblem:
    """A problem, with the line of the file that it is about."""
    try:
        with Path(problem.file).open(encoding="utf-8", errors="replace") as lines:
            excerpt = next(islice(lines, max(0, problem.line - 1), None), None) if problem.line else None
    except OSError:
        excerpt = None
    shown = _SECRET.sub(r"\1***", excerpt.rstrip())[:_EXCERPT] if excerpt is not None else None
    return ShownProblem.of(problem, shown)
