"""What people and programs are shown: one shape each for commands, HTTP API and pages. Instants are UTC, `...Z`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, PlainSerializer, WithJsonSchema

from zendaemon.core.fire import FireState, Reason, instant_text
from zendaemon.core.sla import Promise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zendaemon.core.errors import Problem
    from zendaemon.core.fire import Fire
    from zendaemon.core.pause import Pause
    from zendaemon.core.run import Resolved
    from zendaemon.core.sla import Broken

Instant = Annotated[
    datetime,
    PlainSerializer(instant_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class ShownRun(Shown):
    """A run of a fire that failed, and that another one was started after."""

    run_id: str
    run_name: str
    run_status: str
    run_started_at: Instant | None
    run_ended_at: Instant | None


class ShownFire(Shown):
    """A fire, as `history` has it. `lateness_seconds` is the start of the first attempt minus the fire time."""

    schedule: str
    fire_time: Instant
    manual: bool
    state: FireState
    reason: Reason | None
    message: str | None
    run_id: str | None
    run_name: str | None
    run_status: str | None
    attempts: int
    lateness_seconds: float | None
    decided_at: Instant | None
    run_started_at: Instant | None
    run_ended_at: Instant | None
    earlier_runs: tuple[ShownRun, ...]
    retry_at: Instant | None

    @classmethod
    def of(cls, fire: Fire) -> Self:
        shown = cls.model_validate(fire)
        late = fire.lateness_seconds
        return shown if late is None else shown.model_copy(update={"lateness_seconds": round(late, 3)})


class ShownPause(Shown):
    """Why a schedule starts nothing, since when and till when; without `until` till somebody resumes it."""

    since: Instant
    until: Instant | None
    note: str
    by: str

    @classmethod
    def of(cls, pause: Pause) -> Self:
        return cls.model_validate(pause)


class ShownPromise(Shown):
    """A promise of a schedule (`sla`) that is broken, since when, and in words what happened."""

    promise: Promise
    since: Instant
    text: str

    @classmethod
    def of(cls, broken: Iterable[Broken]) -> tuple[Self, ...]:
        return tuple(map(cls.model_validate, broken))


class ScheduleState(StrEnum):
    """`unresolved`: its target leads to nothing that can be started. `finished`: its trigger has no more fire times."""

    ACTIVE = "active"
    PAUSED = "paused"
    UNRESOLVED = "unresolved"
    DISABLED = "disabled"
    FINISHED = "finished"


class ShownSchedule(Shown):
    """A schedule in a list. `trigger` is in words; `last` is its latest fire, `outcomes` the latest 20, newest first.

    `unresolved` says what is wrong with its target, `broken` which of its promises are. `file` is `path:line`.
    """

    schedule: str
    description: str
    state: ScheduleState
    enabled: bool
    paused: ShownPause | None
    trigger: str
    timezone: str
    next_fire_time: Instant | None
    target: str
    unresolved: str | None
    broken: tuple[ShownPromise, ...] = ()
    file: str | None
    tags: tuple[str, ...]
    last: ShownFire | None = None
    outcomes: tuple[ShownFire, ...] = ()


class NextFire(Shown):
    """A fire to come; `local_time` is in the schedule's zone, `note` tells what daylight saving does to it."""

    fire_time: Instant
    local_time: str
    note: str | None


class ShownTarget(Shown):
    """What a schedule starts, and the server's ids for it. `error` tells why the last resolve failed."""

    schedule: str
    target: str
    kind: Literal["build", "template", "snapshot"] | None
    id: str | None
    resolved_at: Instant | None
    error: str | None

    @classmethod
    def of(cls, schedule: str, target: str, found: Resolved | None, error: str | None) -> Self:
        known = {"kind": found.kind, "id": found.id, "resolved_at": found.resolved_at} if found else {}
        nothing = {"kind": None, "id": None, "resolved_at": None}
        return cls.model_validate({**nothing, **known, "schedule": schedule, "target": target, "error": error})


class ScheduleDetail(ShownSchedule):
    """A schedule by itself. `config` is what the next fire sends, `policies` the keys of its file as they are in force.

    `config_error` tells why `config` cannot be made.
    """

    next_fires: tuple[NextFire, ...]
    resolved: ShownTarget
    config: dict[str, JsonValue] | None
    config_error: str | None
    policies: dict[str, JsonValue]


class ShownProblem(Shown):
    """One thing wrong in one place of a file; `excerpt` is that line of it."""

    file: str
    line: int
    column: int
    message: str
    remedy: str
    excerpt: str | None = None

    @classmethod
    def of(cls, problem: Problem, excerpt: str | None) -> Self:
        return cls.model_validate(problem).model_copy(update={"excerpt": excerpt})


class ShownReload(Shown):
    """An attempt to load the files anew. `error` is set where it was refused, and `changes` where it was applied."""

    at: Instant
    applied: bool
    error: str | None = None
    changes: dict[str, int] | None = None
    problems: tuple[ShownProblem, ...] = ()


class ShownServer(Shown):
    """The ZenML server. `token_valid_until` is null where the token does not tell."""

    url: str
    dashboard_url: str | None
    version: str | None
    available: bool
    unavailable_since: Instant | None
    token_valid_until: Instant | None


class ShownAttempts(Shown):
    """Starts `in_flight`, fires `waiting` for their turn, and the `limit` of starts at once that the server bears."""

    in_flight: int
    waiting: int
    limit: int


class ShownChannel(Shown):
    """A channel of alerts: what waits to be delivered, when it took something last, and why it does not now."""

    channel: str
    kind: Literal["apprise", "webhook"]
    waiting: int
    delivered_at: Instant | None
    failing_since: Instant | None
    error: str | None


class Replica(Shown):
    """A daemon that works on this journal."""

    host: str
    pid: int
    started_at: Instant


class Status(Shown):
    """Whether the daemon is well. `counts` has the schedules by state, `broken` those that break promises; `healthy` is
    that of `/healthz`.
    """

    state: Literal["running", "hung"]
    healthy: bool
    version: str
    pid: int
    started_at: Instant
    now: Instant
    server: ShownServer
    reload: ShownReload | None
    attempts: ShownAttempts
    counts: dict[ScheduleState, int]
    unresolved: dict[str, str]
    broken: dict[str, tuple[ShownPromise, ...]]
    channels: tuple[ShownChannel, ...] = ()
    replicas: tuple[Replica, ...]


class Minute(Shown):
    """How many fires a minute has: of the past those in the journal by state, of the future those to come.

    `schedules` names some of them, the first by name.
    """

    minute: Instant
    count: int
    states: dict[FireState, int]
    schedules: tuple[str, ...]


class Timeline(Shown):
    """The last and the next 24 hours; minutes without a fire are left out.

    `complete` is false when there are more fires to come than were counted; `counted_until` tells how far it got.
    """

    now: Instant
    past: tuple[Minute, ...]
    future: tuple[Minute, ...]
    complete: bool
    counted_until: Instant


class SchedulePage(Shown):
    """Schedules from `offset` on, out of `total` that match."""

    total: int
    offset: int
    schedules: tuple[ShownSchedule, ...]


class FirePage(Shown):
    """Fires, the latest first, those of one instant by name; `next_cursor` leads to older ones, null at the end."""

    fires: tuple[ShownFire, ...]
    next_cursor: str | None


class Reloads(Shown):
    """The latest attempts to load the files, the newest first."""

    reloads: tuple[ShownReload, ...]


class Health(Shown):
    """The answer to a probe; `reason` tells why it is not `ok`."""

    ok: bool
    reason: str | None = None


class Refusal(Shown):
    """Why a request was not done (RFC 9457). `problems` are those of the files of a refused reload."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    remedy: str
    problems: tuple[ShownProblem, ...] = ()
