"""What is going on for each schedule: claims in hand, active runs, and how many runs there were."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from zendaemon.core.fire import FireState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from zendaemon.core.fire import Fire
    from zendaemon.core.schedule import Schedule


class Activity:
    """Told of every claim, start and end of a run; asked by the planner."""

    def __init__(self) -> None:
        self._open: defaultdict[str, dict[tuple[datetime, bool], Fire]] = defaultdict(dict)
        self._running: defaultdict[str, set[str]] = defaultdict(set)
        self._runs: Counter[str] = Counter()

    def claimed(self, fire: Fire) -> bool:
        """Whether this claim was not known yet."""
        fires, key = self._open[fire.schedule], (fire.fire_time, fire.manual)
        known = key in fires
        fires[key] = fire
        return not known

    def closed(self, fire: Fire) -> None:
        fires = self._open[fire.schedule]
        fires.pop((fire.fire_time, fire.manual), None)
        if not fires:
            del self._open[fire.schedule]
        if fire.state is FireState.STARTED:
            if fire.schedule in self._runs:
                self._runs[fire.schedule] += not fire.manual
            self.running(fire)

    def running(self, fire: Fire) -> None:
        self._running[fire.schedule].add(fire.run_id or "")

    def ended(self, fire: Fire) -> None:
        self._running[fire.schedule].discard(fire.run_id or "")
        if not self._running[fire.schedule]:
            del self._running[fire.schedule]

    def uncounted(self, schedules: Iterable[Schedule]) -> list[str]:
        """Those whose runs `max_runs` counts from now on, and of which nobody told yet how many there were."""
        return [schedule.name for schedule in schedules if schedule.max_runs and schedule.name not in self._runs]

    def count(self, names: Iterable[str], runs: Mapping[str, int]) -> None:
        """How many runs these had till now; none where `runs` does not say."""
        self._runs.update({name: runs.get(name, 0) for name in names})

    def active(self, name: str) -> bool:
        """Whether a claim is open or a run is active."""
        return bool(self._open.get(name) or self._running.get(name))

    def runs(self, name: str) -> int:
        """How many runs there were, the claims in hand among them; manual ones do not count."""
        return self._runs[name] + sum(not fire.manual for fire in self._open.get(name, {}).values())
