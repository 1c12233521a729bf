"""What is going on for each schedule: claims in hand, active runs, runs to come, and how many runs there were."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from zendaemon.core.fire import FireState
from zendaemon.core.run import TERMINAL
from zendaemon.core.trigger import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule

_Fires = defaultdict[str, dict[tuple["datetime", bool], "Fire"]]


class Activity:
    """Told of every claim, start and end of a run; asked by the planner.

    What is known of runs is what the server said of them last; who needs the truth of this moment asks the server.
    """

    def __init__(self) -> None:
        self._open: _Fires = defaultdict(dict)
        self._running: _Fires = defaultdict(dict)
        self._failed: _Fires = defaultdict(dict)
        self._runs: Counter[str] = Counter()
        self._held: dict[str, Schedule] = {}

    def claimed(self, fire: Fire) -> bool:
        """Whether this claim was not known yet. It may be one for another run, after one that failed."""
        if _take(self._failed, fire) and fire.schedule in self._runs:
            self._runs[fire.schedule] -= not fire.manual  # it is counted among the claims
        known = _key(fire) in self._open[fire.schedule]
        self._open[fire.schedule][_key(fire)] = fire
        return not known

    def closed(self, fire: Fire) -> None:
        _take(self._open, fire)
        if fire.state is FireState.STARTED:
            if fire.schedule in self._runs:
                self._runs[fire.schedule] += not fire.manual
            if fire.run_status not in TERMINAL:
                self.running(fire)

    def running(self, fire: Fire) -> None:
        self._running[fire.schedule][_key(fire)] = fire

    def ended(self, fire: Fire) -> None:
        """Its run is not active any more; where `retry_at` is set another one follows."""
        _take(self._running, fire)
        if fire.retry_at is not None:
            self._failed[fire.schedule][_key(fire)] = fire

    def given_up(self, fire: Fire) -> None:
        """No other run follows the one that failed."""
        _take(self._failed, fire)

    def uncounted(self, schedules: Iterable[Schedule]) -> list[str]:
        """Those whose runs `max_runs` counts from now on, and of which nobody told yet how many there were."""
        return [schedule.name for schedule in schedules if schedule.max_runs and schedule.name not in self._runs]

    def count(self, names: Iterable[str], runs: Mapping[str, int]) -> None:
        """How many runs these had till now; none where `runs` does not say."""
        self._runs.update({name: runs.get(name, 0) for name in names})

    def claims(self, name: str) -> list[Fire]:
        """The fires that are in hand."""
        return list(self._open.get(name, {}).values())

    def active(self, name: str) -> list[Fire]:
        """The fires whose runs are active, as far as is known."""
        return list(self._running.get(name, {}).values())

    def ends(self, schedule: Schedule) -> datetime:
        """When the last of a schedule's active runs counts no more for `overlap`; long ago where there is none."""
        if schedule.name not in self._running:
            return EPOCH
        begun = (fire.decided_at or fire.fire_time for fire in self.active(schedule.name))
        return max((at + schedule.overlap_timeout for at in begun), default=EPOCH)

    def failed(self, name: str) -> list[Fire]:
        """The fires whose run failed and that another one is to follow."""
        return list(self._failed.get(name, {}).values())

    def will_run(self, name: str) -> bool:
        """Whether a fire is in hand, or another run is to follow one that failed."""
        return name in self._open or name in self._failed

    def hold(self, schedule: Schedule) -> list[Fire]:
        """A fire waits for active runs to end, but no longer than `overlap_timeout`; which these are."""
        self._held[schedule.name] = schedule
        return self.active(schedule.name)

    def waited_for(self, fire: Fire) -> list[Fire]:
        """The fire itself, where another one waits for its run to end."""
        return [fire] if fire.schedule in self._held else []

    def let_go(self, name: str) -> bool:
        """Whether a fire of a schedule waited."""
        return self._held.pop(name, None) is not None

    @property
    def may_lapse(self) -> bool:
        """Whether any fire is in hand, or waits for a run that is active."""
        return bool(self._open or self._held)

    def lapse(self, now: datetime) -> list[str]:
        """The schedules with a fire that has waited long enough: for what is active now, which may have begun since."""
        over = [name for name, it in self._held.items() if not self.will_run(name) and self.ends(it) <= now]
        return [name for name in over if self.let_go(name)]

    def runs(self, name: str) -> int:
        """How many runs there were, the claims in hand among them; manual ones do not count."""
        return self._runs[name] + sum(not fire.manual for fire in self.claims(name))


def _key(fire: Fire) -> tuple[datetime, bool]:
    return fire.fire_time, fire.manual


def _take(fires: _Fires, fire: Fire) -> bool:
    """Take a fire out, and no empty entry stays; whether it was there."""
    of_schedule = fires.get(fire.schedule, {})
    found = of_schedule.pop(_key(fire), None) is not None
    if not of_schedule:
        fires.pop(fire.schedule, None)
    return found
