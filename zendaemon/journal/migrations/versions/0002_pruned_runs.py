"""How many runs of each schedule were pruned, so that `max_runs` still counts them, and an index for the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("schedules", sa.Column("pruned_runs", sa.Integer, nullable=False, server_default="0"))
    run = sa.text("state = 'started' and not manual")
    op.create_index("fires_runs", "fires", ["schedule"], sqlite_where=run, postgresql_where=run)


def downgrade() -> None:
    op.drop_index("fires_runs", "fires")
    op.drop_column("schedules", "pruned_runs")
