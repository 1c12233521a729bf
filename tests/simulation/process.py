"""One life of the daemon in the simulated world: its real parts on a loop, a disk, a line and clocks that are not.

What is left out is zendaemon.daemon (signals, files) and APScheduler; both are tested as the real process.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import httpx
import structlog
from simulation.loop import SimLoop
from simulation.server import SimTransport
from simulation.world import Call
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool
from standin.server import API_KEY

from zendaemon import aftermath, awake, gates, turns
from zendaemon import targets as targets_module
from zendaemon.activity import Activity
from zendaemon.aftermath import Aftermath
from zendaemon.attempts import Attempts
from zendaemon.core import following, pacing
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.engine import Engine
from zendaemon.gates import Gates
from zendaemon.journal import Journal
from zendaemon.journal.database import migrate
from zendaemon.operations import Operations
from zendaemon.runs import Runs
from zendaemon.targets import Targets
from zendaemon.zenml import ApiKey, Resolver, Secret, ZenML, wire

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from simulation.world import World
    from sqlalchemy import Connection
    from sqlalchemy import Engine as Database

    from zendaemon.core.schedule import Schedule, ScheduleSet

TICK = 900.0
AHEAD = 2.0
"""How long before a wake the schedules are told of that it is for."""
ASLEEP = timedelta(minutes=46)
"""A week has a million of the engine's real ticks. What it takes for sleep grows with them."""

NEVER_RESOLVED = timedelta(hours=8)


_WITNESS = """
create table witness (row integer not null, at real not null, state text, run_id text, run_status text, retry_at text,
    followed int);
create trigger row_made after insert on fires begin
    insert into witness values (new.id, true_seconds(), new.state, new.run_id, new.run_status, new.retry_at,
        new.followed);
end;
create trigger row_changed after update of state, run_status, retry_at, followed on fires
when old.state <> new.state or old.run_status is not new.run_status or old.retry_at is not new.retry_at
or old.followed is not new.followed begin
    insert into witness values (new.id, true_seconds(), new.state, new.run_id, new.run_status, new.retry_at,
        new.followed);
end;
create table pauses_witness (schedule text not null, at real not null, since text not null);
create trigger pause_made after insert on pauses when new.by = 'failures' and new.until is null begin
    insert into pauses_witness values (new.schedule, true_seconds(), new.since);
end;
create trigger pause_changed after update on pauses when new.by = 'failures' and new.until is null begin
    insert into pauses_witness values (new.schedule, true_seconds(), new.since);
end;
"""
"""What the oracle knows of when a row was made, closed and claimed again, and of when a schedule was paused after
failures, by no clock of the daemon's."""


class Disk:
    """The journal's database, in memory; it outlives the processes. `clear` makes it new for the next seed."""

    def __init__(self) -> None:
        self.engine: Database = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )

        @event.listens_for(self.engine, "connect")
        def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - as zendaemon.journal.database does
            connection.isolation_level = None

        @event.listens_for(self.engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.connection.driver_connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]

        migrate(self.engine)
        self.true: Callable[[], float] = lambda: 0.0
        self.raw.create_function("true_seconds", 0, self._seconds)
        self.raw.executescript(_WITNESS)
        self.engine.dispose = lambda close=True: None  # type: ignore[method-assign] # noqa: ARG005 - a process that ends closes it
        self._empty = self.raw.serialize()

    def _seconds(self) -> float:
        return self.true()

    @property
    def raw(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]
        return connection

    def clear(self) -> None:
        self.raw.deserialize(self._empty)


class NoLock:
    """The owner's lock, and the guard of the file: the world runs one process at a time, and has no files."""

    def release(self) -> None:
        pass

    def check(self) -> None:
        pass


class Timers:
    """What zendaemon.timers does with APScheduler: wakes by the wall clock, looked at again at each tick; tells of it
    before.
    """

    def __init__(
        self,
        world: World,
        loop: SimLoop,
        wake: Callable[[Iterable[str]], None],
        soon: Callable[[datetime, list[str]], None],
    ) -> None:
        self._world = world
        self._loop = loop
        self._wake = wake
        self._soon = soon
        self._told: asyncio.TimerHandle | None = None
        self._next: dict[str, datetime | None] = {}
        self._schedules: dict[str, Schedule] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._aimed = world.read_clock()

    def set(self, schedules: Iterable[Schedule]) -> None:
        self._look()
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._aim()

    def tick(self, now: datetime, _monotonic: float) -> None:
        self._look()
        self._arm(now)

    def _aim(self) -> None:
        now = self._aimed = self._world.read_clock()
        self._next = {}
        for name, schedule in self._schedules.items():
            found = schedule.trigger.next_after(now - schedule.delay)
            self._next[name] = None if found is None else found + schedule.delay
        self._arm(now)

    def _arm(self, now: datetime) -> None:
        for timer in (self._timer, self._told):
            if timer is not None:
                timer.cancel()
        soonest = min((at for at in self._next.values() if at is not None), default=None)
        if soonest is not None:
            left = max(0.0, (soonest - now).total_seconds())
            self._timer = self._loop.call_later(left + 0.001, self._look)
            names = [name for name, at in self._next.items() if at == soonest]
            self._told = self._loop.call_later(max(0.0, left - AHEAD), self._soon, soonest, names)

    def _look(self) -> None:
        now = self._world.read_clock()
        due = [name for name, at in self._next.items() if at is not None and at <= now]
        if due:
            self._wake(due)
        if due or now < self._aimed:
            self._aim()


class Process:
    """Born with `live`, which ends when the process does. `ready` once the schedule set is in force."""

    def __init__(self, world: World, disk: Disk) -> None:
        self.world = world
        self.loop = SimLoop(world, world.disk)
        self.ready = False
        self.error: BaseException | None = None
        self.engine: Engine | None = None
        self.operations: Operations | None = None
        self.wishes: list[tuple[str, float]] = []
        self._disk = disk
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._chores: set[asyncio.Task[Any]] = set()

    def live(self) -> bool:
        """Whether it ended by itself, and not by kill -9."""
        return self.loop.live(self._main())

    def stop(self) -> None:
        self.loop.call_soon(self._stop.set)

    def do(self, work: Callable[[], Any]) -> None:
        """Have a coroutine run in the process, as a command over its socket."""

        def begin() -> None:
            task = self.loop.create_task(work())
            self._chores.add(task)
            task.add_done_callback(self._chores.discard)

        self.loop.call_soon(begin)

    async def _main(self) -> None:
        try:
            await self._serve()
        except JournalError as error:  # at the start: the real one ends with status 1, and systemd starts it again
            self.world.refused(error)
        except Exception as error:  # noqa: BLE001 - it is looked at when the seed is over
            self.error = error

    async def _serve(self) -> None:
        world, now, monotonic = self.world, self.world.read_clock, self.loop.time
        journal = Journal(self._disk.engine, NoLock(), NoLock())  # type: ignore[arg-type]
        zenml = ZenML(
            "http://zenml",
            ApiKey(Secret(API_KEY)),
            now=now,
            elapsed=lambda: world.true,
            transport=SimTransport(world, self.loop),
        )
        targets = Targets(Resolver(zenml, now), journal, now=now)
        settle = timedelta(seconds=world.settle_after)
        seed = world.random.getrandbits(32)
        activity = Activity()
        asked = Gates(zenml, activity, now=now)
        attempts = Attempts(
            zenml,
            targets,
            journal,
            asked,
            now=now,
            elapsed=lambda: world.true,
            max_concurrency=4,
            settle_after=settle,
            seed=seed,
        )
        runs = Runs(zenml, journal, now=now, stuck_after=timedelta(minutes=10))
        engine = self.engine = Engine(
            journal=journal,
            activity=activity,
            targets=targets,
            attempts=attempts,
            runs=runs,
            now=now,
            monotonic=monotonic,
        )
        follows = Aftermath(engine, attempts, journal, now=now)
        follows.connect(runs, asked)
        self.operations = Operations(
            engine=engine,
            targets=targets,
            attempts=attempts,
            server=zenml,
            process=cast("Any", self),
            reader=cast("Any", None),  # nobody looks
        )
        engine.timers = Timers(world, self.loop, engine.wake, attempts.starts.expect)  # type: ignore[assignment]
        attempts.starts.schedule_of = lambda name: engine.schedules.schedules.get(name)  # noqa: PLW0108 - replaced
        world.applying(world.files)
        await follows.load()
        await engine.start(world.files)
        world.applied()
        works = [engine.run(), attempts.starts.run(), runs.run(), targets.run(NEVER_RESOLVED), follows.run()]
        tasks = [self.loop.create_task(work) for work in works]
        self.ready = True
        stop = self.loop.create_task(self._stop.wait())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await engine.stop()
        for task in (stop, *tasks):
            task.cancel()
        await attempts.drain(timedelta(seconds=30))
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done - {stop}:
            task.result()
        await journal.close()
        await zenml.close()

    async def reload(self, schedules: ScheduleSet) -> None:
        async with self._reloading:
            if self.engine is None or not self.ready:
                return
            self.world.applying(schedules)
            try:
                await self.engine.apply(schedules)
            except JournalError as error:
                self.world.refused(error)
            else:
                self.world.applied()

    async def pause(self, name: str, until: datetime | None) -> None:
        """As an operator does it, who is told that it was done, or why not."""
        if self.operations is not None and self.ready and (until is None or until > self.world.wall):
            self.world.count("a pause with an end" if until else "a pause")
            await self._called(Call(name, len(self.world.lives), self.world.true, pauses=True, until=until))

    async def resume(self, name: str) -> Call | None:
        if self.operations is None or not self.ready:
            return None
        self.world.count("a resume")
        return await self._called(Call(name, len(self.world.lives), self.world.true))

    async def _called(self, call: Call) -> Call:
        assert self.operations is not None
        self.world.calls.append(call)
        self.world.note(f"{'pause' if call.pauses else 'resume'} {call.schedule} {call.until or ''}")
        name, operations = call.schedule, self.operations
        try:
            shown = await (operations.pause(name, until=call.until) if call.pauses else operations.resume(name))
        except JournalError:
            call.outcome, call.done = "failed", self.world.true
            self.world.count("a pause that the disk refused")
        except ZendaemonError:  # there is no such schedule, or it is not paused, or the end is not in the future
            call.outcome, call.done = "refused", self.world.true
        else:
            call.outcome, call.done, call.told = "done", self.world.true, (shown.since, shown.until)
        self.world.note(f"that is {call.outcome}")
        return call

    async def fire(self, name: str) -> None:
        if self.engine is not None and self.ready:
            with suppress(ZendaemonError):
                await self.engine.fire_now(name)


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """What httpx does where there are neither redirects, hooks nor credentials of its own, without a word about it."""
    answer = await client._transport.handle_async_request(request)
    answer.request = request
    return answer


def prepare(say: Callable[[Any, str, dict[str, Any]], dict[str, Any]]) -> Disk:
    """Once in an operating system's process: what is slow, and what is meant for real time."""
    context = ssl.create_default_context()
    wire.tls_context = lambda _: context
    turns.TICK = TICK
    aftermath._LOOK = TICK
    gates._STOPPING, gates._OTHER_RUNS, gates._OTHER_SCHEDULES = 60.0, 300.0, 300.0
    awake.ASLEEP = ASLEEP
    pacing.BUSY_CEILING = pacing.DOWN_CEILING = 120.0
    targets_module._SOON_CEILING = 900.0
    following.FIRST = 600.0
    following.LONGEST, following.HURRIED = 4 * 3600.0, 600.0
    structlog.configure(processors=[say], cache_logger_on_first_use=False)
    parse = lru_cache(maxsize=20_000)(httpx._urlparse.urlparse)
    httpx._urls.urlparse = httpx._urlparse.urlparse = parse  # type: ignore[attr-defined,assignment]
    httpx.Cookies.extract_cookies = lambda _, __: None  # type: ignore[method-assign] # the server sets none
    httpx.AsyncClient.send = _send  # type: ignore[method-assign]
    disk = Disk()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return disk
