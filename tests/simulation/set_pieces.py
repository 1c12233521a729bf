"""Two histories that are not left to chance: a server that is away for a day, and a daemon that is down for one.

`python -m simulation.set_pieces` prints what became of every schedule, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulation.oracle import violations
from simulation.run import live_through
from simulation.scenario import TARGETS, Event, Reload, Scenario, Trouble

from zendaemon.core.schedule import Schedule, ScheduleSet

if TYPE_CHECKING:
    from simulation.process import Disk
    from simulation.world import World

_HOUR = 3600.0
_DAY = 24 * _HOUR


def outage() -> dict[str, Any]:
    """The server cannot be reached for a day, from the second hour on."""
    schedules = [
        _schedule("patient", cron="0 * * * *", catchup_window="30h"),
        _schedule("quarterly", cron="*/15 * * * *", catchup_window="2h"),
        _schedule("hasty", cron="30 * * * *", catchup_window="10m"),
    ]
    away = Trouble(2 * _HOUR, 2 * _HOUR + _DAY, ("refused",), 1.0)
    return _told(*_live(schedules, (away,), ()), since=away.end)


def downtime() -> dict[str, Any]:
    """Nobody starts the daemon for a day; once it is back, there is a schedule that is on time beside its catch-up."""
    schedules = [
        _schedule(f"minutely-{catchup}", cron="* * * * *", catchup=catchup, catchup_window="2d")
        for catchup in ("none", "latest", "all")
    ]
    schedules.append(_schedule("on-time", cron="*/5 * * * *", catchup="none"))
    down = Event(2 * _HOUR, "stop", _DAY)
    return _told(*_live(schedules, (), (down,)), since=down.at + down.seconds)


def _schedule(name: str, **keys: object) -> Schedule:
    return Schedule.model_validate({"name": name, **TARGETS["0.75.0"], **keys})


def _live(
    schedules: list[Schedule], troubles: tuple[Trouble, ...], events: tuple[Event, ...]
) -> tuple[World, Disk, list[str]]:
    loaded = ScheduleSet({schedule.name: schedule for schedule in schedules})
    begin = datetime(2026, 6, 15, tzinfo=UTC)
    end = 31 * _HOUR if events else 2 * _DAY
    return live_through(Scenario(1, "0.75.0", begin, (Reload(0.0, loaded),), troubles, events, 0, 1e9, end))


def _told(world: World, disk: Disk, errors: list[str], *, since: float) -> dict[str, Any]:
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, state, reason in disk.raw.execute("select schedule, state, reason from fires"):
        states[name][f"{state}: {reason}" if reason else state] += 1
    after = [true - since for true, _, _, _ in world.requests if true >= since]
    query = "select max(lateness_seconds) from fires where schedule = 'on-time' and fire_time > ?"
    [late] = disk.raw.execute(query, [world.instant(since).replace(tzinfo=None).isoformat(" ")]).fetchone()
    return {
        "violations": [*errors, *violations(world, disk.raw)],
        "rows": {name: dict(counts) for name, counts in states.items()},
        "refused": world.faults["refused"],
        "most_in_flight": world.most_in_flight,
        "first_start_after": min(after),
        "starts_in_the_first_second": sum(seconds - min(after) < 1 for seconds in after),
        "starts_in_the_first_minute": sum(seconds - min(after) < 60 for seconds in after),
        "latest_on_time": late,
    }


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation.set_pieces"])  # noqa: S606 - ourselves
    print(json.dumps({"outage": outage(), "downtime": downtime()}, indent=2))
