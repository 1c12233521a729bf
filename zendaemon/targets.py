"""The resolved ids of every schedule: in memory and in the journal, renewed in the background.

A fire takes its ids from here without a request. Only when there are none, or the server called them stale, is the
target resolved on the way of the fire.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import structlog
from pydantic import TypeAdapter, ValidationError

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import JournalError, ServerError, Unresolved
from zendaemon.core.policy import Overlap
from zendaemon.core.run import Resolved
from zendaemon.core.schedule import Target
from zendaemon.events import Tell, tell_nobody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from pydantic import JsonValue

    from zendaemon.core.schedule import Schedule
    from zendaemon.journal import Journal

log = structlog.get_logger()

_ADAPTER = TypeAdapter(Resolved)
_SOON, _SOON_CEILING = 2.0, 60.0
_BREATH = 50  # schedules that are resolved in one turn of the loop


class Resolver(Protocol):
    """Turns a target into ids, and checks `config` against what the server knows of it."""

    async def resolve(self, target: Target, config: Mapping[str, JsonValue]) -> Resolved: ...

    def round(self) -> Resolver:
        """A resolver that asks the server each question once, for many schedules in a row."""


class Targets:
    """The cache. `unresolved` holds what is wrong with a schedule's target, by the schedule's name."""

    def __init__(self, resolver: Resolver, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self._resolver = resolver
        self._journal = journal
        self._now = now
        self._known: dict[Target, Resolved] = {}
        self._schedules: list[Schedule] = []
        self._checked: dict[str, Schedule] = {}
        self._look = asyncio.Event()
        self.unresolved: dict[str, str] = {}
        self._suspected: dict[str, Schedule] = {}
        self.suspects: Callable[[Schedule, Resolved], Awaitable[list[str]]] | None = None
        """What a schedule names beside its target and the server does not have; asked once for each schedule."""
        self.tell: Tell = tell_nobody

    async def load(self) -> None:
        """Take the ids that an earlier process resolved from the journal."""
        for value in (await self._journal.load_resolved()).values():
            try:
                entry = json.loads(value)
                target, resolved = entry["target"], _ADAPTER.validate_python(entry["resolved"])
            except (ValueError, KeyError, ValidationError):
                continue  # written by another version: resolved anew
            self._known[Target(**target)] = resolved

    def watch(self, schedules: Iterable[Schedule]) -> None:
        """Keep the targets of these schedules resolved from now on, the new and changed ones at once."""
        self._schedules = list(schedules)
        names = {schedule.name for schedule in self._schedules}
        self.unresolved = {name: why for name, why in self.unresolved.items() if name in names}
        self._suspected = {name: schedule for name, schedule in self._suspected.items() if name in names}
        self._look.set()

    def get(self, schedule: Schedule) -> Resolved | None:
        """The ids at hand, without a request."""
        return self._known.get(schedule.target)

    def forget(self, schedule: Schedule, target_id: str) -> None:
        """The server called this id stale; one that has been found since is kept."""
        known = self._known.get(schedule.target)
        if known is not None and known.id == target_id:
            del self._known[schedule.target]
            self._checked.pop(schedule.name, None)

    async def resolved(self, schedule: Schedule) -> Resolved:
        """The ids, from the server when there are none at hand. Raises Unresolved or a ServerError."""
        if schedule.name in self.unresolved:
            return await self.resolve(schedule)
        known = self._known.get(schedule.target)
        return await self.resolve(schedule) if known is None or _needs_stops(schedule, known) else known

    async def resolve(self, schedule: Schedule, resolver: Resolver | None = None) -> Resolved:
        """Ask the server, remember the answer, and say so when it changed."""
        target = schedule.target
        try:
            resolved = await (resolver or self._resolver).resolve(target, schedule.config)
            _check_stops(schedule, resolved)
        except Unresolved as error:
            self._checked[schedule.name] = schedule
            if self.unresolved.get(schedule.name) != str(error):
                self.unresolved[schedule.name] = str(error)
                log.error(  # noqa: TRY400 - the error is the user's to mend, without a traceback
                    "schedule.unresolved", schedule=schedule.name, target=str(target), error=str(error)
                )
                self._alert(AlertKind.UNRESOLVED, schedule, f"{target}: {error}")
            raise
        self._alert(AlertKind.RECOVERED, schedule, f"{target} can be started")  # also of what was told before a restart
        self._checked[schedule.name] = schedule
        before = self._known.get(target)
        self._known[target] = resolved
        if self.unresolved.pop(schedule.name, None) is not None or before is None or before.id != resolved.id:
            log.info(
                "schedule.resolved", schedule=schedule.name, target=str(target), kind=resolved.kind, id=resolved.id
            )
        for warning in resolved.warnings:
            log.warning("schedule.suspect", schedule=schedule.name, warning=warning)
        if before is None or (before.id, before.resolved_at) != (resolved.id, resolved.resolved_at):
            await self._save(target, resolved)  # else another schedule of this target has had it saved
        return resolved

    def _alert(self, kind: AlertKind, schedule: Schedule, text: str) -> None:
        of = AlertKind.UNRESOLVED if kind is AlertKind.RECOVERED else None
        self.tell(Alert(kind=kind, of=of, at=self._now(), schedule=schedule.name, text=text))

    async def _save(self, target: Target, resolved: Resolved) -> None:
        entry = {"target": asdict(target), "resolved": _ADAPTER.dump_python(resolved, mode="json")}
        try:
            await self._journal.save_resolved(json.dumps(asdict(target)), json.dumps(entry), self._now())
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - the ids are in memory; no traceback wanted

    async def run(self, interval: timedelta) -> None:
        """Renew for ever: all every `interval`, new and changed ones when told, sooner while the server is away."""
        delay = _SOON
        everything = True
        while True:
            self._look.clear()
            try:
                whole = await self._round(everything=everything)
            except Exception:
                log.exception("engine.error")
                whole = False
            wait = interval.total_seconds() if whole else delay
            delay = _SOON if whole else min(delay * 2, _SOON_CEILING)
            try:
                async with asyncio.timeout(wait):  # wait_for may lose a cancellation (Python 3.11)
                    await self._look.wait()
                everything = False
            except TimeoutError:
                everything = whole

    async def _round(self, *, everything: bool) -> bool:
        """Resolve what is due; whether the server answered for all of it."""
        resolver = self._resolver.round()
        for count, schedule in enumerate(self._schedules):
            if count % _BREATH == 0:
                await asyncio.sleep(0)  # where all is known already, nothing else lets fires go first
            checked = self._checked.get(schedule.name)
            same = checked is schedule or checked == schedule  # most are the very same, and fields take their time
            if not everything and same and self.get(schedule) is not None:
                continue
            try:
                await self.resolve(schedule, resolver)
            except Unresolved:
                continue
            except ServerError as error:
                log.debug("resolve.postponed", schedule=schedule.name, error=str(error))
                return False
        await self._suspect()
        return True

    async def _suspect(self) -> None:
        """Say what else schedules name in vain, each once, as long as no other is to be resolved."""
        for schedule in self._schedules:
            resolved = self.get(schedule) if schedule.when else None
            if resolved is None or self._suspected.get(schedule.name) == schedule:
                continue
            if self.suspects is None or self._look.is_set():
                return
            try:
                found = await self.suspects(schedule, resolved)
            except ServerError as error:  # asked again in the next round
                log.debug("resolve.postponed", schedule=schedule.name, error=str(error))
                continue
            for warning in found:
                log.warning("schedule.suspect", schedule=schedule.name, warning=warning)
            self._suspected[schedule.name] = schedule


def _needs_stops(schedule: Schedule, resolved: Resolved) -> bool:
    """Whether the schedule wants runs stopped on a server that cannot."""
    return schedule.overlap is Overlap.CANCEL_RUNNING and not resolved.stops_runs


def _check_stops(schedule: Schedule, resolved: Resolved) -> None:
    if _needs_stops(schedule, resolved):
        text = f"the server (ZenML {resolved.server_version}) cannot stop runs, which overlap: cancel_running needs"
        raise Unresolved(text, hint="use skip or buffer_one")
