"""The world of one seed: true time, the daemon's clock, the line, the disk, and what goes wrong with each.

Everything random comes from one generator, in the order of simulated events: the same seed is the same history, to the
step.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from simulation.server import SimServer

from zendaemon.core.errors import JournalError

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from simulation.loop import SimLoop
    from simulation.process import Process
    from simulation.scenario import Scenario
    from standin.server import Arrival

    from zendaemon.core.schedule import ScheduleSet

SETTLE_AFTER = 60.0
_MISHAPS = ("before", "after", "slow")


@dataclass(frozen=True, slots=True)
class Apply:
    """A schedule set put in force, between two readings of the daemon's clock, in the life of this number.

    Of a `refused` one nobody knows how far it came: the disk failed, or the process was killed.
    """

    schedules: ScheduleSet
    true: float
    before: datetime
    after: datetime
    life: int
    highest: datetime
    """The latest that the daemon's clock had ever shown."""
    refused: bool
    done: float = inf
    """True time when it was in force for sure."""


@dataclass(slots=True)
class Call:
    """An operator's `pause` (till `until`, None for no end) or `resume` of a schedule, as it was seen from outside.

    `begun` and `done` in true time; who never got an answer, since the process was killed, knows nothing of the
    `outcome`. What was `told` is from when and until when the schedule is paused.
    """

    schedule: str
    life: int
    begun: float
    pauses: bool = False
    until: datetime | None = None
    done: float = inf
    outcome: Literal["unknown", "done", "refused", "failed"] = "unknown"
    told: tuple[datetime, datetime | None] | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """A process, from its beginning to its end; `killed` or not."""

    begin: float
    end: float
    begin_wall: datetime
    end_wall: datetime
    killed: bool


class World:
    """Seconds are true time since the scenario's beginning; instants are aware UTC."""

    settle_after = SETTLE_AFTER

    def __init__(self, scenario: Scenario, *, tell: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed ^ 0x5EED)  # noqa: S311 - a simulation
        self._venom = Random(scenario.seed ^ 0xB0D)  # noqa: S311 - of its own, so that it changes no other draw
        self.adversary = Random(scenario.seed ^ 0xBAD)  # noqa: S311 - the same
        self._held_up: dict[str, Callable[[], None]] = {}
        self.true = 0.0
        self.offset = 0.0
        self.highest = scenario.begin
        self.faults: Counter[str] = Counter()
        self.process: Process | None = None
        self.server = SimServer(self, scenario.version)
        self.trace = 0
        self.steps = 0
        self.sleeping = False
        self.requests: list[tuple[float, datetime, datetime, str]] = []
        """When each start was sent: true time, the daemon's clock and its highest till then, and the run's name."""
        self.lives: list[Life] = []
        self.applies: list[Apply] = []
        self.asleep: list[tuple[datetime, datetime]] = []
        """From when till when, by the daemon's clock, nobody could look: suspends and steps."""
        self.suspends: list[tuple[float, float]] = []
        """The same of suspends alone, in true time."""
        self.offsets = [(0.0, 0.0)]
        """Since when, in true time, the daemon's clock was off by so many seconds."""
        self.calls: list[Call] = []
        """What operators asked for, in this order."""
        self.vain: list[float] = []
        """When, in true time, something befell a question, for which a fire may have to wait."""
        self.refused_stops: list[tuple[float, str]] = []
        """When the process was told that a run is not stopped, and which."""
        self.upsets: list[float] = []
        """When, in true time, the server was restarted or its ids went stale."""
        self._tell = tell
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.down_for = 0.0
        """How long nobody starts the daemon anew after it was stopped; 0 for a time that is drawn."""
        self.in_hand: Counter[str] = Counter()
        """Starts that the process waits for, by the run's name."""
        self.most_in_flight = 0
        self.unasked: set[str] = set()
        """Names of runs whose start got no answer that tells what became of it, and that nobody has asked for since."""
        self.broken: list[str] = []
        """Promises that were seen to be broken while it happened."""
        self._kills = 0
        self._until_kill = self._draw_kill()

    # Time

    def instant(self, seconds: float) -> datetime:
        return self.scenario.begin + timedelta(seconds=seconds)

    @property
    def wall(self) -> datetime:
        """What the daemon's clock shows."""
        return self.instant(self.true + self.offset)

    def read_clock(self) -> datetime:
        """The daemon reads its clock."""
        wall = self.wall
        self.highest = max(self.highest, wall)
        return wall

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.true + seconds, event)

    def wait(self, when: float | None) -> None:
        """The process has nothing to do before `when` of its own clock: go on to that, or to what happens before."""
        loop = self._loop
        target = None if when is None else self.true + max(0.0, when - loop.time())
        if self._events and (target is None or self._events[0][0] <= target):
            at, _, event = heapq.heappop(self._events)
            if at > self.true:
                loop.pass_time(at - self.true)
                self.true = at
            event()
        elif target is not None and when is not None:
            self.true = target
            loop.pass_time(when - loop.time())
        else:
            raise RuntimeError("nothing will ever happen again")

    def idle(self, until: float) -> None:
        """No process runs until then; the world goes on."""
        while self._events and self._events[0][0] <= until:
            at, _, event = heapq.heappop(self._events)
            self.true = max(self.true, at)
            event()
        self.true = max(self.true, until)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: no clock of the process counts it, the wall clock does."""
        if self.sleeping:
            return
        self.count("suspend")
        self.note(f"suspend for {seconds:.0f} s")
        self.sleeping = True
        before, begin = self.wall, self.true
        self.idle(self.true + seconds)
        self.asleep.append((before, self.wall))
        self.suspends.append((begin, self.true))
        self.sleeping = False

    def step_clock(self, seconds: float) -> None:
        self.count("clock set forward" if seconds > 0 else "clock set back")
        self.note(f"clock step of {seconds:.0f} s")
        before = self.wall
        self.offset += seconds
        self.offsets.append((self.true, self.offset))
        self.asleep.append((before, self.wall))

    @property
    def files(self) -> ScheduleSet:
        """What the schedule files say now."""
        return self.scenario.schedules_at(self.true)

    def applying(self, schedules: ScheduleSet) -> None:
        """A set is being put in force; if the process does not live to say so, nobody knows whether it was."""
        self.note(f"applies {', '.join(schedules.schedules) or 'an empty set'}")
        self.applies.append(
            Apply(schedules, self.true, self.wall, self.wall, len(self.lives), self.highest, refused=True)
        )

    def applied(self) -> None:
        self.applies[-1] = replace(self.applies[-1], after=self.wall, refused=False, done=self.true)

    def refused(self, error: JournalError) -> None:
        self.note(f"refused: {error}")

    @property
    def _loop(self) -> SimLoop:
        assert self.process is not None
        return self.process.loop

    # What goes wrong

    def count(self, what: str) -> None:
        self.faults[what] += 1

    def chance(self, what: str) -> bool:
        """Whether a mishap of the server happens now."""
        trouble = self.scenario.trouble_at(self.true)
        return trouble is not None and what in trouble.kinds and self.random.random() < trouble.rate

    def cut(self) -> bool:
        """Whether the server's connection breaks just when it has made a run for which it finds no slot."""
        trouble = self.scenario.trouble_at(self.true)
        breaks = trouble is not None and "lost after" in trouble.kinds and self.adversary.random() < 0.4
        if breaks:
            self.count("cut off while a slot is looked for")
        return breaks

    def fate(self, arrival: Arrival) -> str:
        """What becomes of a request on its way."""
        kind = self._poisoned(arrival) or self._on_the_line(arrival)
        if kind != "well":
            if not arrival.is_start:
                self.vain.append(self.true)
            self.count(kind)
            self.note(f"{kind}: {arrival.method} {arrival.path}")
        return kind

    def _poisoned(self, arrival: Arrival) -> str | None:
        """What becomes of a request because of the name in it alone."""
        poison = self.scenario.poison
        if poison is None or not poison.begin <= self.true < poison.end:
            return None
        name = run_name(arrival) if arrival.is_start else arrival.query.get("name", "").removeprefix("equals:")
        if name.partition("-")[0] != poison.schedule or self._venom.random() >= poison.rate:
            return None
        self.count("a poisoned name")
        return poison.start if arrival.is_start else poison.question

    def _on_the_line(self, arrival: Arrival) -> str:
        trouble = self.scenario.trouble_at(self.true)
        if trouble is None or self.random.random() >= trouble.rate:
            return "well"
        kinds = [k for k in trouble.kinds if k not in _NOT_ON_THE_LINE and (arrival.is_start or k not in ONLY_STARTS)]
        if self.server.version != "0.98.0":
            kinds = [kind for kind in kinds if not kind.startswith("429")]
        if not kinds:
            return "well"
        return self.random.choice(kinds)

    def sent(self, arrival: Arrival) -> None:
        if arrival.is_start:
            name = run_name(arrival)
            self.note(f"start {name}")
            self.in_hand[name] += 1
            self.most_in_flight = max(self.most_in_flight, self.in_hand.total())
            if self.in_hand[name] > 1:
                self.broken.append(f"{self.in_hand[name]} requests for {name} were in flight at once")
            if name in self.unasked:
                self.broken.append(f"{name} was sent again, and nobody had asked whether its run was made")
            self.unasked.add(name)
            if (stuck := self._held_up.get(name)) is not None:
                self.after(0.02, stuck)
            self.requests.append((self.true, self.wall, self.highest, name))
        if arrival.is_start or is_stop(arrival) or "name" in arrival.query:
            self.step()

    def over(self, arrival: Arrival) -> None:
        """The process has an answer, or has given up waiting for one."""
        if arrival.is_start:
            self.in_hand[run_name(arrival)] -= 1

    def hold_up(self, arrival: Arrival, seconds: float, release: Callable[[], None]) -> None:
        """A start is stuck on its way: it arrives together with the next one for that run, and no later than this."""
        name = run_name(arrival)

        def let_go() -> None:
            if self._held_up.get(name) is let_go:
                del self._held_up[name]
                release()

        self._held_up[name] = let_go
        self.after(seconds, let_go)

    def told(self, arrival: Arrival, status: int | None, body: object) -> None:
        """What the process gets for an answer, None for no connection: it may tell whether there is such a run."""
        if arrival.is_start:
            made = status == 200 and isinstance(body, dict)
            if made or status in _NOT_STARTED or (status == 429 and "MaxConcurrentTasksError" in str(body)):
                self.unasked.discard(run_name(arrival))
        elif is_stop(arrival):
            if status is not None and status >= 400:
                self.refused_stops.append((self.true, arrival.path.split("/")[-2]))
        elif status == 200 and isinstance(body, dict):
            self.unasked.discard(arrival.query.get("name", "").removeprefix("equals:"))

    def arrived(self, arrival: Arrival) -> None:
        if arrival.is_start:
            self.step()

    def received(self, arrival: Arrival) -> None:
        if arrival.is_start or is_stop(arrival) or "name" in arrival.query:
            self.step()

    def disk(self, loop: SimLoop, work: Callable[[], Any]) -> Future[Any]:
        """A transaction of the journal: it takes a moment, and what is on disk stays when the process dies."""
        future = loop.create_future()
        process, mishap = self.process, self._mishap()

        def act() -> None:
            if process is not self.process:
                return
            self.step()
            if loop.kill_at is not None and loop.kill_at <= loop.steps:
                return  # killed before it was done
            try:
                result = self._transact(work, mishap)
            except Exception as error:  # noqa: BLE001 - it is the caller's
                answer = partial(future.set_exception, error)
            else:
                answer = partial(future.set_result, result)
            if not future.done():
                answer()
            self.step()

        self.after(self.random.uniform(3, 30) if mishap == "slow" else self.random.uniform(0.0005, 0.01), act)
        return future

    def _mishap(self) -> str | None:
        trouble = self.scenario.trouble_at(self.true)
        if trouble is None or "disk" not in trouble.kinds or self.random.random() >= trouble.rate / 2:
            return None
        mishap = self.random.choice(_MISHAPS)
        self.count(f"disk: {mishap}")
        return mishap

    @staticmethod
    def _transact(work: Callable[[], Any], mishap: str | None) -> Any:  # noqa: ANN401
        if mishap == "before":
            raise JournalError("the journal cannot be used: database or disk is full")
        result = work()
        if mishap == "after":
            raise JournalError("the journal cannot be used: disk I/O error")
        return result

    def step(self) -> None:
        """Something happened beside which a process may be killed, at once or some steps later."""
        self._until_kill -= 1
        may = self._kills < self.scenario.kills and self.true < self.scenario.calm_from
        if self._until_kill <= 0 and self.process is not None and may:
            self._until_kill = self._draw_kill()
            self.kill(self.random.choice([0, 0, 1, 2, 3, 5, 8]))

    def kill(self, steps: int = 0) -> None:
        if self.process is not None and not self.sleeping:
            self.count("kill -9")
            self._kills += 1
            loop = self._loop
            loop.kill_at = loop.steps + steps

    def _draw_kill(self) -> int:
        return int(self.random.expovariate(1 / self.scenario.kill_every)) + 1

    # What is told

    def note(self, text: str) -> None:
        """A line of this seed's history; all of them make its fingerprint."""
        self.trace = crc32(f"{self.true:.6f} {text}".encode(), self.trace)
        if self._tell is not None:
            self._tell(
                f"{self.instant(self.true).isoformat(sep=' ', timespec='milliseconds')[:-6]} "
                f"[{self.offset:+.0f} s] {text}"
            )


_NOT_STARTED = (None, 302, 400, 401, 403, 404, 405, 422)
_NOT_ON_THE_LINE = {"disk", "no slot"}
ONLY_STARTS = {"duplicated", "lost, and late", "429 too busy", "429 with Retry-After", "redirect"}


def is_stop(arrival: Arrival) -> bool:
    return arrival.method == "POST" and arrival.path.endswith("/stop")


def run_name(arrival: Arrival) -> str:
    """The name that a start asks for."""
    config = arrival.config
    return str(config.get("run_configuration", config).get("run_name"))
