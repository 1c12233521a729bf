"""The journal's tables; the migrations in `migrations/` make them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, ANN401
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

LATEST = "coalesce(through, fire_time)"
"""The last fire time that a row stands for: what history is sorted by, so it is indexed."""
FOLLOWED = "followed"
RETRIED = "retry_at is not null"
RUN = "state = 'started' and not manual"
TROUBLE = "(state in ('failed', 'missed') or run_status = 'failed')"
SUCCESS = "run_status in ('completed', 'cached', 'skipped')"
BEGAN = "coalesce(run_started_at, claimed_at, fire_time)"
"""These are written in queries as they are in their indexes, or SQLite would not take the index."""

schedules = Table(
    "schedules",
    metadata,
    Column("name", String(100), primary_key=True),
    # The trigger that the watermark belongs to; null when the schedule is not loaded or not enabled.
    Column("rule", Text),
    Column("watermark", Instant, nullable=False),
    # Rows that RUN counted and that are deleted; `max_runs` counts them still.
    Column("pruned_runs", Integer, nullable=False, server_default="0"),
)

fires = Table(
    "fires",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("schedule", String(100), nullable=False),
    Column("fire_time", Instant, nullable=False),
    Column("manual", Boolean, nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(30)),
    Column("message", Text),
    Column("run_id", String(36)),
    Column("run_name", String(255)),
    Column("run_status", String(30)),
    Column("attempts", Integer, nullable=False),
    Column("lateness_seconds", Float),
    Column("claimed_at", Instant),
    Column("decided_at", Instant),
    Column("project", String(255)),
    Column("through", Instant),
    Column("rule", Text),
    Column("run_started_at", Instant),
    Column("run_ended_at", Instant),
    # JSON: a list of EarlierRun as mappings; null where there is none.
    Column("earlier_runs", Text),
    Column("retry_at", Instant),
    # True while the run's status is still to be read from the server.
    Column("followed", Boolean, nullable=False),
    UniqueConstraint("schedule", "fire_time", "manual", name="one_row_a_fire"),
    Index("fires_latest", text(LATEST), "id"),
    Index("fires_latest_of_schedule", "schedule", text(LATEST), "id"),
    Index("fires_claimed", "id", sqlite_where=text("state = 'claimed'")),
    Index("fires_followed", "id", sqlite_where=text(FOLLOWED)),
    Index("fires_retried", "id", sqlite_where=text(RETRIED)),
    Index("fires_runs", "schedule", sqlite_where=text(RUN)),
    Index("fires_success", "schedule", text(BEGAN), "id", sqlite_where=text(SUCCESS)),
    Index("fires_trouble", text(LATEST), "id", sqlite_where=text(TROUBLE)),
)

resolved = Table(
    "resolved",
    metadata,
    Column("target", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("resolved_at", Instant, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("schedule", String(100), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("note", Text, nullable=False),
    Column("by", String(20), nullable=False),
)

# Messages to channels that are not delivered yet.
messages = Table(
    "messages",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("channel", String(100), nullable=False),
    Column("at", Instant, nullable=False),
    Column("content", Text, nullable=False),
)

# What of each channel is going on, so that an incident that was told is not told again by the next process.
channels = Table(
    "channels",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("state", Text, nullable=False),
)
