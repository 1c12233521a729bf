"""A stand-in server that lives apart from the tests, and a seeded die that gives its requests every kind of fault."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from standin.server import (
    CUT_SHORT_AFTER,
    ERROR,
    ERROR_AFTER,
    HTML,
    NO_SLOT,
    RESET,
    RESET_AFTER,
    ROUTES,
    TOO_BUSY_AFTER,
    Fault,
    StandIn,
    down,
    slow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from standin.server import Arrival

GONE, EXPIRED, STALE = "refused connections", "expired token", "stale id"
"""Kinds that change the server, so that what it then does to the request is its own answer."""
STARTS: Mapping[str, Fault] = {
    "reset before": RESET,
    "reset after": RESET_AFTER,
    "slow": slow(1.0),
    "late": Fault(200, created=True, late=0.5),
    "500 before": ERROR,
    "500 after": ERROR_AFTER,
    "429 no slot": NO_SLOT,
    "429 too busy after": TOO_BUSY_AFTER,
    "503 with Retry-After": down(1),
    "truncated JSON after": CUT_SHORT_AFTER,
    "HTML 200": HTML,
    "HTML 200 after": Fault(HTML.status, HTML.body, created=True),
}
QUESTIONS: Mapping[str, Fault] = {
    "question: reset": RESET,
    "question: reset after": RESET_AFTER,
    "question: slow": slow(0.5),
    "question: 500": ERROR,
    "question: 503": down(1),
    "question: truncated JSON": Fault(200, "{"),
    "question: HTML 200": HTML,
}
_STALE_SPACING = 5.0
"""Seconds between two changes of the id: a fire may meet a stale one once."""
_LOOK_UP = 1.5
"""Seconds after a question for the id in which it does not change."""


class Dice:
    """Draws the fault of each request of a server from a seed; `met` counts the kinds."""

    def __init__(self, server: StandIn, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._stale_from = 0.0
        self._expired: set[str] = set()
        self._away: asyncio.Task[None] | None = None
        self.met: Counter[str] = Counter()

    def draw(self, arrival: Arrival) -> Fault | None:
        """Every second start meets something, and every seventh question or login."""
        if ROUTES[self._server.version][0] in arrival.path and not arrival.is_start:
            self._stale_from = max(self._stale_from, arrival.at + _LOOK_UP)
        kinds = STARTS if arrival.is_start else QUESTIONS
        if self._random.random() > (1 / 2 if arrival.is_start else 1 / 7):
            return None
        kind = self._random.choice([*kinds, GONE, EXPIRED, STALE] if arrival.is_start else [*kinds])
        if not self._happens(kind, arrival):
            return None
        self.met[kind] += 1
        return kinds.get(kind)

    def _happens(self, kind: str, arrival: Arrival) -> bool:
        """Whether it can be now; a token twice refused for one start would rightly cost it a minute."""
        if kind == EXPIRED:
            key = arrival.headers["idempotency-key"]
            if key in self._expired:
                return False
            self._expired.add(key)
            self._server.expire_tokens()
        elif kind == STALE:
            if arrival.at < self._stale_from:
                return False
            self._stale_from = arrival.at + _STALE_SPACING
            self._server.make_stale()
        elif kind == GONE:
            if self._away is not None and not self._away.done():
                return False
            self._away = asyncio.get_running_loop().create_task(self._go_away(self._random.uniform(0.2, 1)))
        return True

    async def _go_away(self, seconds: float) -> None:
        await self._server.refuse()
        await asyncio.sleep(seconds)
        await self._server.listen()


class Apart:
    """A stand-in in a thread and a loop of its own, so that nothing a test does holds it up; a context manager."""

    def __init__(self, server: StandIn) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._listening, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._server:
            self._listening.set()
            await self._stop.wait()

    def refuse(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.refuse(), self._loop).result(10)

    def listen(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.listen(), self._loop).result(10)

    def do(self, act: Callable[[], object]) -> None:
        """Do something to the server between two of its requests."""
        done = threading.Event()

        def wrapped() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(wrapped)
        assert done.wait(10)
