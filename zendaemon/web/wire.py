"""What requests may say: strict, as OpenAPI tells it, so that nothing is read otherwise than it was meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from zendaemon.core.fire import FireState, Reason
from zendaemon.core.shown import ScheduleState
from zendaemon.operations import MAX_NOTE
from zendaemon.web.cursors import Cursor

MAX_SEARCH = 200
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(value: object) -> datetime | None:
    """An instant in UTC from a text in the form of RFC 3339. Raises ValueError with the remedy."""
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("is no instant; write it as 2026-11-23T02:00:00Z")
    text = value.upper()
    leap = text[17:19] == "60"
    try:
        found = datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leap else text)
    except ValueError:
        raise ValueError("is no instant; write it as 2026-11-23T02:00:00Z") from None
    try:
        return (found + timedelta(seconds=leap)).astimezone(UTC)
    except OverflowError:  # the year 0 or 10000 in UTC
        return (datetime.min if found.year == 1 else datetime.max).replace(tzinfo=UTC)  # noqa: DTZ901


def _cursor(value: str) -> str:
    Cursor.read(value)
    return value


Instant = Annotated[
    datetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Wire):
    """No query parameters."""


class Order(StrEnum):
    """`-` turns it round; `state` has the worst first, and equals are sorted by name.

    Those without a next or a last fire are at the end, either way.
    """

    NAME = "name"
    NAME_DOWN = "-name"
    NEXT = "next_fire_time"
    NEXT_DOWN = "-next_fire_time"
    LAST = "last_fire_time"
    LAST_DOWN = "-last_fire_time"
    STATE = "state"
    STATE_DOWN = "-state"


class LastFire(StrEnum):
    """What the last fire was: its state; `trouble`, if it failed, was missed, or its run failed; `none` without one."""

    TROUBLE = "trouble"
    CLAIMED = "claimed"
    STARTED = "started"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    NONE = "none"


class SchedulesWanted(Wire):
    """Each word of `search` is in the name, the description, the target or a tag, in any case; all filters must fit."""

    search: str | None = Field(None, max_length=MAX_SEARCH)
    state: ScheduleState | None = None
    last: LastFire | None = None
    promises: Literal["broken"] | None = None
    tag: str | None = Field(None, max_length=255)
    sort: Order = Order.NAME
    offset: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(100, ge=1, le=500)

    @property
    def needs_last(self) -> bool:
        """Whether the latest fire of every schedule must be known."""
        return self.last is not None or self.sort.removeprefix("-") == Order.LAST


class FiresWanted(Wire):
    """Fires with fire times from `since` on and before `until`; all filters must fit."""

    schedule: str | None = Field(None, max_length=100)
    state: FireState | None = None
    reason: Reason | None = None
    since: Instant | None = None
    until: Instant | None = None
    cursor: Annotated[str, AfterValidator(_cursor)] | None = Field(None, max_length=400)
    limit: int = Field(100, ge=1, le=1000)


class PauseWanted(Wire):
    """Why, and till when; without `until` till somebody resumes the schedule."""

    note: str = Field("", max_length=MAX_NOTE)
    until: Instant | None = None
