"""A fire: one (schedule, fire time), its states, its key, and the name and config of its run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid5

from zendaemon.core.run import TERMINAL
from zendaemon.core.template import render, stamp

if TYPE_CHECKING:
    from pydantic import JsonValue

    from zendaemon.core.schedule import Schedule

NAMESPACE = UUID("8f0e5a52-6a0c-5bb5-9d5e-2f1c7a3f4e11")
MAX_RUN_NAME = 255


class FireState(StrEnum):
    """`claimed` is the only state that is not final."""

    CLAIMED = "claimed"
    STARTED = "started"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"


class Reason(StrEnum):
    """Why a fire did not become a run."""

    OVERLAP = "overlap"
    EXCLUDED = "excluded"
    MAX_RUNS = "max_runs"
    PAUSED = "paused"
    DEPENDENCY = "dependency"
    CONDITION = "condition"
    CATCHUP_NONE = "catchup_none"
    CATCHUP_LATEST = "catchup_latest"
    CATCHUP_WINDOW = "catchup_window"
    REMOVED = "removed"
    UNRESOLVED = "unresolved"
    UNAUTHORIZED = "unauthorized"
    REJECTED = "rejected"
    NAME_TAKEN = "name_taken"
    RETRIES_EXHAUSTED = "retries_exhausted"


TRANSITIONS: dict[FireState, frozenset[FireState]] = {
    FireState.CLAIMED: frozenset({FireState.STARTED, FireState.FAILED, FireState.SKIPPED, FireState.MISSED}),
    FireState.STARTED: frozenset({FireState.CLAIMED}),  # for another run, after one that failed
    FireState.FAILED: frozenset(),
    FireState.SKIPPED: frozenset(),
    FireState.MISSED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun:
    """A run of a fire that failed, and that another one was started after. Instants as those of Fire."""

    run_id: str
    run_name: str
    run_status: str
    run_started_at: datetime | None
    run_ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Fire:
    """A row of the journal. All instants are aware UTC.

    `through` is set on a `missed` or `skipped` row that stands for every fire time of `rule` (a trigger as JSON) from
    `fire_time` to `through`. `lateness_seconds` is the start of the first attempt minus the fire time.
    `run_started_at` and `run_ended_at` are by the server's clock; where it does not tell the end, by ours when we saw
    it. The end is never before the start. `earlier_runs` are those that failed before `run_id`, the first one first;
    at `retry_at` the next one is due.
    """

    schedule: str
    fire_time: datetime
    manual: bool = False
    state: FireState = FireState.CLAIMED
    reason: Reason | None = None
    message: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    run_status: str | None = None
    attempts: int = 0
    lateness_seconds: float | None = None
    claimed_at: datetime | None = None
    decided_at: datetime | None = None
    project: str | None = None
    through: datetime | None = None
    rule: str | None = None
    run_started_at: datetime | None = None
    run_ended_at: datetime | None = None
    earlier_runs: tuple[EarlierRun, ...] = ()
    retry_at: datetime | None = None

    @property
    def key(self) -> UUID:
        return fire_key(self.schedule, self.fire_time, manual=self.manual)

    @property
    def start_key(self) -> UUID:
        """What a start is sent with as its idempotency key: each run of the fire has its own."""
        return uuid5(self.key, str(len(self.earlier_runs))) if self.earlier_runs else self.key

    @property
    def followed(self) -> bool:
        """Whether it has a run that is active, or of whose end nothing is known yet but that it has ended."""
        return self.state is FireState.STARTED and (self.run_status not in TERMINAL or self.run_ended_at is None)

    @property
    def final(self) -> bool:
        return self.state is not FireState.CLAIMED


_NAMES = frozenset(field.name for field in fields(Fire))


def changed(fire: Fire, **values: object) -> Fire:
    """A copy with some values changed, in a fraction of the time of dataclasses.replace: each step of a fire makes one.

    Raises TypeError for a name that is none of Fire's.
    """
    if not values.keys() <= _NAMES:
        raise TypeError(f"a fire has no {sorted(values.keys() - _NAMES)}")
    made = object.__new__(Fire)
    made.__dict__.update(fire.__dict__, **values)
    return made


def instant_text(instant: datetime) -> str:
    """An instant as every output shows it: 2026-11-23T02:00:00Z, with a fraction only where there is one."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=4096)  # one fire asks several times
def fire_key(schedule: str, fire_time: datetime, *, manual: bool = False) -> UUID:
    """The stable UUID of a fire: the same in every process, on every machine, after every restart."""
    return uuid5(NAMESPACE, f"{schedule}|{fire_time.astimezone(UTC).isoformat()}{'|manual' if manual else ''}")


def run_name(schedule: Schedule, fire_time: datetime, *, manual: bool = False) -> str:
    """The name of the fire's run, which the server keeps unique: `nightly-20261123T020000Z`.

    `config.run_name` is the user's own template for it. Raises ValueError when that template cannot be used.
    """
    template = schedule.config.get("run_name")
    if template is None:
        return f"{schedule.name}{'-manual' if manual else ''}-{stamp(fire_time)}"
    name = render(template, schedule=schedule.name, fire_time=fire_time, timezone=schedule.timezone)
    if not isinstance(name, str) or not name.strip():
        raise ValueError("run_name is empty; remove it, or give a text with the fire time in it")
    if manual:
        name += f"-manual-{stamp(fire_time)}"
    if "{" in name or "}" in name:
        raise ValueError("run_name has braces, which ZenML would fill in; use {{ fire_time | date('%Y%m%dT%H%M%S') }}")
    most = MAX_RUN_NAME - (len("-r20") if schedule.on_run_failure else 0)
    if len(name) > most:
        raise ValueError(f"run_name has {len(name)} characters; the server takes {most}")
    return name


def again(fire: Fire, now: datetime) -> Fire:
    """The claim of the next run of a fire whose run failed: `nightly-20261123T020000Z-r1`."""
    failed = EarlierRun(
        run_id=fire.run_id or "",
        run_name=fire.run_name or "",
        run_status=fire.run_status or "",
        run_started_at=fire.run_started_at,
        run_ended_at=fire.run_ended_at,
    )
    first = fire.earlier_runs[0] if fire.earlier_runs else failed
    return replace(
        fire,
        state=FireState.CLAIMED,
        run_id=None,
        run_name=f"{first.run_name}-r{len(fire.earlier_runs) + 1}",
        run_status=None,
        run_started_at=None,
        run_ended_at=None,
        message=None,
        claimed_at=now,
        decided_at=None,
        retry_at=None,
        earlier_runs=(*fire.earlier_runs, failed),
    )


def not_again(fire: Fire, why: str) -> Fire:
    """A claim for another run that came to nothing: the fire is what it was before, with its last run."""
    *earlier, last = fire.earlier_runs
    return replace(
        fire,
        state=FireState.STARTED,
        reason=None,
        run_id=last.run_id,
        run_name=last.run_name,
        run_status=last.run_status,
        run_started_at=last.run_started_at,
        run_ended_at=last.run_ended_at,
        message=why,
        earlier_runs=tuple(earlier),
    )


def by_hand(schedule: Schedule, fire_time: datetime, now: datetime) -> Fire:
    """The claim of a manual fire. Raises ValueError when its run name cannot be made."""
    name = run_name(schedule, fire_time, manual=True)
    return Fire(
        schedule=schedule.name,
        fire_time=fire_time,
        manual=True,
        run_name=name,
        project=schedule.project,
        claimed_at=now,
    )


def run_config(schedule: Schedule, fire_time: datetime, name: str) -> dict[str, JsonValue]:
    """The config that is sent for a fire: rendered, with its run name. Raises ValueError for a bad template."""
    rendered = render(dict(schedule.config), schedule=schedule.name, fire_time=fire_time, timezone=schedule.timezone)
    return {**cast("dict[str, JsonValue]", rendered), "run_name": name}


def names_collide(schedule: Schedule, after: datetime, *, count: int = 60) -> tuple[datetime, datetime] | None:
    """The first two of the next `count` fire times that would get the same run name, None when all differ."""
    seen: dict[str, datetime] = {}
    instant = after
    for _ in range(count):
        found = schedule.trigger.next_after(instant)
        if found is None:
            return None
        instant = found
        name = run_name(schedule, found)
        if name in seen:
            return seen[name], found
        seen[name] = found
    return None


def lateness(fire_time: datetime, first_attempt: datetime) -> float:
    """Seconds from the fire time to the start of the first attempt; never negative (the clock may have been set)."""
    return max(0.0, (first_attempt - fire_time) / timedelta(seconds=1))
