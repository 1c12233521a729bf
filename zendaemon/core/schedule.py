"""The shape of a schedule file: these models are the YAML, key for key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, Field, JsonValue, PrivateAttr, StrictBool, model_validator

from zendaemon.core.exclusion import Calendar, Exclusion, Span
from zendaemon.core.policy import (
    Catchup,
    Channels,
    Condition,
    HeartbeatUrl,
    Overlap,
    OverlapScope,
    Retry,
    RunFailure,
    Sla,
)
from zendaemon.core.shape import (
    Code,
    Expression,
    Interval,
    Name,
    NotNegative,
    Positive,
    Rule,
    Shape,
    Text,
    Timezone,
    When,
    many,
)
from zendaemon.core.trigger import Trigger, to_utc

TRIGGER_KEYS = ("cron", "every", "at")
TARGET_KEYS = ("pipeline", "build", "template", "snapshot")
_TICK = timedelta(microseconds=1)
_EXCLUSIONS = 30_000
MAX_RULES = 10_000


class KeyedError(ValueError):
    """Something wrong between the keys `about`, to be shown at `key`, or at the schedule's name when that is empty."""

    def __init__(self, key: str, message: str, about: tuple[str, ...]) -> None:
        super().__init__(message)
        self.key = key
        self.about = about


@dataclass(frozen=True, slots=True)
class Target:
    """What to start, by the names that the file gives. Hashable: the key of the resolver's cache."""

    kind: Literal["build", "template", "snapshot"]
    name: str | None = None
    pipeline: str | None = None
    version: str | None = None
    project: str | None = None

    @property
    def id(self) -> UUID | None:
        """The server's id, where the file gives that instead of a name."""
        try:
            return UUID(self.name or "")
        except ValueError:
            return None

    def __str__(self) -> str:
        parts = [f"{self.kind} {self.name!r}"] if self.name else []
        if self.pipeline:
            parts.append(f"pipeline {self.pipeline!r}" + (f" version {self.version!r}" if self.version else ""))
        return " of ".join(parts) + (f" in project {self.project!r}" if self.project else "")


_NOTHING = Exclusion()


class Schedule(Shape):
    """A named declaration: trigger, target, config and policies. Every field but `name` is a key of the file."""

    name: Name
    description: str = ""
    pipeline: Text | None = None
    version: Text | None = None
    build: UUID | None = None
    template: Text | None = None
    snapshot: Text | None = None
    project: Text | None = None
    cron: Annotated[tuple[Expression, ...], BeforeValidator(many)] = ()
    every: Interval | None = None
    at: Annotated[tuple[When, ...], BeforeValidator(many)] = ()
    timezone: Timezone = "UTC"
    start_time: When | None = None
    end_time: When | None = None
    exclude: Annotated[tuple[Rule, ...], BeforeValidator(many), Field(max_length=MAX_RULES)] = ()
    jitter: NotNegative = timedelta()
    enabled: StrictBool = True
    overlap: Overlap = Overlap.ALLOW
    overlap_scope: OverlapScope = OverlapScope.SCHEDULE
    overlap_timeout: Positive = timedelta(days=7)
    catchup: Catchup = Catchup.LATEST
    catchup_window: Positive = timedelta(hours=1)
    retry: Retry = Retry()
    pause_after_failures: Annotated[int, Field(strict=True, ge=1)] | None = None
    on_run_failure: RunFailure | None = None
    stuck_after: Positive | None = None
    depends_on: Annotated[tuple[Name, ...], BeforeValidator(many)] = ()
    only_if_last_succeeded: StrictBool = True
    when: Annotated[tuple[Condition, ...], BeforeValidator(many)] = ()
    sla: Sla | None = None
    notify: Channels | None = None
    heartbeat_url: HeartbeatUrl | None = None
    max_runs: Annotated[int, Field(strict=True, ge=1)] | None = None
    priority: Annotated[int, Field(strict=True, ge=0, le=100)] = 50
    tags: tuple[Text, ...] = ()
    ignore: tuple[Code, ...] = ()
    config: Mapping[str, JsonValue] = Field(default_factory=dict)
    _exclusion: Exclusion = PrivateAttr(default_factory=lambda: _NOTHING)  # a default would be copied deep

    def model_post_init(self, _: object, /) -> None:
        """Makes `exclude` ready. What a schedule's calendars hold is part of it: other days make another schedule."""
        if self.exclude:
            self._exclusion = Exclusion.of(self.exclude, self.timezone, self.name, {})

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        given = [key for key in TRIGGER_KEYS if getattr(self, key)]
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "has no trigger"
            key = given[-1] if given else ""
            raise KeyedError(key, f"{found}; give exactly one of cron, every and at", TRIGGER_KEYS)
        return self

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [key for key in TARGET_KEYS[1:] if getattr(self, key) is not None]
        wrong = None
        if len(given) > 1:
            wrong = given[-1], f"has {' and '.join(given)}; give exactly one target"
        elif self.version and (given or not self.pipeline):
            wrong = "version", "has a version, which goes with pipeline alone; remove it, or name the pipeline"
        elif not given and not self.pipeline:
            wrong = "", "has no target; give pipeline and version, build, template or snapshot"
        elif not given and not self.version:
            wrong = "pipeline", "has a pipeline without its version; add version, or name a template or snapshot"
        if wrong:
            raise KeyedError(*wrong, (*TARGET_KEYS, "version"))
        return self

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        start, end = self.trigger.start, self.trigger.end
        if start and end and end <= start:
            about = ("start_time", "end_time")
            raise KeyedError(about[1], "has an end_time that is not after its start_time; give a later one", about)
        return self

    @model_validator(mode="after")
    def _can_cancel(self) -> Self:
        if self.overlap is Overlap.CANCEL_RUNNING:
            if self.target.kind == "build":
                text = "has cancel_running, and servers that start builds (up to 0.62) cannot stop runs; use skip"
                raise KeyedError("overlap", f"{text} or buffer_one", ("overlap",))
            if self.overlap_scope is OverlapScope.PIPELINE:
                text = "has cancel_running with overlap_scope: pipeline, which would stop runs of other people; use"
                raise KeyedError("overlap_scope", f"{text} overlap_scope: schedule", ("overlap", "overlap_scope"))
        return self

    @cached_property
    def trigger(self) -> Trigger:
        """The calendar rule, with `start_time` and `end_time` in UTC."""
        return Trigger(
            timezone=self.timezone,
            cron=self.cron,
            every=self.every,
            at=tuple(sorted(to_utc(at, self.timezone) for at in self.at)),
            start=to_utc(self.start_time, self.timezone) if self.start_time else None,
            end=to_utc(self.end_time, self.timezone) if self.end_time else None,
            name=self.name,
        )

    @cached_property
    def delay(self) -> timedelta:
        """The jitter of this schedule: whole seconds from 0 to below `jitter`, the same for ever, by its name."""
        seconds = int(self.jitter.total_seconds())
        if not seconds:
            return timedelta()
        digest = sha256(self.name.encode()).digest()
        return timedelta(seconds=int.from_bytes(digest[:8]) % seconds)

    @cached_property
    def target(self) -> Target:
        if self.build:
            return Target("build", str(self.build), self.pipeline, None, self.project)
        if self.template:
            return Target("template", self.template, self.pipeline, None, self.project)
        if self.snapshot:
            return Target("snapshot", self.snapshot, self.pipeline, None, self.project)
        return Target("build", None, self.pipeline, self.version, self.project)

    def with_calendars(self, known: Mapping[str, Calendar]) -> Self:
        """A copy that excludes what the calendars hold that it names."""
        resolved = self.model_copy()
        resolved._exclusion = Exclusion.of(self.exclude, self.timezone, self.name, known)  # noqa: SLF001 - a new one
        return resolved

    @property
    def exclusion(self) -> Exclusion:
        """What `exclude` covers, with the calendars that were given."""
        return self._exclusion

    def excludes(self, fire_time: datetime) -> bool:
        """Whether `exclude` covers this fire time: by its date in the schedule's zone, by cron, or by a calendar."""
        return self.excluded_span(fire_time) is not None

    def excluded_span(self, fire_time: datetime) -> Span | None:
        """From when until before when `exclude` covers the time around `fire_time`, or None."""
        return self._exclusion.span(fire_time) if self.exclude else None

    def next_after(self, instant: datetime) -> datetime | None:
        """The next fire time that is not excluded, in UTC; None when the trigger has no more.

        Gives up after 30,000 excluded spans in a row, so that a rule that excludes everything costs a bounded
        time.
        """
        for _ in range(_EXCLUSIONS):
            found = self.trigger.next_after(instant)
            span = self.excluded_span(found) if found is not None else None
            if span is None:
                return found
            instant = span[1] - _TICK
        return None

    def last_until(self, instant: datetime, *, after: datetime) -> datetime | None:
        """The last fire time in (`after`, `instant`] that is not excluded; gives up as `next_after` does."""
        for _ in range(_EXCLUSIONS):
            found = self.trigger.last_until(instant, after=after) if instant > after else None
            span = self.excluded_span(found) if found is not None else None
            if span is None:
                return found
            instant = span[0] - _TICK
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a schedule stands: the file as the loader names it, and the line of its name."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class ScheduleSet:
    """All schedules loaded together. Immutable; `places` has the same names as `schedules`."""

    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def enabled(self) -> list[Schedule]:
        return [schedule for schedule in self.schedules.values() if schedule.enabled]
