"""The first tables: schedules, fires, resolved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("rule", sa.Text),
        sa.Column("watermark", instant, nullable=False),
    )
    op.create_table(
        "fires",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("schedule", sa.String(100), nullable=False),
        sa.Column("fire_time", instant, nullable=False),
        sa.Column("manual", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(30)),
        sa.Column("message", sa.Text),
        sa.Column("run_id", sa.String(36)),
        sa.Column("run_name", sa.String(255)),
        sa.Column("run_status", sa.String(30)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lateness_seconds", sa.Float),
        sa.Column("claimed_at", instant),
        sa.Column("decided_at", instant),
        sa.Column("project", sa.String(255)),
        sa.Column("through", instant),
        sa.Column("rule", sa.Text),
        sa.Column("followed", sa.Boolean, nullable=False),
        sa.UniqueConstraint("schedule", "fire_time", "manual", name="one_row_a_fire"),
    )
    latest = sa.text("coalesce(through, fire_time)")
    op.create_index("fires_latest", "fires", [latest, "id"])
    op.create_index("fires_latest_of_schedule", "fires", ["schedule", latest, "id"])
    for name, where in (("fires_claimed", "state = 'claimed'"), ("fires_followed", "followed")):
        op.create_index(name, "fires", ["id"], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "resolved",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("resolved_at", instant, nullable=False),
    )


def downgrade() -> None:
    for table in ("resolved", "fires", "schedules"):
        op.drop_table(table)
