"""An event loop without time of its own: it turns one callback at a time, and leaps over all waiting.

The world decides what happens beside it: when the loop would wait, the world moves on to its next event. Everything
that runs between two awaits is one step, so that a process can be killed at every await point.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from simulation.world import World

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here, as by kill -9: nothing of it runs any more."""


class SimLoop(asyncio.BaseEventLoop):
    """A process's loop. `time` is its monotonic clock: seconds since its start, without those of a suspend."""

    def __init__(self, world: World, disk: Callable[[SimLoop, Callable[[], Any]], asyncio.Future[Any]]) -> None:
        super().__init__()
        self._world = world
        self._disk = disk
        self._seconds = 0.0
        self.steps = 0
        self.kill_at: int | None = None
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self._seconds

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds

    def run_in_executor(self, _executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override] # noqa: ANN401
        """The journal's thread: its transactions take simulated time, and may fail."""
        return self._disk(self, lambda: func(*args))

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        ready = self._ready  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if self.kill_at is not None:
                raise Killed
            self._world.wait(scheduled[0]._when if scheduled else None)
        while scheduled and scheduled[0]._when <= self._seconds:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        if not ready:
            return
        handle = ready.popleft()
        if handle._cancelled:
            return
        if self.steps == self.kill_at:
            raise Killed
        self.steps += 1
        handle._run()

    def _write_to_self(self) -> None:
        """Nobody sleeps here who would have to be woken."""

    def live(self, main: Coroutine[Any, Any, None]) -> bool:
        """Run until `main` returns, or until the process is killed; whether it returned."""
        asyncio.set_event_loop(self)
        try:
            self.run_until_complete(main)
        except Killed:
            return False
        else:
            return True
        finally:
            asyncio.set_event_loop(None)
            self._bury()

    def _bury(self) -> None:
        """Close what is left without a word and without letting it act: the world does not listen any more."""
        self.set_exception_handler(lambda *_: None)
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            try:
                task.get_coro().close()  # type: ignore[union-attr]
            except (RuntimeError, Killed):
                continue
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()
