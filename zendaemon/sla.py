"""Watches over the promises of schedules (`sla`), also while nothing fires."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState, instant_text
from zendaemon.core.run import SUCCEEDED
from zendaemon.core.sla import KINDS, Broken, Facts, Promise, broken, ended_late, started_late
from zendaemon.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime, timedelta

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule, ScheduleSet
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal

log = structlog.get_logger()

_EVERY = 5.0
_BREATH = 20
"""Schedules that are judged in one turn of the loop."""
_ASKED_AT_ONCE = 200
"""Schedules that the journal is asked for in one transaction."""

_BrokenOf = dict[Promise, Broken]


class Promises(Observer):
    """Judges every promise every few seconds, and tells of each that breaks and of each that is kept again.

    Observes fires (see events.Observer), so that what began or ended too late between two looks is told of too.
    `broken` has the broken promises by schedule, and is replaced whole. `skew` is the server's clock minus ours.
    """

    def __init__(
        self, engine: Engine, journal: Journal, *, now: Callable[[], datetime], skew: Callable[[], timedelta]
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._now = now
        self._skew = skew
        self._of: ScheduleSet | None = None
        self._schedules: list[Schedule] = []
        self._successes: dict[str, datetime] = {}
        self._waiting: dict[str, datetime] = {}
        """Since when there is no success, of those that never had one."""
        self._first: dict[str, tuple[Schedule, datetime, datetime | None]] = {}
        self._looked = False
        self._passed: defaultdict[str, _BrokenOf] = defaultdict(dict)
        self.broken: Mapping[str, tuple[Broken, ...]] = {}
        self.tell: Callable[[Alert], None] = lambda _: None
        self.reloaded = asyncio.Event()
        """To be set when there is another schedule set."""

    async def run(self) -> None:
        """Look for ever. What came due before the start is decided first."""
        while True:
            await asyncio.sleep(_EVERY)
            self.reloaded.clear()
            if self._looked and not self._schedules and self._of is self._engine.schedules:
                await self.reloaded.wait()  # nothing is promised
            try:
                await self.look()
            except Exception:
                log.exception("engine.error")

    async def look(self) -> None:
        """Judge all promises now."""
        self._take_set()
        await self._learn()
        passed, self._passed = self._passed, defaultdict(dict)
        found: dict[str, tuple[Broken, ...]] = {}
        for count, schedule in enumerate(self._schedules):
            if count % _BREATH == 0:
                await asyncio.sleep(0)
            now = self._now()
            of_now = {each.promise: each for each in broken(schedule, self._facts(schedule, now), now)}
            if both := {**passed.get(schedule.name, {}), **of_now}:
                found[schedule.name] = tuple(both[promise] for promise in Promise if promise in both)
        before, self.broken = self.broken, found
        self._say(before, found)
        if not self._looked and next(self._unknown(), None) is None:
            self._looked = True
            await self._recover(found)

    async def _recover(self, found: Mapping[str, tuple[Broken, ...]]) -> None:
        """Tell of what is kept now: an earlier process may have told that it was broken."""
        for count, schedule in enumerate(self._schedules):
            if count % _BREATH == 0:
                await asyncio.sleep(0)
            broken_now = {each.promise for each in found.get(schedule.name, ())}
            for promise in Promise:
                if promise not in broken_now and self._promises(schedule.name, promise):
                    self._tell_kept(schedule.name, promise)

    def _take_set(self) -> None:
        """The schedules that promise something, anew when files were loaded."""
        if self._of is self._engine.schedules:
            return
        self._of = self._engine.schedules
        self._schedules = [schedule for schedule in self._of.schedules.values() if schedule.sla is not None]
        for known in (self._successes, self._waiting, self._first):
            for name in known.keys() - self._of.schedules.keys():
                del known[name]

    async def _learn(self) -> None:
        """Of those that nothing is known of yet: when they succeeded last, or since when that is waited for.

        A journal that does not answer is asked at the next look; what it would tell is not judged till then.
        """
        with suppress(JournalError):
            for names in _batches(self._unknown()):
                found = await self._journal.last_successes(names)
                for fire in found.values():
                    self._succeeded(fire)
                rest = [name for name in names if name not in self._successes]
                first = await self._journal.first_fires(rest)
                for name in rest:
                    begun = first[name].fire_time if name in first else self._engine.marks.get(name)
                    self._waiting[name] = begun or self._now()

    def _unknown(self) -> Iterator[str]:
        for schedule in self._schedules:
            if schedule.sla is not None and schedule.sla.max_time_since_success is not None:
                name = schedule.name
                if name not in self._successes and name not in self._waiting:
                    yield name

    def _facts(self, schedule: Schedule, now: datetime) -> Facts:
        name, activity = schedule.name, self._engine.activity
        first = self._first_undecided(schedule)
        if schedule.max_runs is not None and activity.runs(name) >= schedule.max_runs:
            first = None
        due = [fire.fire_time for fire in activity.claims(name) if not fire.manual and not fire.earlier_runs]
        if first is not None and first + schedule.delay <= now:
            due.append(first)
        if self._engine.pauses.holding(name, now) is not None:
            due = []
        success = self._successes.get(name)
        return Facts(
            due=min(due, default=None),
            active=tuple((fire.run_name or "", self._begun(fire)) for fire in activity.active(name)),
            last_success=success or self._waiting.get(name),
            succeeded=success is not None,
            skew=self._skew(),
            goes_on=schedule.enabled and first is not None,
        )

    def _begun(self, fire: Fire) -> datetime:
        """When its run began, or while the server does not tell, when it was created; by the server's clock."""
        return fire.run_started_at or _created_at(fire) + self._skew()

    def _first_undecided(self, schedule: Schedule) -> datetime | None:
        """The first fire time that is not decided yet, due or to come; None where there is none. Reckoned once."""
        mark = self._engine.marks.get(schedule.name)
        if mark is None:
            return None
        known = self._first.get(schedule.name)
        if known is None or known[0] is not schedule or known[1] != mark:
            known = self._first[schedule.name] = schedule, mark, schedule.next_after(mark)
        return known[2]

    def _succeeded(self, fire: Fire) -> None:
        ended = fire.run_ended_at or _created_at(fire)
        self._successes[fire.schedule] = max(ended, self._successes.get(fire.schedule, ended))
        self._waiting.pop(fire.schedule, None)

    def closed(self, fire: Fire) -> None:
        if fire.state is not FireState.STARTED or (schedule := self._promising(fire)) is None:
            return
        begun = min(self._begun(fire) - self._skew(), _created_at(fire))  # a run of an earlier process was there before
        self._pass(fire, started_late(schedule, fire, begun))
        if fire.run_status in SUCCEEDED:
            self._succeeded(fire)

    def ended(self, fire: Fire) -> None:
        if (schedule := self._promising(fire)) is None:
            return
        self._pass(fire, ended_late(schedule, fire))
        if fire.run_status in SUCCEEDED:
            self._succeeded(fire)

    def _promising(self, fire: Fire) -> Schedule | None:
        schedule = self._engine.schedules.schedules.get(fire.schedule)
        return schedule if schedule is not None and schedule.sla is not None else None

    def _pass(self, fire: Fire, late: Broken | None) -> None:
        """Keep it for the next look, which tells of it."""
        if late is not None:
            self._passed[fire.schedule].setdefault(late.promise, late)

    def _say(self, before: Mapping[str, tuple[Broken, ...]], found: Mapping[str, tuple[Broken, ...]]) -> None:
        old = {(name, each.promise): each for name, some in before.items() for each in some}
        new = {(name, each.promise): each for name, some in found.items() for each in some}
        now = self._now()
        for (name, promise), each in new.items():
            if (name, promise) not in old:
                since = instant_text(each.since)
                log.error("promise.broken", schedule=name, promise=promise.value, since=since, message=each.text)
                self.tell(Alert(kind=KINDS[promise], at=now, text=each.text, schedule=name))
        for (name, promise), each in old.items():
            if (name, promise) not in new:
                seconds = round((now - each.since).total_seconds())
                log.info("promise.kept", schedule=name, promise=promise.value, broken_seconds=seconds)
                self._tell_kept(name, promise)

    def _tell_kept(self, name: str, promise: Promise) -> None:
        text = f"{promise} is kept again" if self._promises(name, promise) else f"{promise} is promised no more"
        of, now = KINDS[promise], self._now()
        self.tell(Alert(kind=AlertKind.RECOVERED, of=of, at=now, text=text, schedule=name))

    def _promises(self, name: str, promise: Promise) -> bool:
        schedule = self._engine.schedules.schedules.get(name)
        return schedule is not None and schedule.sla is not None and getattr(schedule.sla, promise) is not None


def _created_at(fire: Fire) -> datetime:
    """When its run was created, as far as we know."""
    return fire.decided_at or fire.fire_time


def _batches(names: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(names, _ASKED_AT_ONCE)):
        yield batch
