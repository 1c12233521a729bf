"""An index for the runs that succeeded, so that the last one of a schedule is found at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    success = sa.text("run_status in ('completed', 'cached', 'skipped')")
    columns = [sa.text("schedule"), sa.text("coalesce(run_started_at, claimed_at, fire_time)"), sa.text("id")]
    op.create_index("fires_success", "fires", columns, sqlite_where=success, postgresql_where=success)


def downgrade() -> None:
    op.drop_index("fires_success", "fires")
