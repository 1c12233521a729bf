"""What happens in one seed: the week, the schedules and their changes, and the mishaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from simulation.fires import CRONS, EXCLUDED_CRONS, ZONES

from zendaemon.core.schedule import Schedule, ScheduleSet

if TYPE_CHECKING:
    from collections.abc import Mapping

WEEK = 7 * 86400.0
CALM = 4 * 3600.0
"""At the end nothing goes wrong for so long: whatever is to be started is started then."""
VERSIONS = ("0.62.0", "0.75.0", "0.98.0")
TARGETS: Mapping[str, Mapping[str, str]] = {
    "0.62.0": {"pipeline": "training", "version": "45"},
    "0.75.0": {"template": "training-prod"},
    "0.98.0": {"snapshot": "training-prod"},
}
BEGINNINGS = (
    "2026-03-27T10:00",  # summer time begins in Europe
    "2026-10-23T05:00",  # and ends
    "2026-03-05T12:00",  # the same in America
    "2026-10-29T00:00",
    "2026-04-02T00:00",  # and on Lord Howe, by half an hour
    "2026-10-01T00:00",
    "2026-06-15T00:00",
    "2026-12-28T06:00",
    "2028-02-25T00:00",
)
NETWORK = (
    *("refused", "connect timeout", "lost before", "lost after", "answer withheld", "lost, and late", "slow"),
    *("duplicated", "500", "500 after", "503", "429 too busy", "429 with Retry-After", "token expired"),
    *("half an answer", "HTML", "redirect", "no slot"),
)
POISONED_STARTS = ("lost before", "lost after", "answer withheld", "500", "500 after", "503", "half an answer", "HTML")
POISONED_QUESTIONS = (
    "answer withheld",
    "answer withheld",
    "500",
    "503",
    "answer withheld",
    "HTML",
    "redirect",
    "half an answer",
)
OUTAGES = ("refused", "503", "answer withheld", "500", "HTML")


@dataclass(frozen=True, slots=True)
class Trouble:
    """From `begin` to `end`, in seconds, each of these kinds happens, to a share `rate` of what could suffer it."""

    begin: float
    end: float
    kinds: tuple[str, ...]
    rate: float


@dataclass(frozen=True, slots=True)
class Poison:
    """From `begin` to `end` these befall starts of one schedule's runs and look-ups of them by name, and no others."""

    begin: float
    end: float
    schedule: str
    start: str
    question: str
    rate: float


@dataclass(frozen=True, slots=True)
class Failing:
    """From `begin` to `end` a share `rate` of the runs fails, of one schedule, or of all where that is empty."""

    begin: float
    end: float
    schedule: str
    rate: float


@dataclass(frozen=True, slots=True)
class Reload:
    at: float
    schedules: ScheduleSet


@dataclass(frozen=True, slots=True)
class Event:
    """`what` with its number of seconds, at a moment; `schedule` where it is about one."""

    at: float
    what: str
    seconds: float = 0.0
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that is decided before the first step. The first of `reloads` is the set that the daemon starts with."""

    seed: int
    version: str
    begin: datetime
    reloads: tuple[Reload, ...]
    troubles: tuple[Trouble, ...]
    events: tuple[Event, ...]
    kills: int
    kill_every: float
    end: float
    poison: Poison | None = None
    failing: tuple[Failing, ...] = ()

    @property
    def calm_from(self) -> float:
        return self.end - CALM

    def trouble_at(self, seconds: float) -> Trouble | None:
        return next((trouble for trouble in self.troubles if trouble.begin <= seconds < trouble.end), None)

    def fails_at(self, schedule: str, seconds: float) -> float:
        """The share of a schedule's runs that fail when they begin then, beside what fails anyway."""
        return max(
            (it.rate for it in self.failing if it.begin <= seconds < it.end and it.schedule in ("", schedule)),
            default=0.0,
        )

    def troubles_of(self, schedule: str) -> list[Trouble]:
        """What a schedule has to bear, in order: what all have, and what befalls its names alone."""
        poison = self.poison
        if poison is None or poison.schedule != schedule:
            return list(self.troubles)
        alone = Trouble(poison.begin, poison.end, (poison.start, poison.question), poison.rate)
        return sorted([*self.troubles, alone], key=lambda trouble: trouble.begin)

    def schedules_at(self, seconds: float) -> ScheduleSet:
        """What the files say then."""
        return next(reload.schedules for reload in reversed(self.reloads) if reload.at <= seconds)


def scenario(seed: int) -> Scenario:
    draw = Random(seed)  # noqa: S311 - a simulation
    late = Random(seed ^ 0xFADE)  # noqa: S311 - for what was thought of later, so that a seed stays what it was
    version = draw.choice(VERSIONS)
    begin = datetime.fromisoformat(draw.choice(BEGINNINGS)).replace(tzinfo=UTC)
    clock = draw.random() < 0.4
    events = [*_server_events(draw), *(_clock_events(draw) if clock else ())]
    back = sum(event.seconds for event in events if event.what == "step")
    end = WEEK + CALM + max(0.0, -back) + 6 * 3600
    found = Scenario(
        seed=seed,
        version=version,
        begin=begin,
        reloads=_reloads(draw, late, version, begin),
        troubles=_troubles(draw),
        events=tuple(sorted(events, key=lambda event: event.at)),
        kills=draw.choice([0, 5, 15, 30]),
        kill_every=draw.choice([10, 40, 150]),
        end=end,
        poison=_poison(late),
    )
    pauses = _pauses(Random(seed ^ 0xAB1EA), found)  # noqa: S311 - of its own, for the same reason
    found = replace(found, events=tuple(sorted([*events, *pauses], key=lambda event: event.at)))
    follows = Random(seed ^ 0xF0110)  # noqa: S311 - the same
    return _with_what_follows(follows, found) if follows.random() < 0.6 else found


def _moment(draw: Random) -> float:
    return draw.uniform(3600, WEEK)


def _server_events(draw: Random) -> list[Event]:
    found = [Event(_moment(draw), "server restart") for _ in range(draw.choice([0, 0, 1, 3]))]
    found += [Event(_moment(draw), "ids go stale") for _ in range(draw.choice([0, 0, 1, 2]))]
    found += [Event(_moment(draw), "a run is deleted") for _ in range(draw.choice([0, 2, 5]))]
    found += [Event(_moment(draw), "a name is taken") for _ in range(draw.choice([0, 1, 3]))]
    found += [Event(_moment(draw), "stop", draw.choice([1, 60, 3000, 40_000])) for _ in range(draw.choice([0, 1, 3]))]
    found += [Event(_moment(draw), "fire by hand") for _ in range(draw.choice([0, 2, 6]))]
    found += [
        Event(_moment(draw), "suspend", draw.choice([30, 4000, 30_000])) for _ in range(draw.choice([0, 0, 1, 2]))
    ]
    return found


def _clock_events(draw: Random) -> list[Event]:
    sizes = [2, 40, 900, 3600, 20_000]
    return [
        Event(_moment(draw), "step", draw.choice((-1, 1)) * draw.choice(sizes) * draw.uniform(0.5, 1))
        for _ in range(draw.choice([1, 2, 5]))
    ]


def _troubles(draw: Random) -> tuple[Trouble, ...]:
    """Storms, in which anything may happen to a request, and outages, in which the same happens to all of them."""
    found = []
    at = draw.uniform(0, 40_000)
    while at < WEEK:
        storm = draw.random() < 0.7
        if storm:
            kinds = tuple(draw.sample(NETWORK, draw.randint(2, len(NETWORK))))
            rate, length = draw.choice([0.1, 0.4, 0.8]), draw.choice([600, 7200, 40_000])
        else:
            kinds, rate = (draw.choice(OUTAGES),), 1.0
            length = draw.choice([180, 180, 3600, 3600, 20_000, 86_400])
        if draw.random() < 0.3:
            kinds = (*kinds, "disk")
        found.append(Trouble(at, min(WEEK, at + length), kinds, rate))
        at += length + draw.uniform(3600, 100_000)
    return tuple(found)


def _poison(draw: Random) -> Poison | None:
    if draw.random() >= 0.35:
        return None
    begin = draw.uniform(0, WEEK - 3600)
    end = min(WEEK, begin + draw.choice([7200, 40_000, 200_000]))
    schedule = f"s{draw.choice([0, 0, 1, 2, 3])}"
    return Poison(
        begin, end, schedule, draw.choice(POISONED_STARTS), draw.choice(POISONED_QUESTIONS), draw.choice([0.5, 1])
    )


def _pauses(draw: Random, found: Scenario) -> list[Event]:
    """What an operator has in mind: some schedules are to start nothing for a time, and then to go on."""
    if draw.random() >= 0.4:
        return []
    names = sorted({name for reload in found.reloads for name in reload.schedules.schedules})
    events = []
    for _ in range(draw.choice([1, 2, 4, 8])):
        name = draw.choice(names)
        at = min(max(60.0, _pause_moment(draw, found, name)), WEEK)
        length = draw.choice([0, 0, 0, 600, 10_000, 80_000]) * draw.uniform(0.5, 1)
        events.append(Event(at, "pause", length, name))
        if draw.random() < 0.35:
            again = at + draw.choice([1, 300, 5000, 40_000]) * draw.uniform(0.5, 1)
            length = draw.choice([0, 0, 600, 10_000, 80_000]) * draw.uniform(0.5, 1)
            events.append(Event(min(again, WEEK), "pause", length, name))
        if draw.random() < (0.4 if length else 0.85):
            over = at + draw.choice([1, 60, 3000, 20_000, 100_000]) * draw.uniform(0.5, 1)
            events.append(Event(min(over, WEEK + 3600), "resume", 0.0, name))
    return events


def _pause_moment(draw: Random, found: Scenario, name: str) -> float:
    """Any; or while something goes wrong; or about a start of this schedule; or beside something else that happens."""
    at, kind = _moment(draw), draw.random()
    if kind < 0.3 and found.troubles:
        trouble = draw.choice(found.troubles)
        return draw.uniform(trouble.begin, trouble.end)
    schedule = found.schedules_at(at).schedules.get(name)
    if kind < 0.6 and schedule is not None:
        soon = schedule.next_after(found.begin + timedelta(seconds=at))
        if soon is not None:
            return (soon + schedule.delay - found.begin).total_seconds() + draw.uniform(-2, draw.choice([0, 5, 90]))
    others = [*(reload.at for reload in found.reloads[1:]), *(event.at for event in found.events)]
    return draw.choice(others) + draw.uniform(-20, 20) if kind < 0.75 and others else at


def _exclude(draw: Random, day: date) -> list[str]:
    kind = draw.random()
    if kind < 0.5:
        return [str(day)]
    return [f"{day}/{day + timedelta(days=2)}"] if kind < 0.75 else [str(day), draw.choice(EXCLUDED_CRONS)]


def _reloads(draw: Random, late: Random, version: str, begin: datetime) -> tuple[Reload, ...]:
    names = [f"s{number}" for number in range(draw.randint(1, 6))]
    now = {name: _schedule(draw, late, name, version, begin) for name in names}
    found = [Reload(0.0, ScheduleSet(dict(now)))]
    moments = sorted(_moment(draw) for _ in range(draw.choice([0, 1, 3, 8])))
    for moment in moments:
        for name in draw.sample(names, draw.randint(1, len(names))):
            kind = draw.random()
            if name not in now or kind < 0.3:
                now[name] = _schedule(draw, late, name, version, begin)
            elif kind < 0.5:
                del now[name]
            elif kind < 0.75:
                now[name] = now[name].model_copy(update={"enabled": not now[name].enabled})
            else:
                now[name] = _anew(now[name], catchup=draw.choice(["none", "latest", "all"]))
        found.append(Reload(moment, ScheduleSet(dict(now))))
    return tuple(found)


def _anew(schedule: Schedule, **keys: Any) -> Schedule:  # noqa: ANN401
    return Schedule.model_validate({**schedule.model_dump(exclude_unset=True), **keys})


def _schedule(draw: Random, late: Random, name: str, version: str, begin: datetime) -> Schedule:
    keys: dict[str, Any] = {"name": name, **TARGETS[version]}
    kind = draw.random()
    if kind < 0.6:
        keys |= {"cron": draw.choice(CRONS), "timezone": draw.choice(ZONES)}
    elif kind < 0.85:
        keys["every"] = draw.choice(["45m", "2h", "6h", "1d", "100m"])
    elif kind < 0.93:  # a burst
        start = begin + timedelta(seconds=draw.uniform(3600, WEEK - 3600))
        keys |= {"every": "1m", "start_time": start.replace(microsecond=0)}
        keys["end_time"] = keys["start_time"] + timedelta(minutes=draw.choice([10, 40]))
    else:
        keys["at"] = [(begin + timedelta(seconds=_moment(draw))).replace(microsecond=0) for _ in range(4)]
    keys |= {
        "catchup": draw.choice(["none", "latest", "all"]),
        "catchup_window": draw.choice(["5m", "1h", "1h", "6h"] if draw.random() < 0.9 else ["30h"]),
        "overlap": draw.choice(["allow", "allow", "skip", "buffer_one"]),
        "priority": draw.choice([0, 50, 50, 100]),
        "retry": {"initial_delay": "1s", "max_delay": draw.choice(["5m", "1h"])},
    }
    if draw.random() < 0.2:
        keys["jitter"] = draw.choice(["30s", "20m"])
    if draw.random() < 0.1:
        keys["retry"]["max_attempts"] = draw.choice([1, 3])
    if draw.random() < 0.1:
        keys["max_runs"] = draw.choice([1, 5, 20])
    if draw.random() < 0.1:
        keys["exclude"] = _exclude(late, (begin + timedelta(days=draw.randint(0, 6))).date())
    return Schedule.model_validate(keys)


def _with_what_follows(draw: Random, found: Scenario) -> Scenario:
    """The same with keys about runs: whose overlap counts, and how long; what follows failures; what waits for what."""
    keys: dict[tuple[str, object], dict[str, Any]] = {}
    made: dict[tuple[int, tuple[str, ...]], Schedule] = {}
    reloads = []
    for reload in found.reloads:
        names = sorted(reload.schedules.schedules)
        schedules = {}
        for name, schedule in reload.schedules.schedules.items():
            of = (name, schedule.trigger)
            if of not in keys or draw.random() < 0.05:
                keys[of] = _what_follows(draw, found.version, schedule, [other for other in names if other < name])
            others = tuple(other for other in keys[of].get("depends_on", ()) if other in names)
            same = id(schedule), others
            if same not in made:
                made[same] = _anew(schedule, **keys[of] | {"depends_on": list(others)})
            schedules[name] = made[same]
        reloads.append(Reload(reload.at, ScheduleSet(schedules)))
    pausing = {name for it in reloads for name, one in it.schedules.schedules.items() if one.pause_after_failures}
    resumes = [Event(_moment(draw), "resume", 0.0, name) for name in sorted(pausing) for _ in range(draw.randint(1, 8))]
    found = replace(found, reloads=tuple(reloads), failing=tuple(_failing(draw)))
    events = [*found.events, *resumes, *_pauses_of_next_runs(draw, found)]
    return replace(found, events=tuple(sorted(events, key=lambda event: event.at)))


def _pauses_of_next_runs(draw: Random, found: Scenario) -> list[Event]:
    """What an operator does who sees runs fail: pause the schedule, while another one is to follow or has begun."""
    again = {name for it in found.reloads for name, one in it.schedules.schedules.items() if one.on_run_failure}
    events: list[Event] = []
    for name in sorted(again):
        if draw.random() >= 0.25:
            continue
        for _ in range(draw.randint(1, 4)):
            broken = [it for it in found.failing if it.schedule in ("", name)]
            at = draw.uniform(broken[0].begin, broken[0].end) if broken else _moment(draw)
            schedule = found.schedules_at(at).schedules.get(name)
            soon = schedule.next_after(found.begin + timedelta(seconds=at)) if schedule is not None else None
            if schedule is not None and soon is not None:  # its run fails soon, or is to be followed by another
                at = (soon + schedule.delay - found.begin).total_seconds() + draw.choice([30, 700, 1500, 9000])
            length = draw.choice([0.5, 2, 6]) * 3600
            events += [
                Event(min(at, WEEK), "pause", 0.0, name),
                Event(min(at + length, WEEK + 3600), "resume", 0.0, name),
            ]
    return events


def _what_follows(draw: Random, version: str, schedule: Schedule, others: list[str]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    overlap = schedule.overlap.value
    if version == "0.98.0" and draw.random() < 0.4:
        overlap = keys["overlap"] = "cancel_running"
    if overlap in ("skip", "buffer_one") and draw.random() < 0.2:
        keys |= {"overlap_scope": "pipeline", "overlap_timeout": draw.choice(["30m", "2h", "6h"])}
    elif draw.random() < 0.4:
        keys["overlap_timeout"] = draw.choice(["10m", "1h", "6h", "2d"])
    if draw.random() < 0.45:
        keys["on_run_failure"] = {"retry_run": draw.choice([1, 2, 3]), "delay": draw.choice(["0s", "1m", "30m", "3h"])}
    if draw.random() < 0.3:
        keys["pause_after_failures"] = draw.choice([1, 2, 3])
    if others and draw.random() < 0.3:
        keys["depends_on"] = draw.sample(others, min(len(others), draw.choice([1, 1, 2])))
        keys["only_if_last_succeeded"] = draw.random() < 0.6
    return keys


def _failing(draw: Random) -> list[Failing]:
    """Times when what is run is broken."""
    found = []
    for _ in range(draw.choice([0, 1, 1, 3])):
        begin = draw.uniform(0, WEEK)
        schedule = draw.choice(["", "", "s0", "s1", "s2"])
        found.append(Failing(begin, begin + draw.choice([10_000, 50_000, 200_000]), schedule, draw.choice([0.6, 1.0])))
    return found
