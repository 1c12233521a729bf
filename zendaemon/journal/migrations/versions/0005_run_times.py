"""When a fire's run started and ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("run_started_at", "run_ended_at"):
        op.add_column("fires", sa.Column(name, sa.DateTime(timezone=True)))


def downgrade() -> None:
    for name in ("run_ended_at", "run_started_at"):
        op.drop_column("fires", name)
