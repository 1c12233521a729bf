"""Hangs a daemon in the box on demand, so that the watchdog has something to do; the product has no such hook.

Python imports this at its start. The daemon hangs once, when a file of this name comes up in its state folder:

`hang-loop`    the whole event loop, as a call that never returns would
`hang-engine`  the engine's task alone: signals, control socket and the task that feeds the watchdog live on
"""

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path

from zendaemon.awake import Awake
from zendaemon.engine import Engine

_look = Awake.look
_decide_woken = Engine._decide_woken


def _asked(what: str) -> bool:
    file = Path(os.environ.get("STATE_DIRECTORY", "/nonexistent"), what)
    if not file.exists():
        return False
    file.unlink()
    return True


def look(self: Awake) -> datetime:
    if _asked("hang-loop"):
        time.sleep(3600)
    return _look(self)


async def decide_woken(self: Engine) -> None:
    if _asked("hang-engine"):
        await asyncio.Event().wait()
    await _decide_woken(self)


Awake.look = look  # type: ignore[method-assign]
Engine._decide_woken = decide_woken  # type: ignore[method-assign]
