"""When the engine turns: when it is woken, else once in TICK, and where nothing is to come soon once in REST.

A turn of an event loop after a pause costs many times what it costs in a row, since its code and data have left the
processor's caches. In a rest the selector, which the loop waits in, looks at the clocks in its place: a fifth of the
code.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import TYPE_CHECKING

from zendaemon.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.9
"""Seconds between two looks at the clocks: what is due after a jump is to start within a second."""
REST = 30.0


class Turns:
    """`calm` tells whether the engine may rest: nothing that the time alone brings comes within REST, and something
    else looks at the clocks. Whatever may change that in a rest has to `hasten` the next turn.

    `beat` is the monotonic second of the last turn; in a rest, that at which another one would be due.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._woken = asyncio.Event()
        self.calm: Callable[[], bool] = lambda: False
        self.beat = monotonic()

    def hasten(self) -> None:
        self._woken.set()

    def turned(self) -> None:
        self.beat = self._monotonic()

    async def next(self) -> None:
        """Wait for the next turn."""
        seconds = REST if self.calm() else TICK
        timer = asyncio.get_running_loop().call_later(seconds, self._woken.set)
        self.beat = self._monotonic() + seconds - TICK
        await self._woken.wait()
        timer.cancel()
        self._woken.clear()
        self.turned()


class GlancingSelector(selectors.DefaultSelector):
    """Waits for what an event loop waits for, and calls `glance` once in TICK; if that is true, the loop turns."""

    def __init__(self) -> None:
        super().__init__()
        self.glance: Callable[[], bool] = lambda: False
        self._glance_at = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As BaseSelector.select."""
        end = math.inf if timeout is None else monotonic() + timeout
        while True:
            now = monotonic()
            if now >= self._glance_at:
                self._glance_at = now + TICK
                if self.glance():
                    end = now
            found = super().select(max(0.0, min(end, self._glance_at) - now))
            if found or monotonic() >= end:
                return found
