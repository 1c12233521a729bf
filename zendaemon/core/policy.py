"""What a schedule wants done when things do not go by themselves: overlap, misfires, failures, promises, alerts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, model_validator

from zendaemon.core.alert import AlertKind
from zendaemon.core.shape import Name, NotNegative, Positive, Shape, Text, many

_HEARTBEAT = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/\S+|credential:[A-Za-z0-9._-]+|https?://[^\s/]+(/\S*)?")


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
    """In a list, each channel stands for the kinds of alerts that its settings say."""
    listed = value if isinstance(value, list | tuple) else [value]
    return dict.fromkeys(listed) if all(isinstance(name, str) for name in listed) else value


def _as_kinds(value: object) -> object:
    return None if value is None else many(value)


Channels = Annotated[
    Mapping[Name, Annotated[tuple[AlertKind, ...] | None, BeforeValidator(_as_kinds)]], BeforeValidator(_as_channels)
]
"""The channels of the settings that a schedule's alerts go to, each with its kinds; None: as its settings say."""


def _check_heartbeat(value: SecretStr) -> SecretStr:
    """It may be a secret, so that no message repeats it."""
    if not _HEARTBEAT.fullmatch(value.get_secret_value()):
        raise ValueError("must be a reference or a URL; write env:NAME, file:/path, credential:NAME or https://...")
    return value


def _shown_heartbeat(value: SecretStr) -> str:
    text = value.get_secret_value()
    return "***" if text.startswith("http") else text


HeartbeatUrl = Annotated[
    SecretStr,
    Field(max_length=2000),
    AfterValidator(_check_heartbeat),
    PlainSerializer(_shown_heartbeat, return_type=str, when_used="json"),
]
"""Where a dead man's switch is pinged; shown only where it is a reference."""
