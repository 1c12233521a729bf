"""What an operator may ask of the running daemon, and have it do: one answer for commands, HTTP API and pages.

Methods that only look may be called from any thread: what they read is replaced whole, never changed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol
from zoneinfo import ZoneInfo

from zendaemon import __version__, clock
from zendaemon.core.dst import note
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.explain import explain
from zendaemon.core.fire import run_config, run_name
from zendaemon.core.near import did_you_mean
from zendaemon.core.pause import Pause
from zendaemon.core.shown import (
    Health,
    NextFire,
    Replica,
    ScheduleDetail,
    ScheduleState,
    ShownAttempts,
    ShownChannel,
    ShownFire,
    ShownPause,
    ShownPromise,
    ShownSchedule,
    ShownServer,
    ShownTarget,
    Status,
)
from zendaemon.timeline import Timelines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pydantic import JsonValue

    from zendaemon.attempts import Attempts
    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule
    from zendaemon.core.shown import ShownReload, Timeline
    from zendaemon.core.sla import Broken
    from zendaemon.engine import Engine
    from zendaemon.journal import Last, Reader, Wanted
    from zendaemon.targets import Targets
    from zendaemon.zenml import ServerInfo

Phase = Literal["starting", "running", "stopping"]

OUTCOMES = 20
NEXT_FIRES = 10
MAX_NOTE = 1000
_JOURNAL_SECONDS = 5.0
_GUESSED = 10_000  # schedules; to look for near names among more would take the loop's time


class Process(Protocol):
    """What operations need of the process. `reloads` are the latest attempts, the newest first."""

    started_at: datetime
    reloads: Sequence[ShownReload]

    @property
    def phase(self) -> Phase: ...

    @property
    def healthy(self) -> bool: ...

    async def check_journal(self) -> None:
        """Raises JournalError when it cannot be written."""

    async def reload(self) -> dict[str, int]: ...


class Server(Protocol):
    """What is known of the ZenML server without asking it."""

    @property
    def url(self) -> str: ...

    @property
    def known(self) -> ServerInfo | None: ...

    @property
    def token_valid_until(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Brief:
    """What is to be had of a schedule for nothing, so that thousands can be searched and sorted at every request."""

    schedule: Schedule
    state: ScheduleState
    next_fire_time: datetime | None
    breaks: bool = False
    """Whether a promise of it is broken."""


class Operations:
    """Raises NoSuchSchedule for a name that there is not, JournalError when the journal cannot be read."""

    def __init__(
        self,
        *,
        engine: Engine,
        targets: Targets,
        attempts: Attempts,
        server: Server,
        process: Process,
        reader: Reader,
        broken: Callable[[], Mapping[str, Sequence[Broken]]] = dict,
    ) -> None:
        self._engine = engine
        self._targets = targets
        self._attempts = attempts
        self._server = server
        self._process = process
        self._reader = reader
        self.broken = broken
        """The promises that are broken, by schedule."""
        self._timelines = Timelines(reader)
        self._next: dict[str, tuple[Schedule, datetime | None]] = {}
        self.channels: Callable[[], tuple[ShownChannel, ...]] = tuple
        """The channels of alerts."""

    def status(self) -> Status:
        """Is the daemon well?"""
        now = clock.now()
        healthy, reloads = self._process.healthy, self._process.reloads
        known = self._engine.schedules.schedules.values()
        replica = Replica(host=socket.gethostname(), pid=os.getpid(), started_at=self._process.started_at)
        return Status(
            state="running" if healthy else "hung",
            healthy=healthy,
            version=__version__,
            pid=replica.pid,
            started_at=replica.started_at,
            now=now,
            server=self._shown_server(),
            reload=reloads[0] if reloads else None,
            attempts=ShownAttempts(
                in_flight=self._attempts.queue.in_flight,
                waiting=self._attempts.queue.waiting,
                limit=self._attempts.queue.pace.limit,
            ),
            counts=dict.fromkeys(ScheduleState, 0) | Counter(self._state(schedule, now) for schedule in known),
            unresolved=dict(self._targets.unresolved),
            broken={name: ShownPromise.of(some) for name, some in sorted(self.broken().items())},
            channels=self.channels(),
            replicas=(replica,),
        )

    def _shown_server(self) -> ShownServer:
        info, since = self._server.known, self._attempts.queue.unavailable_since
        return ShownServer(
            url=self._server.url,
            dashboard_url=info.dashboard_url if info is not None else None,
            version=info.version if info is not None else None,
            available=since is None,
            unavailable_since=since,
            token_valid_until=self._server.token_valid_until,
        )

    @property
    def phase(self) -> Phase:
        """`starting` till the first schedule set is in force, `stopping` from the drain on."""
        return self._process.phase

    def ready(self) -> Health:
        """Whether a schedule set is loaded, and the daemon goes on with it."""
        phase = self.phase
        return Health(ok=phase == "running", reason=None if phase == "running" else f"the daemon is {phase}")

    async def health(self) -> Health:
        """Whether the engine's loop turns, and the journal can be read and written."""
        if not self._process.healthy:
            return Health(ok=False, reason="the engine's loop does not turn")
        try:
            async with asyncio.timeout(_JOURNAL_SECONDS):
                await self._process.check_journal()
                await asyncio.to_thread(self._reader.check)
        except JournalError as error:
            return Health(ok=False, reason=error.message)
        except TimeoutError:
            return Health(ok=False, reason=f"the journal does not answer within {_JOURNAL_SECONDS:.0f} s")
        return Health(ok=True)

    def names(self) -> list[str]:
        """All schedules, by name."""
        return sorted(self._engine.schedules.schedules)

    def briefs(self) -> list[Brief]:
        """All schedules in short, in no order."""
        now = clock.now()
        known, broken = self._engine.schedules.schedules.items(), self.broken()
        return [
            Brief(schedule, self._state(schedule, now), self.next_fire_time(schedule, now), name in broken)
            for name, schedule in known
        ]

    def last(self) -> dict[str, Last]:
        """The latest fire of every schedule that has one, in short."""
        return self._reader.last()

    def latest(self, names: Iterable[str], count: int = OUTCOMES) -> dict[str, list[Fire]]:
        """The latest rows of some schedules, loaded or not, the latest first; a range is one of them."""
        return self._reader.latest(names, count)

    def recent(self, count: int) -> list[Fire]:
        """The latest rows of all schedules; a range is one of them."""
        return self._reader.recent(count)

    def trouble(self, since: datetime, count: int) -> list[Fire]:
        """The latest rows from `since` on that became no run though they were to, or whose run failed."""
        return self._reader.trouble(since, count)

    def schedules(self, names: Iterable[str] | None = None, *, outcomes: int = 0) -> list[ShownSchedule]:
        """Schedules by name, all or some, each with its latest `outcomes` from the journal."""
        now = clock.now()
        chosen = [self._known(name) for name in (self.names() if names is None else names)]
        rows = self._reader.latest((schedule.name for schedule in chosen), outcomes) if outcomes else {}
        return [
            ShownSchedule(**self._facts(schedule, now), **_outcomes(rows.get(schedule.name, ()))) for schedule in chosen
        ]

    def schedule(self, name: str) -> ScheduleDetail:
        """A schedule by itself."""
        schedule, now = self._known(name), clock.now()
        rows = self._reader.latest([name], OUTCOMES)
        fires = tuple(islice(_next_fires(schedule, now), NEXT_FIRES))
        config, error = _config(schedule, fires[0].fire_time if fires else now)
        return ScheduleDetail(
            **self._facts(schedule, now),
            **_outcomes(rows.get(name, ())),
            next_fires=fires,
            resolved=self._shown_target(schedule, self._targets.unresolved.get(name)),
            config=config,
            config_error=error,
            policies=schedule.model_dump(mode="json", exclude={"name", "description", "config", "enabled", "tags"}),
        )

    def _facts(self, schedule: Schedule, now: datetime) -> dict[str, Any]:
        place = self._engine.schedules.places.get(schedule.name)
        pause = self._engine.pauses.holding(schedule.name, now)
        return {
            "schedule": schedule.name,
            "description": schedule.description,
            "state": self._state(schedule, now),
            "enabled": schedule.enabled,
            "paused": ShownPause.of(pause) if pause is not None else None,
            "trigger": explain(schedule),
            "timezone": schedule.timezone,
            "next_fire_time": self.next_fire_time(schedule, now),
            "target": str(schedule.target),
            "unresolved": self._targets.unresolved.get(schedule.name),
            "broken": ShownPromise.of(self.broken().get(schedule.name, ())),
            "file": f"{place.file}:{place.line}" if place else None,
            "tags": schedule.tags,
        }

    def _state(self, schedule: Schedule, now: datetime) -> ScheduleState:
        if not schedule.enabled:
            return ScheduleState.DISABLED
        if self._engine.pauses.holding(schedule.name, now):
            return ScheduleState.PAUSED
        if schedule.name in self._targets.unresolved:
            return ScheduleState.UNRESOLVED
        return ScheduleState.FINISHED if self.next_fire_time(schedule, now) is None else ScheduleState.ACTIVE

    def next_fire_time(self, schedule: Schedule, now: datetime) -> datetime | None:
        """When it fires next; None when it is not enabled or never will. Reckoned once for each fire time."""
        if not schedule.enabled:
            return None
        of, found = self._next.get(schedule.name, (None, None))
        if of is not schedule or (found is not None and found <= now):
            found = schedule.next_after(now)
            self._next[schedule.name] = schedule, found
        return found

    def fires(self, wanted: Wanted) -> Iterator[ShownFire]:
        """Fires of the journal, the latest first."""
        return map(ShownFire.of, self._reader.fires(wanted))

    def timeline(self) -> Timeline:
        """Fires a minute of the last and the next 24 hours; what is paused counts from the end of its pause on."""
        now, known = clock.now(), self._engine.schedules
        pauses = {name: pause for name in known.schedules if (pause := self._engine.pauses.holding(name, now))}
        firing = (s for s in known.enabled() if s.name not in pauses or pauses[s.name].until is not None)
        ends = {name: pause.until for name, pause in pauses.items() if pause.until is not None}
        return self._timelines.get(firing, ends, now, known)

    def reloads(self) -> Sequence[ShownReload]:
        """The latest attempts to load the files, the newest first."""
        return self._process.reloads

    async def reload(self) -> dict[str, int]:
        """Load all files anew; how many schedules were added, changed, removed. Raises Invalid or JournalError."""
        return await self._process.reload()

    async def fire(self, name: str, *, wait: bool = False) -> ShownFire:
        """Start a run by hand; with `wait`, what became of it."""
        fire, closed = await self._engine.fire_now(self._known(name).name)
        return ShownFire.of(await closed if wait else fire)

    async def pause(self, name: str, *, note: str = "", until: datetime | None = None) -> ShownPause:
        """Start nothing of a schedule from now on, till somebody resumes it or `until`. Raises ZendaemonError.

        One that is paused already gets this note and end, and stays paused without a gap.
        """
        note = note.encode(errors="replace").decode().replace("\0", " ").strip()  # as every database takes it
        pause = Pause(schedule=self._known(name).name, since=clock.now(), until=until, note=note)
        if len(note) > MAX_NOTE:
            raise ZendaemonError(f"the note has {len(note)} characters", hint=f"write {MAX_NOTE} at most")
        if until is not None and until <= pause.since:
            raise ZendaemonError(f"{until.isoformat()} is not in the future", hint="give a later end, or none")
        async with self._engine.decided([name]) as now:
            pause = await self._engine.pauses.begin(replace(pause, since=now), self._undecided(name))
            self._attempts.skip_paused()
        return ShownPause.of(pause)

    def _undecided(self, name: str) -> datetime | None:
        """When the first fire that is not decided yet would be started; None where there is none."""
        schedule, mark = self._known(name), self._engine.marks.get(name)
        first = schedule.trigger.next_after(mark) if mark is not None else None
        return None if first is None else first + schedule.delay

    async def resume(self, name: str) -> ShownPause:
        """End a schedule's pause, also that of one which is gone. Raises ZendaemonError when none holds."""
        if self._engine.pauses.holding(name, clock.now()) is None:
            self._known(name)
        async with self._engine.decided([name]) as now:
            ended = await self._engine.pauses.end(name, now)
        if ended is None:
            raise ZendaemonError(f"schedule {name!r} is not paused", hint="`zendaemon status` shows which are")
        self._engine.wake([name])
        return ShownPause.of(ended)

    async def resolve(self, names: Sequence[str] = ()) -> list[ShownTarget]:
        """Resolve targets anew, those of all enabled schedules by default."""
        chosen = [self._known(name) for name in names] if names else self._engine.schedules.enabled()
        found = []
        for schedule in chosen:
            try:
                await self._targets.resolve(schedule)
            except ZendaemonError as error:  # not unresolved when only the server is away: the known ids stay in use
                found.append(self._shown_target(schedule, str(error)))
            else:
                found.append(self._shown_target(schedule, None))
        return found

    def _shown_target(self, schedule: Schedule, error: str | None) -> ShownTarget:
        return ShownTarget.of(schedule.name, str(schedule.target), self._targets.get(schedule), error)

    def _known(self, name: str) -> Schedule:
        known = self._engine.schedules.schedules
        if name not in known:
            hint = (did_you_mean(name, known) if len(known) < _GUESSED else "") or "`zendaemon status` lists them"
            raise NoSuchSchedule(f"there is no schedule {name!r}", hint=hint)
        return known[name]


class NoSuchSchedule(ZendaemonError):
    """There is no schedule of that name."""


def _outcomes(rows: Sequence[Fire]) -> dict[str, Any]:
    shown = tuple(map(ShownFire.of, rows))
    return {"last": shown[0] if shown else None, "outcomes": shown}


def _next_fires(schedule: Schedule, now: datetime) -> Iterator[NextFire]:
    zone = ZoneInfo(schedule.timezone)
    found = schedule.next_after(now) if schedule.enabled else None
    while found is not None:
        local = found.astimezone(zone).isoformat()
        yield NextFire(fire_time=found, local_time=local, note=note(schedule, now, found))
        now, found = found, schedule.next_after(found)


def _config(schedule: Schedule, fire_time: datetime) -> tuple[dict[str, JsonValue] | None, str | None]:
    """The config as the fire at `fire_time` sends it, or why it cannot be made."""
    try:
        return run_config(schedule, fire_time, run_name(schedule, fire_time)), None
    except ValueError as error:
        return None, str(error)
