"""What a schedule wants done when things do not go by themselves: overlap, misfires, failures, promises, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from zendaemon.core.alert import AlertKind
from zendaemon.core.shape import Name, NotNegative, Positive, Shape, Text, many


class Overlap(StrEnum):
    """What becomes of a fire that comes due while a run of its schedule is active."""

    ALLOW = "allow"
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    CANCEL_RUNNING = "cancel_running"


class Catchup(StrEnum):
    """Which misfires are still started: none, the latest, or all, within `catchup_window`."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class OverlapScope(StrEnum):
    """Whose active runs count for `overlap`: the schedule's, or all of its pipeline, whoever started them."""

    SCHEDULE = "schedule"
    PIPELINE = "pipeline"


class Retry(Shape):
    """How a fire whose attempt failed is tried again.

    The wait before the next attempt is random between zero and `initial_delay * multiplier ** n`, at most `max_delay`.
    Without `max_attempts` only `catchup_window` ends the patience. A 429 for want of a start slot is no failure.
    """

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    initial_delay: Positive = timedelta(seconds=1)
    max_delay: Positive = timedelta(minutes=5)
    multiplier: Annotated[float, Field(strict=True, ge=1, le=100)] = 2


class RunFailure(Shape):
    """What follows a run that failed: up to `retry_run` more runs for the same fire, each `delay` after the last."""

    retry_run: Annotated[int, Field(strict=True, ge=1, le=20)]
    delay: NotNegative = timedelta(minutes=1)


class Sla(Shape):
    """What a schedule promises. Told when it is broken, also while nothing fires, and when it is kept again.

    `late_after` is from the fire time (and jitter) to the start, `max_runtime` from the start of the run to its end,
    `max_time_since_success` from the end of the last run that succeeded to now.
    """

    late_after: Positive | None = None
    max_runtime: Positive | None = None
    max_time_since_success: Positive | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.late_after is None and self.max_runtime is None and self.max_time_since_success is None:
            raise ValueError("must promise something; give late_after, max_runtime or max_time_since_success")
        return self


class Condition(Shape):
    """Something on the server that must be so at the fire time.

    The last run of `pipeline` succeeded, or the newest version of `artifact` or `model` was made, since the schedule's
    own last success, or within `within` where that is given.
    """

    pipeline: Text | None = None
    artifact: Text | None = None
    model: Text | None = None
    within: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.pipeline, self.artifact, self.model)) != 1:
            raise ValueError("must have exactly one of pipeline, artifact and model")
        return self


def _as_channels(value: object) -> object:
    """A list of channels stands for all kinds of alerts to each."""
    listed = value if isinstance(value, list | tuple) else [value]
    return {name: tuple(AlertKind) for name in listed} if all(isinstance(name, str) for name in listed) else value


Channels = Annotated[
    Mapping[Name, Annotated[tuple[AlertKind, ...], BeforeValidator(many)]], BeforeValidator(_as_channels)
]
"""The channels of the settings that a schedule's alerts go to, each with the kinds that it gets."""
