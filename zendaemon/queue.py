"""What waits for its turn at one server: in order, as many at once as the server bears, and none while it is away.

The queue knows neither fires nor journals: it begins what it is given, and adapts its pace to what it is told of the
server.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.errors import ServerError, Unavailable, Uncertain
from zendaemon.core.pacing import Pace
from zendaemon.events import Tell, tell_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from random import Random

    from zendaemon.core.errors import ZendaemonError

log = structlog.get_logger()

T = TypeVar("T")
Rank = tuple[float, int, float, float]
"""The lower goes first."""
Rest = Callable[[], Coroutine[None, None, object]]
"""What is left to do of an attempt that was answered; like an attempt, it must not raise."""

_RESTS, _PUT_OFF = 1000, 0.25
"""So many rests may be put off, for so many seconds; each is a claim that a crash leaves behind."""
_AT_ONCE = 10


class Queue(Generic[T]):
    """Begins what is pushed by rank, then in the order of arrival. `begin` is one attempt; it must not raise. What it
    returns is done at once, or a moment later while the time is short for those that are to begin.
    """

    def __init__(
        self,
        begin: Callable[[T], Coroutine[None, None, Rest | None]],
        rank: Callable[[T], Rank],
        *,
        now: Callable[[], datetime],
        max_concurrency: int,
        when_quick: int = 0,
        random: Random,
    ) -> None:
        self._begin = begin
        self._rank = rank
        self._now = now
        self._random = random
        self._heap: list[tuple[Rank, int, T]] = []
        self._order = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests: deque[Rest] = deque()
        self._resting: asyncio.Task[None] | None = None
        self._sleeping: set[asyncio.TimerHandle] = set()
        self._opens_at = 0.0
        self._gate: asyncio.TimerHandle | None = None
        self._pumping = self._stopping = False
        self.pace = Pace.full(max_concurrency, when_quick)
        self.unavailable_since: datetime | None = None
        self.tell: Tell = tell_nobody
        self._away_from = 0.0

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        return len(self._heap) + len(self._sleeping)

    @property
    def hurries(self) -> bool:
        """Whether more is to begin at once, and the server takes it as quickly as we give it: our own time is short."""
        return bool(self._heap) and not self._stopping and self.pace.limit > self.pace.maximum and not self.opens_in

    @property
    def room(self) -> int:
        """How many may be in flight soon; none while the server is away or busy."""
        return 0 if self.opens_in else max(self.pace.limit, self.pace.most)

    @property
    def opens_in(self) -> float:
        """Seconds until anything may begin again."""
        return max(0.0, self._opens_at - asyncio.get_running_loop().time())

    @property
    def ready(self) -> Iterator[T]:
        """What would begin if it might, in no order; what sleeps is not among it."""
        return (item for _, _, item in self._heap)

    def push(self, item: T, order: int | None = None) -> int:
        """Queue; what else comes in the same turn is put in order with it before anything begins.

        Returns the place in the order of arrival, which may be given again when the item comes back.
        """
        order = next(self._order) if order is None else order
        heapq.heappush(self._heap, (self._rank(item), order, item))
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)
        return order

    def take(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take what waits for its turn and is wanted out of the queue, in its order."""
        taken = sorted(entry for entry in self._heap if wanted(entry[-1]))
        self._heap = [entry for entry in self._heap if not wanted(entry[-1])]
        heapq.heapify(self._heap)
        return [item for _, _, item in taken]

    def later(self, seconds: float, item: T, order: int) -> None:
        """Queue after this time."""

        def wake() -> None:
            self._sleeping.discard(timer)
            self.push(item, order)

        timer = asyncio.get_running_loop().call_later(seconds, wake)
        self._sleeping.add(timer)

    async def drain(self, limit: timedelta) -> int:
        """Begin nothing more and wait for what is under way; return how many are left."""
        self._stopping = True
        for timer in (*self._sleeping, self._gate):
            if timer is not None:
                timer.cancel()
        tasks = self._tasks if self._resting is None else {*self._tasks, self._resting}
        if tasks:
            await asyncio.wait(tasks, timeout=limit.total_seconds())
        left = self.waiting + self.in_flight + len(self._rests)
        for task in tasks:
            task.cancel()
        return left

    def heed(self, failure: ZendaemonError) -> None:
        """Adapt the pace to what a failure says of the server. One that answers 500 is unwell, and yet there."""
        match failure:
            case Unavailable(busy=False) if failure.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                self.away(failure)
            case Unavailable() | Uncertain(status=HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE):
                self.busy(failure)
            case Uncertain():
                self.doubtful(failure)
            case ServerError() if failure.status is not None:
                self.answered()

    def answered(self, seconds: float | None = None, at: datetime | None = None) -> None:
        """The server took a start, or answered otherwise as one that is well; in so many seconds where that counts, and
        `at` that instant, else just now.
        """
        self._reached(at)
        limit = self.pace.limit
        self.pace = self.pace.answered(seconds, full=bool(self._heap) and len(self._tasks) >= limit)
        self._opens_at = 0.0
        if self.pace.limit > limit:
            self._pump()

    def busy(self, failure: Unavailable | Uncertain) -> None:
        """The server is there and has no room: fewer at once, after a pause."""
        self._reached()
        self.pace = self.pace.busy()
        self._close_gate(failure)

    def doubtful(self, failure: Uncertain) -> None:
        """A start may have made a run or not: a pause where the one before it ended so too."""
        if failure.status is not None:
            self._reached()
        self.pace = self.pace.doubtful()
        if self.pace.doubts > 1:
            self._close_gate(failure)

    def away(self, failure: Unavailable) -> None:
        """The server cannot be reached: one probe at a time for all that wait, less and less often."""
        self.pace = self.pace.down()
        self._close_gate(failure)
        if self.unavailable_since is None:
            self.unavailable_since = self._now()
            self._away_from = asyncio.get_running_loop().time()
            log.error("server.unavailable", error=str(failure), waiting=self.waiting + 1)
            self.tell(Alert(kind=AlertKind.UNAVAILABLE, at=self.unavailable_since, text=str(failure)))

    def _reached(self, at: datetime | None = None) -> None:
        if self.unavailable_since is not None:
            down_for = asyncio.get_running_loop().time() - self._away_from
            self.unavailable_since = None
            log.info("server.back", down_seconds=round(down_for, 3), waiting=self.waiting)
            text = "the server is back"
            self.tell(Alert(kind=AlertKind.RECOVERED, of=AlertKind.UNAVAILABLE, at=at or self._now(), text=text))

    def _close_gate(self, failure: Unavailable | Uncertain) -> None:
        loop = asyncio.get_running_loop()
        pause = max(self.pace.pause(self._random.random()), failure.retry_after or 0)
        self._opens_at = max(self._opens_at, loop.time() + pause)
        if self._gate is not None:
            self._gate.cancel()
        self._gate = loop.call_at(self._opens_at, self._pump)

    def _pump(self) -> None:
        """Begin as many as the pace allows."""
        self._pumping = False
        while self._may_begin(beside=len(self._tasks)):
            task = asyncio.get_running_loop().create_task(self._work(self._first()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _work(self, item: T) -> None:
        """One after the other, as long as there is room: a task for each would take its time."""
        await self.do(item)
        while self._may_begin(beside=len(self._tasks) - 1):
            await self.do(self._first())

    async def do(self, item: T) -> None:
        """One attempt; its rest is done here, or put off."""
        rest = await self._begin(item)
        if rest is None:
            return
        if not self._puts_off:
            await rest()
            return
        self._rests.append(rest)
        if self._resting is None or self._resting.done():
            self._resting = asyncio.get_running_loop().create_task(self._do_rests())

    @property
    def _puts_off(self) -> bool:
        """Whether what is left of attempts waits for those that are to begin: at the full pace alone, which no answer
        could raise.
        """
        return self.hurries and self.pace.limit >= self.pace.most and len(self._rests) < _RESTS

    async def _do_rests(self) -> None:
        """What was put off, when the hurry is over or it has waited for long."""
        loop = asyncio.get_running_loop()
        while self._rests:
            latest = loop.time() + _PUT_OFF
            while self._puts_off and loop.time() < latest:  # noqa: ASYNC110 - nobody tells when the hurry ends
                await asyncio.sleep(_PUT_OFF / 10)
            for number in range(len(self._rests)):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                await self._rests[0]()
                self._rests.popleft()  # until then it counts as left

    def _first(self) -> T:
        return heapq.heappop(self._heap)[-1]

    def _may_begin(self, *, beside: int) -> bool:
        room = bool(self._heap) and not self._stopping and beside < self.pace.limit
        return room and asyncio.get_running_loop().time() >= self._opens_at

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()
